"""Positions of WatchTransitions as callers see them: opaque texts that name their log, checked when they come back.

The first character is the version of the format: a server that meets a newer one says so, instead of misreading it.
The name of the log is in it because another database's numbers look the same: a position of a test system must not
quietly skip what a production system has.
"""

import base64
import binascii
import re
from hashlib import blake2b

from grpc_server.errors import Refusal, invalid, position_gone
from storage.transitions import Position

_VERSION = "1"
_CHECKSUM_BYTES = 8
_PAYLOAD = re.compile(rb"([!-{}~]*)\|((?:[0-9]{1,10}:[0-9]{1,19}(?:,|$))*)")
_SHARD_MAX, _NUMBER_MAX = 2**31 - 1, 2**63 - 1
_CHARS_MAX = 65_536  # 1024 shards have 20,000 or so


def token(log: str, position: Position) -> str:
    numbers = ",".join(f"{shard}:{number}" for shard, number in sorted(position.numbers.items()))
    payload = f"{log}|{numbers}".encode()
    return _VERSION + base64.urlsafe_b64encode(_checksum(payload) + payload).decode().rstrip("=")


def parse(given: str) -> tuple[str, Position]:
    """(log, position) of a text that `token` made. Raises Refusal INVALID_POSITION."""
    if len(given) > _CHARS_MAX or not given.startswith(_VERSION):
        raise _bad()
    text = given[1:]
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _bad() from None
    payload = data[_CHECKSUM_BYTES:]
    if data[:_CHECKSUM_BYTES] != _checksum(payload):
        raise _bad()
    found = _PAYLOAD.fullmatch(payload)  # whoever knows the checksum may have written anything
    if found is None:
        raise _bad()
    pairs = (pair.partition(":") for pair in found[2].decode().split(",") if pair)
    position = Position({int(shard): int(number) for shard, _, number in pairs})
    if any(shard > _SHARD_MAX or number > _NUMBER_MAX for shard, number in position.numbers.items()):
        raise _bad()
    return found[1].decode(), position


def require_same(log: str, of_position: str) -> None:
    """Raises Refusal POSITION_GONE."""
    if log != of_position:
        text = "This position is of another database's log. Watch from now, then read the members anew."
        raise position_gone(text, "other_log")


def _checksum(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_CHECKSUM_BYTES, key=b"position").digest()


def _bad() -> Refusal:
    return invalid(
        "INVALID_POSITION", "position",
        "This is not a position that WatchTransitions gave. Send one back unchanged, or none to watch from now.",
    )  # fmt: skip
