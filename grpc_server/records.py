"""One user's membership in as few bytes as answers need, with the times encoded already as they are sent.

| bytes | what |
|---|---|
| 2 | shard, little-endian |
| (segments + 7) // 8 | one bit per segment, by its place in the list of definitions |
| 12 each | since when, of the segments that the user is in, in that order: a google.protobuf.Timestamp |

A timestamp has 12 bytes always: its two varints are padded to five bytes each, which every decoder reads.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from segmentation import native

STAMP_BYTES = 12
_SECONDS_MAX = 1 << 35


class Table(Protocol):
    """What is used of a dict[bytes, bytes]; in C where that is built, for a million users."""

    def get(self, key: bytes, /) -> bytes | None: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __setitem__(self, key: bytes, record: bytes, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...


def table() -> Table:
    """An empty one."""
    return native.code.Records() if native.ENABLED else {}


def stamp(micros: int) -> bytes | None:
    """A google.protobuf.Timestamp in 12 bytes. None: before 1970 or after 3058, which takes more."""
    seconds, rest = divmod(micros, 1_000_000)
    if not 0 <= seconds < _SECONDS_MAX:
        return None
    return b"\x08" + _varint5(seconds) + b"\x10" + _varint5(rest * 1_000)


def stamps(micros: NDArray[np.int64]) -> list[bytes | None]:
    """`stamp` of each."""
    seconds, rest = np.divmod(micros, 1_000_000)
    out = np.empty((len(micros), STAMP_BYTES), np.uint8)
    for tag, at, value in ((0x08, 0, seconds), (0x10, 6, rest * 1_000)):
        out[:, at] = tag
        for digit in range(5):
            out[:, at + 1 + digit] = value >> 7 * digit & 127 | (128 if digit < 4 else 0)
    data, fits = out.tobytes(), (seconds >= 0) & (seconds < _SECONDS_MAX)
    found: list[bytes | None] = [data[at : at + STAMP_BYTES] for at in range(0, len(data), STAMP_BYTES)]
    for at in np.flatnonzero(~fits).tolist():
        found[at] = None
    return found


def _varint5(value: int) -> bytes:
    return bytes(
        (value & 127 | 128, value >> 7 & 127 | 128, value >> 14 & 127 | 128, value >> 21 & 127 | 128, value >> 28)
    )


def shard_key(shard: int) -> bytes:
    return shard.to_bytes(2, "little")


def record(shard: int, inside: Mapping[int, bytes], bitmap_bytes: int) -> bytes:
    """inside: place of the segment -> stamp."""
    bits = 0
    for place in inside:
        bits |= 1 << place
    stamps = b"".join([inside[place] for place in sorted(inside)])
    return shard_key(shard) + bits.to_bytes(bitmap_bytes, "little") + stamps


def inside_of(found: bytes, bitmap_bytes: int) -> dict[int, bytes]:
    """The inverse: place -> stamp."""
    bits = int.from_bytes(found[2 : 2 + bitmap_bytes], "little")
    inside, at = {}, 2 + bitmap_bytes
    while bits:
        lowest = bits & -bits
        inside[lowest.bit_length() - 1] = found[at : at + STAMP_BYTES]
        at += STAMP_BYTES
        bits ^= lowest
    return inside
