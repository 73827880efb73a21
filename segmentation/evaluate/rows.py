"""Rows of cells: what events, and time, do to the values that are kept per user."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.evaluate.index import Touched
from segmentation.events.rows import Int64
from segmentation.state.log import Columns

Array = NDArray[Any]


@dataclass(slots=True)
class LinearRows:
    """What is added to linear cells: cell, step int64[n]; delta[n], int64 or Python integers."""

    cell: Int64
    step: Int64
    delta: Array

    def where(self, keep: Array) -> "LinearRows":
        return LinearRows(self.cell[keep], self.step[keep], self.delta[keep])

    @staticmethod
    def none() -> "LinearRows":
        none = np.zeros(0, np.int64)
        return LinearRows(none, none, none)

    @staticmethod
    def joined(parts: "list[LinearRows]") -> "LinearRows":
        if len(parts) == 1:
            return parts[0]
        none = np.zeros(0, np.int64)
        return LinearRows(
            np.concatenate([none, *(part.cell for part in parts)]),
            np.concatenate([none, *(part.step for part in parts)]),
            np.concatenate([none, *(part.delta for part in parts)]),
        )


@dataclass(slots=True)
class ValueRows:
    """n rows with a value that come (sign +1) or go (-1), for registers, sets of values and bags.

    cell, step, sign int64[n]; time µs and event_id are the event's; leaves int64[n] µs: when time
    takes the row away again, FOREVER for never; value[n]: int64, or Python integers where one may
    not fit (doubles in their order, texts as the shard's codes).
    """

    cell: Int64
    step: Int64
    sign: Int64
    time: Int64
    event_id: Array
    leaves: Int64
    value: Array

    def __len__(self) -> int:
        return len(self.cell)

    def where(self, keep: Array) -> "ValueRows":
        return ValueRows(*(getattr(self, name)[keep] for name in self.__slots__))

    @staticmethod
    def joined(parts: "list[ValueRows]") -> "ValueRows":
        if len(parts) == 1:
            return parts[0]
        return ValueRows(*(np.concatenate([getattr(part, name) for part in parts]) for name in ValueRows.__slots__))

    @staticmethod
    def none() -> "ValueRows":
        none = np.zeros(0, np.int64)
        return ValueRows(none, none, none, none, np.zeros(0, object), none, none)


@dataclass(slots=True)
class Aside:
    """Pairs of terms with a condition beside values of the user, which are not decided yet.

    rows: the log's columns; step int64[rows]: the step of each of them; watch int64[pairs]: the number of the
    pair's condition, of which there is one pair for all terms.
    """

    touched: Touched
    watch: Int64
    rows: Columns
    step: Int64

    def of(self, watch: int) -> "Aside":
        """Those of one condition."""
        mine = self.watch == watch
        return Aside(self.touched.where(mine), self.watch[mine], self.rows, self.step)


@dataclass(slots=True)
class FromLog:
    """Rows of the log themselves, for C to look up what they add to linear cells: what `code.cells_apply` takes.
    slowly: the same as rows of linear cells, made by numpy."""

    given: tuple[Any, ...]
    slowly: Callable[[], LinearRows]


@dataclass(slots=True)
class CellRows:
    """All that a batch does to the cells, by kind of cell; cells are numbered within their kind.

    log: what is not among the linear rows yet; None for nothing."""

    linear: LinearRows
    registers: ValueRows
    distincts: ValueRows
    bags: ValueRows
    aside: Aside | None = None
    log: FromLog | None = None

    @staticmethod
    def of_linear(linear: LinearRows) -> "CellRows":
        return CellRows(linear, ValueRows.none(), ValueRows.none(), ValueRows.none())
