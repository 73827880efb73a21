"""Sets of values: which values occur among a user's rows, and what linear cells make of them.

Each (set, user, value) has a count in a table. Where a count leaves or reaches 0, the linear cells
over the set gain or lose 1 (count(DISTINCT x)) or the value (sum(DISTINCT x)).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile.plan import Plan
from segmentation.distinct import distinct
from segmentation.evaluate.deltas import product
from segmentation.evaluate.rows import LinearRows, ValueRows
from segmentation.evaluate.steps import Steps
from segmentation.events.rows import Int64
from segmentation.state.dictionary import Translation
from segmentation.state.table import Table
from segmentation.types import Kind

Array = NDArray[Any]


class Distincts:
    def __init__(self, plan: Plan) -> None:
        numbers = {distinct: number for number, distinct in enumerate(plan.distincts)}
        self.table = Table()
        self._text = np.array([distinct.type.kind is Kind.TEXT for distinct in plan.distincts], np.bool_)
        self._users: list[tuple[int, int, int, bool]] = [  # set, cell, coefficient, whether times the value
            (numbers[values.of], cell, values.coefficient, values.summed)
            for cell, linear in enumerate(plan.linears)
            for values in linear.values
        ]

    def apply(self, rows: ValueRows, steps: Steps) -> LinearRows:
        """Takes rows that come and go; returns what that adds to the linear cells, per step."""
        change = self._settled(rows, steps)
        parts = []
        for number, cell, coefficient, summed in self._users:
            mine = np.flatnonzero(rows.cell[change.row] == number)
            sign = change.sign[mine]
            weight = np.array([coefficient], np.int64 if abs(coefficient) < 2**62 else object)
            delta = product(sign, weight)
            if summed:
                delta = product(delta, rows.value[change.row[mine]])
            parts.append(LinearRows(np.full(len(mine), cell), rows.step[change.row[mine]], delta))
        return LinearRows.joined(parts)

    def adopt(self, other: "Distincts", theirs: Int64, ours: Int64, texts: Translation) -> None:
        """What `other` holds of its users `theirs`, for our new users `ours` (int64[n] both)."""
        order = np.argsort(theirs)
        cell, user, value, count = other.table.of_users(theirs[order])
        text = self._text[cell]
        if text.any():
            value = value.copy()
            value[text] = texts(value[text].astype(np.int64))
        self.table.put(cell, ours[order][np.searchsorted(theirs[order], user)], value, count)

    def erase(self, users: Int64) -> None:
        """Lets go of these users' values."""
        self.table.erase(users)

    def texts(self, users: Int64) -> Int64:
        """Codes of all texts that are among the values of one of these users."""
        cell, _, value, _ = self.table.of_users(users)
        return distinct(value[self._text[cell]].astype(np.int64))

    def _settled(self, rows: ValueRows, steps: Steps) -> "_Change":
        """Stores the counts; at the end of which step a value has come to be, or is gone."""
        key, value = self.table.keys(rows.cell, steps.user[rows.step], rows.value)
        order = np.lexsort((rows.step, value, key))
        key, value, step = key[order], value[order], rows.step[order]
        total = np.cumsum(rows.sign[order])
        new = np.concatenate(([True], (key[1:] != key[:-1]) | (value[1:] != value[:-1])))
        last = np.concatenate((new[1:] | (step[1:] != step[:-1]), [True]))
        head = np.flatnonzero(new)
        size = np.diff(np.concatenate((head, [len(order)])))
        entry = self.table.entries(key[head], value[head])
        stored = self.table.counts(entry)
        count = total + np.repeat(stored - np.where(head > 0, total[head - 1], 0), size)
        self.table.store(entry, count[head + size - 1])
        settled = np.flatnonzero(last)
        after = count[settled] > 0
        before = np.empty_like(after)
        before[1:] = after[:-1]
        first = new[np.concatenate(([0], settled[:-1] + 1))]  # the first settled step of its value
        before[first] = stored > 0
        moved = np.flatnonzero(after != before)
        return _Change(order[settled[moved]], np.where(after[moved], 1, -1))


class _Change:
    """row: into the rows, one with the value and the step; sign: +1 where the value now occurs, else -1."""

    def __init__(self, row: Int64, sign: Int64) -> None:
        self.row, self.sign = row, sign
