"""Who may call: bearer tokens with a scope, from the settings. Without tokens everybody may.

`authorization: Bearer TOKEN` in the call's metadata. Scope `admin` includes `read`. Health is open,
because probes carry no tokens. A method that is not listed in `SCOPES` needs `admin`, so that a new
one is closed until somebody opens it.
"""

import hmac
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal

from pydantic import SecretStr

from grpc_server.errors import Refusal, forbidden, unauthenticated

Scope = Literal["read", "admin"]

OPEN = ("/grpc.health.v1.Health/",)
SCOPES: dict[str, Scope] = {
    "/tidegate.v1.MembershipService/CheckMembership": "read",
    "/tidegate.v1.MembershipService/BatchCheckMembership": "read",
    "/tidegate.v1.MembershipService/ListUserSegments": "read",
    "/tidegate.v1.MembershipService/ListMembers": "read",
    "/tidegate.v1.MembershipService/ExplainMembership": "read",
    "/tidegate.v1.MembershipService/WatchTransitions": "read",
    "/tidegate.v1.SegmentService/ListSegments": "read",
    "/tidegate.v1.SegmentService/GetSegment": "read",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "read",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": "read",
}

_HEADER = "authorization"


class Tokens:
    def __init__(self, tokens: Mapping[SecretStr, Scope]) -> None:
        # Digests have one length, so that the comparison tells nothing about the length of a token.
        self._scopes = [(_digest(token.get_secret_value()), scope) for token, scope in tokens.items()]

    def refuse(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> Refusal | None:
        """Why a call of `method` ("/package.Service/Method") may not go on; None: it may."""
        if not self._scopes or method.startswith(OPEN):
            return None
        given = _given(metadata)
        if not given:
            return unauthenticated("MISSING_TOKEN", "Send a token as metadata `authorization: Bearer TOKEN`.")
        scope = self._scope(given)
        if scope is None:
            return unauthenticated("UNKNOWN_TOKEN", "This token is not among those in the settings (grpc_tokens).")
        needed = SCOPES.get(method, "admin")
        return None if scope in (needed, "admin") else forbidden(needed)

    def name(self, metadata: Iterable[tuple[str, str | bytes]]) -> str:
        """Of a caller who was let in, for logs: the beginning of the token's SHA-256; "anybody" without tokens."""
        return _digest(_given(metadata)).hex()[:8] if self._scopes else "anybody"

    def _scope(self, token: str) -> Scope | None:
        """Compares with every token, in constant time each, and does not stop at the one that fits."""
        digest, found = _digest(token), None
        for known, scope in self._scopes:
            if hmac.compare_digest(known, digest):
                found = scope
        return found


def _given(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    header = next((value for key, value in metadata if key == _HEADER), None)
    scheme, _, given = header.partition(" ") if isinstance(header, str) else ("", "", "")
    return given.strip() if scheme.lower() == "bearer" else ""


def needs_admin(method: str) -> bool:
    return not method.startswith(OPEN) and SCOPES.get(method, "admin") == "admin"


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()
