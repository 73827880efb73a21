"""A shard's events in order of event time, for windows to leave by and repeats to be found in.

Rows that come in order are appended to one sorted body; late ones go to small sorted runs, merged
so that there are never more than a logarithm of them. All columns are parallel arrays.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.state.order import stable_order
from segmentation.types import NEVER

Array = NDArray[Any]
Columns = dict[str, Array]


class _Body:
    """Parallel arrays that grow at the end and shrink at the front."""

    def __init__(self, dtypes: dict[str, np.dtype[Any]]) -> None:
        self._columns = {name: np.empty(0, dtype) for name, dtype in dtypes.items()}
        self._start = self._end = 0

    def __len__(self) -> int:
        return self._end - self._start

    def slice(self, first: int, last: int) -> Columns:
        a, b = self._start + first, self._start + last
        return {name: column[a:b] for name, column in self._columns.items()}

    def time(self) -> Array:
        return self._columns["time"][self._start : self._end]

    def append(self, rows: Columns) -> None:
        n = len(rows["time"])
        if self._end + n > len(self._columns["time"]):
            room = max(1024, 2 * (len(self) + n))
            for name, column in self._columns.items():
                grown = np.empty(room, column.dtype)
                grown[: len(self)] = column[self._start : self._end]
                self._columns[name] = grown
            self._start, self._end = 0, len(self)
        for name, column in self._columns.items():
            column[self._end : self._end + n] = rows[name]
        self._end += n

    def drop(self, rows: int) -> None:
        if rows and self._columns["event_id"].dtype == object:
            self._columns["event_id"][self._start : self._start + rows] = None  # lets go of the strings
        self._start += rows


class Log:
    """dtypes: every column's, `time` (int64 µs) among them."""

    def __init__(self, dtypes: dict[str, np.dtype[Any]]) -> None:
        self.dtypes = dtypes
        self._body = _Body(dtypes)
        self._runs: list[Columns] = []

    def __len__(self) -> int:
        return len(self._body) + sum(len(run["time"]) for run in self._runs)

    def append(self, rows: Columns) -> None:
        """Takes rows in any order of time."""
        order = stable_order(rows["time"])
        time = rows["time"][order]
        body = self._body.time()
        first = int(np.searchsorted(time, body[-1] if len(body) else NEVER, "left"))
        if first < len(order):
            self._body.append({name: column[order[first:]] for name, column in rows.items()})
        if first:
            self._runs.append({name: column[order[:first]] for name, column in rows.items()})
            while len(self._runs) > 1 and len(self._runs[-1]["time"]) * 2 > len(self._runs[-2]["time"]):
                self._runs.append(_merged(self._runs.pop(), self._runs.pop()))

    def between(self, first: int, last: int) -> Iterator[Columns]:
        """Rows with first <= time < last, as views, each in order of time."""
        time = self._body.time()
        a, b = np.searchsorted(time, (first, last), "left").tolist()
        if a < b:
            yield self._body.slice(a, b)
        for run in self._runs:
            a, b = np.searchsorted(run["time"], (first, last), "left").tolist()
            if a < b:
                yield {name: column[a:b] for name, column in run.items()}

    def at(self, times: Array) -> Columns:
        """All rows whose time is one of `times` (sorted, distinct)."""
        parts = []
        if len(body := self._body.time()) and times[-1] >= body[0]:
            rows = _rows_at(body, times)
            if rows.size:
                whole = self._body.slice(0, len(self._body))
                parts.append({name: whole[name][rows] for name in whole})
        for run in self._runs:
            rows = _rows_at(run["time"], times)
            if rows.size:
                parts.append({name: column[rows] for name, column in run.items()})
        return self.joined(parts)

    def joined(self, parts: list[Columns]) -> Columns:
        if len(parts) == 1:
            return parts[0]
        return {
            name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0, dtype)
            for name, dtype in self.dtypes.items()
        }

    def drop_before(self, time: int) -> None:
        """Forgets rows older than `time`, late ones when it is worth it."""
        self._body.drop(int(np.searchsorted(self._body.time(), time, "left")))
        for i, run in enumerate(self._runs):
            gone = int(np.searchsorted(run["time"], time, "left"))
            if 2 * gone > len(run["time"]):
                self._runs[i] = {name: column[gone:].copy() for name, column in run.items()}
        self._runs = [run for run in self._runs if len(run["time"])]

    def everything(self) -> Columns:
        """All rows, the body's first."""
        return self.joined([self._body.slice(0, len(self._body)), *self._runs])


def _rows_at(sorted_times: Array, times: Array) -> Array:
    left = np.searchsorted(sorted_times, times, "left")
    count = np.searchsorted(sorted_times, times, "right") - left
    return np.repeat(left - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))


def _merged(a: Columns, b: Columns) -> Columns:
    order = stable_order(np.concatenate((a["time"], b["time"])))
    return {name: np.concatenate((a[name], b[name]))[order] for name in a}
