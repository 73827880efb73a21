"""The contracts of the C functions. Arrays are contiguous, of one dimension and exactly the dtype given; another
raises TypeError, one of a wrong length ValueError."""

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from segmentation.events.rows import Int64

VERSION: int

def wanted() -> bool:
    """False with TIDEGATE_NATIVE=0 in the environment."""

def stable_order(keys: NDArray[Any]) -> Int64:
    """keys int64[n]: where each of the sorted keys comes from, int64[n]; equal ones stay in order."""

class Records:
    """As dict[bytes, bytes], in less memory; iterating goes over the keys of the moment."""

    def get(self, key: bytes, /) -> bytes | None: ...
    def keys(self) -> list[bytes]: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __len__(self) -> int: ...
    def __contains__(self, key: object, /) -> bool: ...
    def __getitem__(self, key: bytes, /) -> bytes: ...
    def __setitem__(self, key: bytes, record: bytes, /) -> None: ...
    def __delitem__(self, key: bytes, /) -> None: ...

def batch_answer(
    request: bytes, pairs_max: int, users: Records, ahead: Records, as_of: dict[bytes, bytes],
    spelled: dict[bytes, int], places: NDArray[Any], definitions: tuple[bytes, ...], bitmap_bytes: int,
) -> bytes | None:
    """BatchCheckMembershipResponse of a BatchCheckMembershipRequest; None where it holds what is not known, more than
    pairs_max pairs, or another spelling than the usual one. users: records (grpc_server/records.py) by id; ahead:
    timestamps (12 bytes) of those whose as_of is later than as_of[shard]; places int32[n], definitions: n of them."""

def message_shape(
    nodes: tuple[tuple[tuple[bytes, int, int], ...], ...],
    spans: int,
    columns: tuple[tuple[int, int, bool, bool, int, int, int], ...],
) -> object:
    """What decode_messages reads. nodes: per JSON object, the message itself first, its keys of interest, none with a
    quote, a backslash or a control character: (key, number of the value, -1) or (key, -1, number of the object, which
    is higher than that of the one it is in). columns: (type as in segmentation.events.quick, number of the value or
    -1 for an event id that messages do not have, required, empty_as_null, precision, scale, 0 where a time needs a
    zone, 1 where it is UTC's, 2 where it is another's)."""

def decode_messages(
    shape: object, values: list[bytes | None], event_ids: list[str] | None, arrays: tuple[tuple[NDArray[Any], ...], ...]
) -> tuple[list[int], list[Any]]:
    """Fills arrays of n items, from n messages, and gives (the messages that it leaves, and of which the arrays mean
    nothing, ascending; per column what there is besides). Per column the arrays are: of a text (int32 codes), -1 for
    NULL, besides: its texts, distinct, by code; of event_id (objects); of a boolean (data, bool valid), of another
    (int64 data, bool valid), and of a time bool besides, to be zeros before: it has no zone, and with zone 2 data is
    what its clock shows. A double is in its 64 bits. Besides: whether something may be NULL."""

def shards_of_users(users: list[str], shards: int) -> Int64:
    """Per user the XXH3 (64 bit) of the UTF-8 id, modulo shards; -1 where the id is not ASCII or longer than 128."""

def numbered_texts(prefix: str, numbers: Int64) -> list[str]:
    """prefix, which is ASCII, followed by each number, none below 0, in decimal digits."""
