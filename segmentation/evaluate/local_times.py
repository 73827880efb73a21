"""AT TIME ZONE, date_trunc, extract and months, over columns."""

import numpy as np

from segmentation.compile import tree
from segmentation.evaluate.vectors import Vector
from segmentation.local_time import PARTS, truncated, with_months
from segmentation.types import SECOND, TIMESTAMPTZ, Kind
from segmentation.zones import zone


def worked_out(node: tree.AtZone | tree.Trunc | tree.Shift | tree.Part, arg: Vector) -> Vector:
    """`node` of its argument's values. Where those are NULL they are 0, which is as good as any."""
    if arg.kind is Kind.NULL:
        return arg
    times = arg.data.astype(np.int64)
    match node:
        case tree.AtZone(_, name, type_):
            of = zone(name)
            return Vector(type_.kind, of.instants(times) if type_ == TIMESTAMPTZ else of.local(times), arg.valid)
        case tree.Trunc(unit):
            return Vector(Kind.TIMESTAMP, truncated(unit, times), arg.valid)
        case tree.Shift(_, months, micros):
            return Vector(Kind.TIMESTAMP, (with_months(times, months) if months else times) + micros, arg.valid)
        case tree.Part("epoch"):
            return Vector(Kind.DOUBLE, times / SECOND, arg.valid)
        case tree.Part(part):
            return Vector(Kind.BIGINT, PARTS[part][1](times), arg.valid)
