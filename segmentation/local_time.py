"""Arithmetic on local times: date_trunc, extract and months, for many at once.

Local times are int64[n] µs since 1970-01-01 00:00 on the local clock, in the Gregorian calendar throughout.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Int64
from segmentation.types import DAY, SECOND

MINUTE, HOUR, WEEK = 60 * SECOND, 3600 * SECOND, 7 * DAY
#: Units of date_trunc, and how long one is at most, µs.
UNITS = {
    "minute": MINUTE, "hour": HOUR, "day": DAY, "week": WEEK, "month": 31 * DAY, "quarter": 92 * DAY, "year": 366 * DAY,
}  # fmt: skip
#: Units that are a whole number of months.
MONTHS = {"month": 1, "quarter": 3, "year": 12}
#: The first Monday that there is.
_MONDAY = 4 * DAY


def truncated(unit: str, local: Int64) -> Int64:
    """The start of the unit's cell that each time is in."""
    if unit in MONTHS:
        size = MONTHS[unit]
        return _of_months(_months(local) // size * size)
    first = _MONDAY if unit == "week" else 0
    return local - (local - first) % UNITS[unit]


def starts(unit: str, first: int, last: int) -> Int64:
    """The starts of cells from `first` on and before `last`, ascending."""
    if unit in MONTHS:
        size = MONTHS[unit]
        low, high = (int(_months(np.array([at], np.int64))[0]) // size * size for at in (first, last))
        found = _of_months(np.arange(low, high + size + 1, size, dtype=np.int64))
        return found[(found >= first) & (found < last)]
    size, shift = UNITS[unit], _MONDAY if unit == "week" else 0
    return np.arange(first + (shift - first) % size, last, size, dtype=np.int64)


def with_months(local: Int64, months: int) -> Int64:
    """So many months later; where the month has no such day, on its last."""
    day = local // DAY
    month = _months(local)
    in_month = day - _of_months(month) // DAY
    first, after = _of_months(month + months) // DAY, _of_months(month + months + 1) // DAY
    return np.asarray((first + np.minimum(in_month, after - first - 1)) * DAY + local % DAY, np.int64)


def _months(local: Int64) -> Int64:
    """Months since January 1970."""
    return (local // DAY).astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _of_months(months: Int64) -> Int64:
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) * DAY


def _thursday(local: Int64) -> Int64:
    """Of each time's week: the year of a week is the year of its Thursday."""
    return truncated("week", local) + 3 * DAY


#: Fields of extract: with the unit in which they stay the same, and their value.
PARTS: dict[str, tuple[str, Callable[[Int64], NDArray[np.int64]]]] = {
    "minute": ("minute", lambda local: local % HOUR // MINUTE),
    "hour": ("hour", lambda local: local % DAY // HOUR),
    "dow": ("day", lambda local: (local // DAY + 4) % 7),
    "isodow": ("day", lambda local: (local // DAY + 3) % 7 + 1),
    "day": ("day", lambda local: (local - truncated("month", local)) // DAY + 1),
    "doy": ("day", lambda local: (local - truncated("year", local)) // DAY + 1),
    "week": ("week", lambda local: (_thursday(local) - truncated("year", _thursday(local))) // WEEK + 1),
    "isoyear": ("week", lambda local: _months(_thursday(local)) // 12 + 1970),
    "month": ("month", lambda local: _months(local) % 12 + 1),
    "quarter": ("quarter", lambda local: _months(local) % 12 // 3 + 1),
    "year": ("year", lambda local: _months(local) // 12 + 1970),
}
