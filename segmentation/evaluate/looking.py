"""One user of a shard, taken out to be looked at: what his cells hold, and what time will do to him."""

from fractions import Fraction
from typing import Any

import numpy as np

from segmentation.compile import tree
from segmentation.compile.plan import Formula, Reach
from segmentation.evaluate.redistribute import take_out
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.vectors import Vector
from segmentation.types import Kind

_ONE = np.zeros(1, np.int64)


class Alone:
    """A shard of this user only, who must be known to `shard`, which stays as it is. Moves on by `shard.finish`."""

    def __init__(self, shard: Shard, user_id: str) -> None:
        self.shard = take_out(shard, user_id)

    def truths(self, signals: list[int]) -> dict[int, bool]:
        """Of these signals, as of where the shard is."""
        ((_, truth),) = self.shard.truths(signals)
        return {signal: bool(truth[signal][0]) for signal in signals}

    def running(self, reach: Reach) -> int:
        """What has been counted, in the units of the cell."""
        return int(self.shard._network.cells.peek(reach.cell, _ONE)[0])

    def values(self, formula: Formula) -> list[tuple[tree.Aggregate, Any]]:
        """What the aggregates of a formula come to; None is NULL."""
        stored = self.shard._network.stored
        return [(aggregate, _plain(stored((aggregate, source), _ONE))) for aggregate, source in formula.sources]


def _plain(vector: Vector) -> Any:
    """Of a vector of one: as `segmentation.reference_eval` has it."""
    if vector.valid is not None and not vector.valid[0]:
        return None
    value = vector.data[0].item() if isinstance(vector.data[0], np.generic) else vector.data[0]
    match vector.kind:
        case Kind.TEXT:
            assert vector.texts is not None
            return vector.texts.values[value]
        case Kind.NUMERIC | Kind.RATIO:
            over = 1 if vector.over is None else int(vector.over[0])
            return Fraction(int(value), over * 10**vector.scale)
    return value
