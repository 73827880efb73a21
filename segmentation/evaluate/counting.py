"""For how many users each part of a segment's condition holds."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from segmentation.compile.parts import Condition
from segmentation.evaluate.shard import Shard

_Truth = tuple[int, bool]


@dataclass(slots=True)
class Counts:
    """users: that are known. holds: by truth (a signal, and whether it must not hold), of how many it is one.
    without: by the truth of a part of which, with others, all must hold in the whole condition: for how many all the
    others do. as_of: the least and the greatest watermark of the shards, µs; NEVER for one that has no events.
    """

    users: int = 0
    holds: dict[_Truth, int] = field(default_factory=dict)
    without: dict[_Truth, int] = field(default_factory=dict)
    as_of: list[int] = field(default_factory=list)

    def of(self, truth: _Truth | None) -> int:
        """0 for a condition that never holds."""
        return 0 if truth is None else self.holds[truth]


def count(shards: Iterable[Shard], condition: Condition) -> Counts:
    """Over all users that the shards know; of the shards one at a time is in use."""
    counts = Counts()
    for shard in shards:
        counts.as_of.append(shard.expired_to)
        _add(counts, shard, condition)
    return counts


def _add(counts: Counts, shard: Shard, condition: Condition) -> None:
    root = condition.root
    wanted = condition.signals
    needed = [part.truth for part in root.parts] if root is not None and root.all else []
    for users, truth in shard.truths(wanted):
        counts.users += len(users)
        for signal in wanted:
            held = int(truth[signal].sum())
            for key, number in (((signal, False), held), ((signal, True), len(users) - held)):
                counts.holds[key] = counts.holds.get(key, 0) + number
        fails = np.zeros(len(users), np.int64)
        for signal, negated in needed:
            fails += truth[signal] == negated
        for signal, negated in needed:
            alone = int((fails == (truth[signal] == negated)).sum())
            counts.without[signal, negated] = counts.without.get((signal, negated), 0) + alone
