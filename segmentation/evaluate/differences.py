"""Who enters and who leaves segments when a shard's definitions are exchanged, user by user."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Bool, Int64

_Root = tuple[int, bool]


@dataclass(slots=True)
class Difference:
    """now, after: numbers of members; enter, leave: user ids, in no order."""

    now: int = 0
    after: int = 0
    enter: list[str] = field(default_factory=list)
    leave: list[str] = field(default_factory=list)


def differences(old: Shard, new: Shard, segments: Sequence[str]) -> tuple[int, dict[str, Difference]]:
    """(users known, by segment what differs). new: built from `old` for another plan, at the same place of the log,
    so that users have the same numbers. A segment that one of the plans does not have is empty there."""
    was, is_ = _roots(old.plan, segments), _roots(new.plan, segments)
    found = {segment: Difference() for segment in segments}
    known, ids = 0, old.user_ids
    blocks: Iterator[tuple[tuple[Int64, dict[int, Bool]], tuple[Int64, dict[int, Bool]]]] = zip(
        old.truths(_signals(was)), new.truths(_signals(is_)), strict=True
    )
    for (users, before), (same, after) in blocks:
        assert np.array_equal(users, same), "the shards do not know the same users"
        known += len(users)
        for segment, one in found.items():
            inside, then = _inside(was[segment], before, users), _inside(is_[segment], after, users)
            one.now += int(inside.sum())
            one.after += int(then.sum())
            one.enter += _names(ids, users[then & ~inside])
            one.leave += _names(ids, users[inside & ~then])
    return known, found


def _roots(plan: Plan, segments: Sequence[str]) -> dict[str, _Root | None]:
    by_name = dict(zip(plan.names, plan.roots))
    return {segment: by_name.get(segment) for segment in segments}


def _signals(roots: dict[str, _Root | None]) -> list[int]:
    return sorted({root[0] for root in roots.values() if root is not None})


def _inside(root: _Root | None, truth: dict[int, Bool], users: Int64) -> Bool:
    if root is None:
        return np.zeros(len(users), np.bool_)
    return np.asarray(truth[root[0]] != root[1], np.bool_)


def _names(ids: Sequence[str | None], users: Int64) -> list[str]:
    return [name for user in users.tolist() if (name := ids[user]) is not None]
