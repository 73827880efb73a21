"""The kernel: rows (cell, step, delta) in, running values and threshold crossings out.

Rows are cumulated from the stored values by cell and user, settled at the end of each step, and every
threshold of the cell that the value crosses is a flip of its signal. The cost follows the rows and the
flips, not the number of cells, thresholds or definitions. C walks through the steps (native/cells.c);
numpy sorts rows by (cell, step), for gates, too, level by level.
"""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.evaluate.rows import FromLog, LinearRows
from segmentation.evaluate.steps import Steps
from segmentation.events.rows import Bool, Int64
from segmentation.native import ENABLED, code
from segmentation.state.arena import Arena
from segmentation.state.order import stable_order

Array = NDArray[Any]
_SAFE = 2**62


@dataclass(slots=True)
class Flips:
    """signal, step int64[f]; holds bool[f]: whether the signal is true from this step on."""

    signal: Int64
    step: Int64
    holds: Bool

    def __len__(self) -> int:
        return len(self.signal)

    @staticmethod
    def joined(parts: "list[Flips]") -> "Flips":
        if len(parts) == 1:
            return parts[0]
        none = np.zeros(0, np.int64)
        return Flips(
            np.concatenate([none, *(part.signal for part in parts)]),
            np.concatenate([none, *(part.step for part in parts)]),
            np.concatenate([np.zeros(0, np.bool_), *(part.holds for part in parts)]),
        )


@dataclass(slots=True)
class Settled:
    """Values after each (cell, step) that changed: key int64[r] = cell * len(steps) + step,
    increasing; value[r]; before[r]: the value of that (cell, user) before the batch."""

    key: Int64
    value: Array
    before: Array

    @staticmethod
    def none() -> "Settled":
        none = np.zeros(0, np.int64)
        return Settled(none, none, none)

    def joined(self, other: "Settled") -> "Settled":
        """With what happened to other cells."""
        if not len(self.key):
            return other
        key = np.concatenate((self.key, other.key))
        order = stable_order(key)
        value, before = (np.concatenate((getattr(self, n), getattr(other, n)))[order] for n in ("value", "before"))
        return Settled(key[order], value, before)


class Kernel:
    def __init__(self, arena: Arena, thresholds: list[list[tuple[int, int]]], in_c: bool = True) -> None:
        """thresholds[cell]: (value from which it holds, signal), in any order. in_c: where that can be."""
        self.arena = arena
        ordered = [sorted(cell) for cell in thresholds]
        self._first = np.cumsum([0, *map(len, ordered)])
        exact = [bound for cell in ordered for bound, _ in cell]
        self._exact = exact
        self._signal = np.array([signal for cell in ordered for _, signal in cell], np.int64)
        # All thresholds on one line, each cell's stretch after the one before: one search for all rows.
        lowest = [cell[0][0] - 1 if cell else 0 for cell in ordered]
        span = [cell[-1][0] - cell[0][0] + 1 if cell else 0 for cell in ordered]
        start = list(accumulate((s + 1 for s in span), initial=0))
        self._fits = start[-1] < _SAFE and all(abs(bound) < _SAFE for bound in exact)
        self._by_c = self._in_c() if in_c and ENABLED and self._fits else None
        if self._fits:
            line = [at + bound - low for cell, at, low in zip(ordered, start, lowest) for bound, _ in cell]
            self._lowest, self._span = np.array(lowest, np.int64), np.array(span, np.int64)
            self._start, self._line = np.array(start, np.int64), np.array(line, np.int64)

    def apply(
        self, rows: LinearRows, steps: Steps, log: FromLog | None = None, settled: bool = True
    ) -> tuple[Flips, Settled]:
        """Stores the values that these rows make, and those of the log; returns what flipped.

        settled: are the values after each step asked for? Else there may be none of them."""
        if self._by_c is not None and rows.delta.dtype == np.int64 and not self.arena.spills:
            found = self._apply_in_c(rows, steps, log, settled)
            if found is not None:
                return found
        if log is not None:
            rows = LinearRows.joined([rows, log.slowly()])
        return self.apply_by_numpy(rows.cell, rows.step, rows.delta, steps)

    def _in_c(self) -> object:
        arena = self.arena
        template = np.concatenate([np.asarray(values, np.int64) for values in arena.templates])
        width = np.array([len(values) for values in arena.templates], np.int64)
        first, bound = self._first.astype(np.int64), np.array(self._exact, np.int64)
        return code.cells(arena.family, arena.slot, width, template, first, bound, self._signal)

    def _apply_in_c(
        self, rows: LinearRows, steps: Steps, log: FromLog | None, settled: bool
    ) -> tuple[Flips, Settled] | None:
        """None, and nothing done, where a value does not fit into 62 bits."""
        cell, step, delta = (np.ascontiguousarray(values, np.int64) for values in (rows.cell, rows.step, rows.delta))
        from_log = None if log is None else log.given
        while True:
            found = code.cells_apply(
                self._by_c, from_log, cell, step, delta, steps.user, *self.arena.places(steps.user), settled
            )
            if found is None:
                return None
            if isinstance(found, int):
                self.arena.grow(found)
                continue
            used, flips, values = found
            self.arena.taken(used)
            return Flips(*flips), Settled.none() if values is None else Settled(*values)

    def apply_by_numpy(self, cell: Array, step: Array, delta: Array, steps: Steps) -> tuple[Flips, Settled]:
        """The slow twin of the C code, and what is exact beyond 62 bits: cell, step int64[n], delta[n] (int64 or Python
        ints)."""
        if not len(cell):
            none = np.zeros(0, np.int64)
            return Flips(none, none, np.zeros(0, np.bool_)), Settled.none()
        n_steps = len(steps)
        key = cell * n_steps + step
        order = stable_order(key)
        key, delta = key[order], delta[order]
        if delta.dtype == object or _magnitude(delta) * len(delta) >= _SAFE:
            delta = delta.astype(object)
        total = np.cumsum(delta)
        settled = np.flatnonzero(np.concatenate((key[1:] != key[:-1], [True])))
        key, total = key[settled], total[settled]
        cell = key // n_steps
        step = key - cell * n_steps
        user = steps.user[step]
        head = np.flatnonzero(np.concatenate(([True], (cell[1:] != cell[:-1]) | (user[1:] != user[:-1]))))
        size = np.diff(np.concatenate((head, [len(key)])))
        address = self.arena.addresses(cell[head], user[head])
        stored = self.arena.get(address)
        if stored.dtype != object and total.dtype != object and _magnitude(stored) + _magnitude(total) >= _SAFE:
            stored = stored.astype(object)
        earlier = np.where(head > 0, total[head - 1], 0)
        value = total + np.repeat(stored - earlier, size)
        before = np.repeat(stored, size)
        self.arena.put(address, value[head + size - 1])
        flips = self._crossed(cell, step, value, head, stored)
        return flips, Settled(key, value, before)

    def _crossed(self, cell: Int64, step: Int64, value: Array, head: Array, stored: Array) -> Flips:
        rank = self.rank(cell, value)
        earlier = np.empty_like(rank)
        earlier[1:] = rank[:-1]
        earlier[head] = self.rank(cell[head], stored)
        moved = np.flatnonzero(rank != earlier)
        if not len(moved):
            none = np.zeros(0, np.int64)
            return Flips(none, none, np.zeros(0, np.bool_))
        now, then = rank[moved], earlier[moved]
        count = np.abs(now - then)
        lowest = np.minimum(now, then) + self._first[cell[moved]]
        row = np.repeat(np.arange(len(moved)), count)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return Flips(self._signal[lowest[row] + nth], step[moved][row], (now > then)[row])

    def rank(self, cell: Array, value: Array) -> Int64:
        """How many thresholds of its cell each value has reached."""
        first = self._first[cell]
        if value.dtype == object or not self._fits:
            end = self._first[cell + 1]
            rows = zip(value.tolist(), first.tolist(), end.tolist())
            found = [bisect_right(self._exact, v, a, b) for v, a, b in rows]
            exact: Int64 = np.array(found, np.int64) - first
            return exact
        above = np.minimum(np.maximum(value - self._lowest[cell], 0), self._span[cell])
        reached: Int64 = np.searchsorted(self._line, self._start[cell] + above, "right") - first
        return reached


def _magnitude(values: Array) -> int:
    return max(abs(int(values.max())), abs(int(values.min()))) if values.size else 0
