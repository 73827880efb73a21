"""Where expressions get their leaves: from rows of events, or from the cells of users."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile import tree
from segmentation.evaluate.vectors import Vector
from segmentation.types import BOOLEAN, Kind


class NoEvents:
    """A user without events: counts are 0, every other aggregate is NULL."""

    def column(self, column: tree.Column) -> Vector:
        raise AssertionError(f"column {column.name} outside an aggregate")

    def aggregate(self, aggregate: tree.Aggregate) -> Vector:
        if aggregate.function == "count":
            return Vector(Kind.BIGINT, np.zeros(1, np.int64))
        return Vector(Kind.NULL, np.zeros(1, np.int64), np.zeros(1, np.bool_))


@dataclass(slots=True)
class Frame:
    """n rows of events; columns are made on first use."""

    n: int
    make: Callable[[str], Vector]
    made: dict[str, Vector] = field(default_factory=dict)

    def column(self, column: tree.Column) -> Vector:
        if column.name not in self.made:
            self.made[column.name] = self.make(column.name)
        return self.made[column.name]

    def aggregate(self, aggregate: tree.Aggregate) -> Vector:
        raise AssertionError("an aggregate inside a row expression")

    def take(self, rows: NDArray[Any]) -> "Frame":
        return Frame(len(rows), lambda name: taken(self.column(tree.Column(name, BOOLEAN)), rows))


@dataclass(slots=True)
class Values:
    """Aggregates of n users' cells."""

    values: Mapping[tree.Aggregate, Vector]

    def column(self, column: tree.Column) -> Vector:
        raise AssertionError(f"column {column.name} outside an aggregate")

    def aggregate(self, aggregate: tree.Aggregate) -> Vector:
        return self.values[aggregate]


def taken(v: Vector, rows: NDArray[Any]) -> Vector:
    return Vector(
        v.kind, v.data[rows], None if v.valid is None else v.valid[rows], v.scale,
        None if v.over is None else v.over[rows], v.texts,
    )
