"""Rows in order of time, as parallel arrays, and rows on their way there.

What one poll brings is nearly in order, but the polls of several partitions lie over each other. So rows wait as they
came until somebody reads the log, are put into one order together, and those that belong between the last rows of the
body are put there: the cost of a row is a few copies, however many partitions there are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Int64
from segmentation.state.chunks import Columns
from segmentation.state.order import stable_order

Array = NDArray[Any]
#: Rows of the body that may be put into order again for one of those that come; at least `LEAST` of them.
AGAIN, LEAST = 2, 1024


class Body:
    """Parallel arrays in order of time that grow at the end and shrink at the front."""

    def __init__(self, dtypes: dict[str, np.dtype[Any]]) -> None:
        self._columns = {name: np.empty(0, dtype) for name, dtype in dtypes.items()}
        self._objects = [name for name, dtype in dtypes.items() if dtype.hasobject]
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def slice(self, first: int, last: int) -> Columns:
        """Views, good until rows are put in."""
        a, b = self._start + first, self._start + last
        return {name: column[a:b] for name, column in self._columns.items()}

    def time(self) -> Array:
        return self._columns["time"][self._start : self._end]

    def put(self, rows: Columns, least: int) -> int:
        """Takes rows, in order of time, but for the first ones that would disturb too many others or are older than
        `least` (µs): returns how many these are."""
        time, mine = rows["time"], self.time()
        first = int(np.searchsorted(time, least, "left"))
        reach = max(0, len(mine) - max(LEAST, AGAIN * len(time)))
        if reach:
            first = max(first, int(np.searchsorted(time, mine[reach], "left")))
        if first == len(time):
            return first
        rows = {name: rows[name][first:] for name in self._columns}
        at = int(np.searchsorted(mine, time[first], "right"))
        if at < len(mine):
            rows = merged([self.slice(at, len(mine)), rows])
            self._end = self._start + at
        self._append(rows)
        return first

    def _append(self, rows: Columns) -> None:
        n = len(rows["time"])
        if self._end + n > len(self._columns["time"]):
            self._make_room(n)
        for name, column in self._columns.items():
            column[self._end : self._end + n] = rows[name]
        self._end += n

    def _make_room(self, n: int) -> None:
        """For n more: at the front, where there is so much, for new memory costs more than to copy."""
        rows, room = len(self), len(self._columns["time"])
        here = rows <= self._start and 2 * (rows + n) <= room
        for name, column in self._columns.items():
            to = column if here else np.empty(max(1024, 2 * (rows + n)), column.dtype)
            to[:rows] = column[self._start : self._end]
            self._columns[name] = to
        for name in self._objects if here else ():
            self._columns[name][rows : self._end] = None
        self._start, self._end = 0, rows

    def drop(self, rows: int) -> None:
        for name in self._objects if rows else ():
            self._columns[name][self._start : self._start + rows] = None  # lets go of the strings
        self._start += rows


@dataclass(slots=True)
class Fresh:
    """Rows as they came, and how they go in order of time."""

    rows: Columns
    order: Int64
    time: Array

    @staticmethod
    def of(rows: Columns) -> "Fresh":
        order = stable_order(rows["time"])
        return Fresh(rows, order, rows["time"][order])


def in_order(fresh: list[Fresh], dtypes: dict[str, np.dtype[Any]]) -> Columns:
    """All of them in order of time, those of one instant as they came; columns of these dtypes, copies."""
    if len(fresh) == 1:
        (one,) = fresh
        return {name: one.rows[name][one.order].astype(dtype, copy=False) for name, dtype in dtypes.items()}
    order = stable_order(np.concatenate([each.rows["time"] for each in fresh]))
    return {
        name: np.concatenate([each.rows[name] for each in fresh], dtype=dtype, casting="same_kind")[order]
        for name, dtype in dtypes.items()
    }


def merged(pieces: list[Columns]) -> Columns:
    """Pieces, each in order of time, as one; copies."""
    some = [piece for piece in pieces if len(piece["time"])]
    if len(some) == 1:
        return {name: column.copy() for name, column in some[0].items()}
    order = stable_order(np.concatenate([piece["time"] for piece in pieces]))
    return {name: np.concatenate([piece[name] for piece in pieces])[order] for name in pieces[0]}
