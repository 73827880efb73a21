"""Page tokens: opaque to callers, bound to what they page through, checked when they come back.

A token holds the last key of its page (keyset pagination), so that it survives changes: the next
page starts after that key, whether or not the key is still there. The checksum finds tokens that
were cut, edited, or made for another list. It is no secret: a forged token could do no more than
start at another place of a list that its bearer may read anyway.
"""

import base64
import binascii
from hashlib import blake2b

from grpc_server.requests import bad_page_token

_CHECKSUM_BYTES = 8
_TOKEN_CHARS_MAX = 2_048


def token(listing: str, last: str) -> str:
    """A token for the page of `listing` after the key `last`. `listing` says which list, with its parameters."""
    payload = last.encode()
    return base64.urlsafe_b64encode(_checksum(listing, payload) + payload).decode().rstrip("=")


def after(listing: str, page_token: str) -> str | None:
    """The key that the page starts after; None for the first page. Raises Refusal INVALID_PAGE_TOKEN."""
    if not page_token:
        return None
    if len(page_token) > _TOKEN_CHARS_MAX:
        raise bad_page_token()
    try:
        data = base64.b64decode(page_token + "=" * (-len(page_token) % 4), altchars=b"-_", validate=True)
        payload = data[_CHECKSUM_BYTES:]
        last = payload.decode()
    except (binascii.Error, ValueError):
        raise bad_page_token() from None
    if data[:_CHECKSUM_BYTES] != _checksum(listing, payload) or "\0" in last:
        raise bad_page_token()
    return last


def _checksum(listing: str, payload: bytes) -> bytes:
    key = blake2b(listing.encode(), digest_size=32).digest()
    return blake2b(payload, digest_size=_CHECKSUM_BYTES, key=key).digest()
