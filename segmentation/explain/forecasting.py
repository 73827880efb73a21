"""Who enters and who leaves a segment by time alone: shards moved forward without any arrival.

The shards are the engine's, so this is what the engine will say if nothing arrives. Time is taken in slices, so that
memory does not grow with how far one looks.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Transitions
from segmentation.types import NEVER

#: Into so many slices the time ahead is cut.
_SLICES = 24


@dataclass(frozen=True, slots=True, order=True)
class Ahead:
    """At `at` (µs) the user enters or leaves. by_event: an event that is dated ahead, and has arrived, does it."""

    at: int
    user_id: str
    enters: bool
    by_event: bool = False


@dataclass(slots=True)
class Forecast:
    """until: µs, the last instant that is looked at. since: µs, what the shard that is least far is complete up to;
    NEVER where there are no users. members: those at the beginning; entries, exits: how often somebody enters and
    leaves. first: the first of these, in order of time, then of the user's id. behind: empty, or why it is not as
    of the last that is known."""

    until: int
    since: int = NEVER
    members: int = 0
    users: int = 0
    entries: int = 0
    exits: int = 0
    first: list[Ahead] = field(default_factory=list)
    behind: str = ""


def forecast(shards: Iterable[Shard], segment: int, until: int, most: int) -> Forecast:
    """segment: its number in the shards' plan; most: how many of `first` are kept. The shards, of which one at a time
    is in use, are moved on to `until` (µs)."""
    found = Forecast(until)
    for shard in shards:
        if shard.watermark > NEVER:
            begin = shard.expired_to - 1
            found.since = begin if found.since == NEVER else min(found.since, begin)
        _count(found, shard, segment)
        for step in _steps(shard, until):
            enters, exits, some = netted(step, segment)
            found.entries += enters
            found.exits += exits
            found.first = heapq.nsmallest(most, [*found.first, *some]) if most else []
    return found


def _count(found: Forecast, shard: Shard, segment: int) -> None:
    root = shard.plan.roots[segment]
    for users, truth in shard.truths([] if root is None else [root[0]]):
        found.users += len(users)
        found.members += 0 if root is None else int((truth[root[0]] != root[1]).sum())


def _steps(shard: Shard, until: int) -> Iterator[Transitions]:
    first = shard.watermark if shard.watermark > NEVER else until
    for number in range(1, _SLICES + 1):
        at = first + (until - first) * number // _SLICES
        if at >= shard.watermark:
            yield shard.finish(at).transitions


def netted(step: Transitions, segment: int) -> tuple[int, int, Iterator[Ahead]]:
    """(entries, exits, each of them) of a segment; what cancels at one instant of a user is none."""
    message = np.repeat(np.arange(len(step)), np.diff(step.first))
    flip = np.flatnonzero(step.segment == segment)
    message = message[flip]
    at, entered, by_event = step.effective_at[message], step.entered[flip], step.by_event[message]
    # A user's messages follow one another, and his flips of one segment alternate.
    same = np.zeros(len(flip), np.bool_)
    if len(flip) > 1:
        ids = [step.user_id[place] for place in message.tolist()]
        again = np.fromiter((a == b for a, b in pairwise(ids)), np.bool_, len(ids) - 1)
        same[1:] = again & (at[1:] == at[:-1])
    group = np.cumsum(~same) - 1
    last = np.flatnonzero(np.append(~same[1:], True)) if len(flip) else flip
    odd = np.bincount(group)[group[last]] % 2 == 1 if len(flip) else np.zeros(0, np.bool_)
    stay = last[odd]
    count = int(entered[stay].sum())

    def each() -> Iterator[Ahead]:
        for place in stay.tolist():
            yield Ahead(int(at[place]), step.user_id[message[place]], bool(entered[place]), bool(by_event[place]))

    return count, len(stay) - count, each()
