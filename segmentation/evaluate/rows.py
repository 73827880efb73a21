"""Rows of cells: what events, and time, do to the values that are kept per user."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Int64

Array = NDArray[Any]


@dataclass(slots=True)
class LinearRows:
    """What is added to linear cells: cell, step int64[n]; delta[n], int64 or Python integers."""

    cell: Int64
    step: Int64
    delta: Array

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

    @staticmethod
    def none() -> "ValueRows":
        none = np.zeros(0, np.int64)
        return ValueRows(none, none, none, none, np.zeros(0, object), none, none)


@dataclass(slots=True)
class CellRows:
    """All that a batch does to the cells, by kind of cell; cells are numbered within their kind."""

    linear: LinearRows
    registers: ValueRows
    distincts: ValueRows
    bags: ValueRows
