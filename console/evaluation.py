"""A file's events in order of time through one shard: members at a time, and the netted log up to it.

The log: every entry and exit with effect at or before the time; what cancels out at one instant
(the same user, segment and microsecond) is not in it. In order of time, then user, then segment.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from console import in_time
from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Transitions
from segmentation.events.rows import Bool, Int32, Int64, Poll, Profiles, Rows, TextColumn, ValueColumn
from segmentation.types import NEVER

#: Rows of one call of the kernel; a call has a fixed cost, and memory grows with this.
CHUNK_ROWS = 50_000

Progress = Callable[[int], None]


@dataclass(slots=True)
class Log:
    """m flips in order of time, user, segment. user int32 indexes user_ids; segment: the plan's number."""

    time: Int64
    user: Int32
    user_ids: list[str]
    segment: Int32
    entered: Bool

    def __len__(self) -> int:
        return len(self.time)


@dataclass(slots=True)
class Evaluation:
    """members: (user, segment number), ordered by user then segment; log None unless asked for. shard: of the end."""

    shard: Shard
    members: list[tuple[str, int]]
    log: Log | None
    accepted: int
    repeated: int


def evaluate(
    plan: Plan, rows: Rows, at: int, with_log: bool, progress: Progress | None = None, profiles: Profiles | None = None
) -> Evaluation:
    """rows, profiles: in any order; those later than `at` (µs) are not known and left out. At one instant
    profiles come first. Of a user who is erased nothing stays in the log.

    progress(n) is called after every n further rows.
    """
    shard = Shard(plan, 1, 0, None, False)
    order = _up_to(rows.time, at)
    taken = _polls(rows, order)
    if profiles is not None:
        shard.add_partitions(1, 1)
        taken = in_time.polls(rows.take(order), profiles.take(_up_to(profiles.time, at)), CHUNK_ROWS)
    steps: list[Transitions] = []
    accepted = repeated = 0
    for polls in taken:
        for poll in polls:
            if poll.rows is not None:
                _shrink(poll.rows)
        step = shard.run(polls)
        accepted, repeated = accepted + step.accepted, repeated + step.repeated
        if with_log:
            if gone := {user for user, _ in step.erased}:
                steps = [_without(gone, before) for before in steps]
            steps.append(step.transitions)
        if progress:
            progress(sum(len(poll.rows) for poll in polls if poll.rows is not None))
    last = shard.finish(at)
    if with_log:
        steps.append(last.transitions)
    members = sorted((user, segment) for user, segments in shard.members() for segment in segments)
    return Evaluation(shard, members, netted(steps) if with_log else None, accepted, repeated)


def _polls(rows: Rows, order: NDArray[np.int64]) -> Iterator[list[Poll]]:
    """Of events alone, in this order."""
    for first in range(0, len(order), CHUNK_ROWS):
        part = rows.take(order[first : first + CHUNK_ROWS])
        part.offset = np.arange(first, first + len(part), dtype=np.int64)
        part.high = part.time
        yield [Poll(0, first + len(part), NEVER, int(part.time[-1]), None, part)]


def _up_to(time: Int64, at: int) -> NDArray[np.int64]:
    """The rows with time <= at, in order of time."""
    order = np.argsort(time, kind="stable")
    return order[: int(np.searchsorted(time[order], at, side="right"))].astype(np.int64)


def _without(users: Collection[str], step: Transitions) -> Transitions:
    stay = np.array([user not in users for user in step.user_id], np.bool_)
    flips = np.repeat(stay, np.diff(step.first))
    counts = np.diff(step.first)[stay]
    return Transitions(
        [user for user in step.user_id if user not in users], step.seq[stay], step.effective_at[stay],
        step.by_event[stay], np.concatenate(([0], np.cumsum(counts))), step.segment[flips], step.entered[flips],
    )


def netted(steps: Sequence[Transitions]) -> Log:
    """The flips of all steps, netted per (user, segment, instant), in order."""
    names: dict[str, int] = {}
    users, times, segments, entered = [], [], [], []
    for step in steps:
        number = np.fromiter((names.setdefault(user, len(names)) for user in step.user_id), np.int32, len(step))
        flips = np.diff(step.first)
        users.append(np.repeat(number, flips))
        times.append(np.repeat(step.effective_at, flips))
        segments.append(step.segment)
        entered.append(step.entered)
    user, time = _joined(users, np.int32), _joined(times, np.int64)
    segment, into = _joined(segments, np.int32), _joined(entered, np.bool_)
    user_ids = sorted(names)
    rank = np.empty(len(names), np.int32)
    rank[np.fromiter((names[name] for name in user_ids), np.int64, len(names))] = np.arange(len(names), dtype=np.int32)
    user = rank[user]
    # lexsort is stable, so that flips of one user, segment and instant stay in the order of the log.
    order = np.lexsort((segment, user, time))
    user, time, segment, into = user[order], time[order], segment[order], into[order]
    new = np.ones(len(time), np.bool_)
    new[1:] = (np.diff(time) != 0) | (np.diff(user) != 0) | (np.diff(segment) != 0)
    first = np.flatnonzero(new)
    length = np.diff(np.append(first, len(time)))
    # A user's flips of one segment alternate: an even number of them changes nothing, an odd one is the last.
    last = (first + length - 1)[length % 2 == 1]
    return Log(time[last], user[last], user_ids, segment[last], into[last])


def join(parts: Sequence[Rows]) -> Rows:
    """One `Rows` of all; dictionaries of users and text columns become shared ones."""
    users = Dictionary()
    user = [users.translate(part.user_ids)[part.user] for part in parts]
    columns: dict[str, TextColumn | ValueColumn] = {}
    for name in parts[0].columns:
        columns[name] = _join_column([part.columns[name] for part in parts])
    time = np.concatenate([part.time for part in parts])
    return Rows(
        np.concatenate([part.offset for part in parts]), np.concatenate(user), users.values, time,
        np.maximum.accumulate(time), np.concatenate([part.event_id for part in parts]), columns,
    )  # fmt: skip


class Dictionary:
    """Distinct strings with numbers in order of first appearance."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def translate(self, values: Sequence[str]) -> Int32:
        """int32[len(values) + 1]: the number of each here; the last is -1, so that NULL (-1) stays NULL."""
        numbers = self._numbers
        found = np.full(len(values) + 1, -1, np.int32)
        found[:-1] = [numbers.setdefault(value, len(numbers)) for value in values]
        return found

    @property
    def values(self) -> list[str]:
        return list(self._numbers)


def _join_column(parts: Sequence[TextColumn | ValueColumn]) -> TextColumn | ValueColumn:
    texts = [part for part in parts if isinstance(part, TextColumn)]
    if len(texts) == len(parts):
        dictionary = Dictionary()
        codes = [dictionary.translate(part.values)[part.codes] for part in texts]
        return TextColumn(np.concatenate(codes), dictionary.values)
    values = [part for part in parts if isinstance(part, ValueColumn)]
    data = np.concatenate([part.data for part in values])
    if all(part.valid is None for part in values):
        return ValueColumn(data)
    return ValueColumn(data, np.concatenate([_valid(part) for part in values]))


def _valid(column: ValueColumn) -> Bool:
    return np.ones(len(column.data), np.bool_) if column.valid is None else column.valid


def _shrink(rows: Rows) -> None:
    """Leaves the chunk only its own users and texts: dictionaries of the whole file would be walked per chunk."""
    rows.user, rows.user_ids = _shrunk(rows.user, rows.user_ids)
    for name, column in rows.columns.items():
        if isinstance(column, TextColumn) and len(column.values) > len(rows):
            rows.columns[name] = TextColumn(*_shrunk(column.codes, column.values))


def _shrunk(codes: Int32, values: list[str]) -> tuple[Int32, list[str]]:
    used, packed = np.unique(codes, return_inverse=True)
    null = int(len(used) > 0 and used[0] < 0)
    return (packed - null).astype(np.int32), [values[code] for code in used[null:].tolist()]


def _joined(parts: Sequence[NDArray[np.generic]], kind: type[np.generic]) -> NDArray[np.generic]:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def names(plan: Plan) -> Iterator[str]:
    return (definition.name for definition in plan.segments)
