"""The contracts of the C functions. Arrays are contiguous, of one dimension and exactly the dtype given; another
raises TypeError, one of a wrong length ValueError."""

from typing import Any

from numpy.typing import NDArray

from segmentation.events.rows import Int64

VERSION: int

def wanted() -> bool:
    """False with TIDEGATE_NATIVE=0 in the environment."""

def stable_order(keys: NDArray[Any]) -> Int64:
    """keys int64[n]: where each of the sorted keys comes from, int64[n]; equal ones stay in order."""

def batch_answer(
    request: bytes, pairs_max: int, users: dict[bytes, bytes], ahead: dict[bytes, bytes], as_of: dict[bytes, bytes],
    spelled: dict[bytes, int], places: NDArray[Any], definitions: tuple[bytes, ...], bitmap_bytes: int,
) -> bytes | None:
    """BatchCheckMembershipResponse of a BatchCheckMembershipRequest; None where it holds what is not known, more than
    pairs_max pairs, or another spelling than the usual one. users: records (grpc_server/records.py) by id; ahead:
    timestamps (12 bytes) of those whose as_of is later than as_of[shard]; places int32[n], definitions: n of them."""
