"""From (row, term) pairs to rows of cells: what each event adds to a count or sum, or offers a register."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.evaluate.environments import Frame
from segmentation.evaluate.index import Index, Touched
from segmentation.evaluate.registers import ordered_doubles
from segmentation.evaluate.rows import Aside, CellRows, LinearRows, ValueRows
from segmentation.evaluate.vector import strings
from segmentation.evaluate.vectors import Vector, bound
from segmentation.events.rows import Int64
from segmentation.state.dictionary import Dictionary
from segmentation.state.log import Columns
from segmentation.types import Kind

Array = NDArray[Any]
_SAFE = 2**62


class Deltas:
    def __init__(self, index: Index, texts: Dictionary) -> None:
        self._index = index
        self._texts = texts
        wide = any(abs(coefficient) >= _SAFE for coefficient in index.coefficient)
        self._weight = np.array(index.coefficient, object if wide else np.int64)

    def of(self, touched: Touched, frame: Frame, rows: Columns, step: Int64) -> CellRows:
        """step int64[rows]: the step of each row of the frame."""
        if not self._index.watches:
            return self.counted(touched, frame, rows, step)
        watch = self._index.watch[touched.term]
        found = self.counted(touched.where(watch < 0), frame, rows, step)
        lead = (watch >= 0) & self._index.leads[touched.term]  # of several terms with one condition
        found.aside = Aside(touched.where(lead), watch[lead], rows, step)
        return found

    def counted(self, touched: Touched, frame: Frame, rows: Columns, step: Int64) -> CellRows:
        """Of pairs that count, without any condition beside values of the user."""
        first = self._index.first_terms
        linear = touched.term < first[1]
        if linear.all():
            return CellRows(self._linear(touched, frame, step), ValueRows.none(), ValueRows.none(), ValueRows.none())
        found = [
            self._offers(touched.where((touched.term >= a) & (touched.term < b)), frame, rows, step)
            for a, b in pairwise(first[1:])
        ]
        registers, distincts, bags = found
        return CellRows(self._linear(touched.where(linear), frame, step), registers, distincts, bags)

    def _linear(self, touched: Touched, frame: Frame, step: Int64) -> LinearRows:
        delta = product(self._weight[touched.term], touched.sign)
        keep = np.ones(len(delta), np.bool_)
        for pairs, value in self._index.values(touched, frame):
            times = product(np.broadcast_to(value.data, len(pairs)), delta[pairs])
            if times.dtype != delta.dtype:
                delta = delta.astype(object)
            delta[pairs] = times
            keep[pairs] = _valid(value, len(pairs))
        if not keep.all():
            touched, delta = touched.where(keep), delta[keep]
        return LinearRows(self._index.cell[touched.term], step[touched.row], delta)

    def _offers(self, touched: Touched, frame: Frame, rows: Columns, step: Int64) -> ValueRows:
        if not len(touched.row):
            return ValueRows.none()
        leaves = self._index.leaves(touched, rows["time"])
        parts: list[tuple[Array, ...]] = []
        for pairs, value in self._index.values(touched, frame):
            here = _valid(value, len(pairs))
            pairs, data = pairs[here], np.broadcast_to(self._storable(value), len(here))[here]
            row, cell = touched.row[pairs], self._index.cell[touched.term[pairs]]
            time, event_id = rows["time"][row], rows["event_id"][row]
            parts.append((cell, step[row], touched.sign[pairs], time, event_id, leaves[pairs], data))
        return ValueRows(*(np.concatenate(column) for column in zip(*parts)))

    def _storable(self, value: Vector) -> Array:
        """As int64, or Python integers beyond it: doubles in their order, texts as the shard's codes."""
        if value.kind is Kind.DOUBLE:
            return ordered_doubles(value.data)
        if value.kind is Kind.TEXT and value.texts is not self._texts:
            return self._texts.codes(strings(value).tolist())
        return value.data if bound(value.data) >= _SAFE else value.data.astype(np.int64)


def _valid(value: Vector, n: int) -> NDArray[np.bool_]:
    return np.broadcast_to(np.ones(1, np.bool_) if value.valid is None else value.valid, n)


def product(a: Array, b: Array) -> Array:
    """a * b, in Python integers where int64 might not hold it."""
    if a.dtype != object and b.dtype != object and bound(a) * bound(b) < _SAFE:
        return np.multiply(a, b)
    exact: Array = np.multiply(a.astype(object), b.astype(object))
    return exact
