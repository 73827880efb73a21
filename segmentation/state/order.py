"""Sorting integers and keeping track of where they came from; looking sorted ones up."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Int64
from segmentation.native import ENABLED, code

Array = NDArray[Any]


def stable_order(keys: Array) -> Int64:
    """np.argsort(keys, kind="stable") for integers, several times faster where they have bits to spare."""
    if ENABLED and keys.dtype == np.int64:
        return code.stable_order(np.ascontiguousarray(keys))
    return order_by_numpy(keys)


def order_by_numpy(keys: Array) -> Int64:
    """Each key is sorted together with its place in the low bits, so the sort needs no index and
    equal keys stay in order."""
    n = len(keys)
    if not n:
        return np.zeros(0, np.int64)
    low, high = int(keys.min()), int(keys.max())
    bits = n.bit_length()
    if (high - low).bit_length() + bits > 62 or abs(low) >= 2**62:
        return np.argsort(keys, kind="stable")
    packed = keys.astype(np.int64) - low
    packed <<= bits
    packed |= np.arange(n)
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def rows_at(sorted_times: Array, times: Array) -> Int64:
    """The places in `sorted_times` of all that are among `times` (sorted, distinct)."""
    if ENABLED:
        return code.places_of(*(np.ascontiguousarray(values, np.int64) for values in (sorted_times, times)))
    return rows_by_numpy(sorted_times, times)


def rows_by_numpy(sorted_times: Array, times: Array) -> Int64:
    """The slow twin."""
    left = np.searchsorted(sorted_times, times, "left")
    count = np.searchsorted(sorted_times, times, "right") - left
    return np.repeat(left - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))
