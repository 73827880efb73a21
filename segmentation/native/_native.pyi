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
