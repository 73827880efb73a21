"""What passing time changes: the logged events whose age reaches a window's start or end.

For every user that is below the watermark; and an event brings along its own user's changes up to the
instant at which it becomes known, however far the watermark lags.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.evaluate.erasure import taken_again
from segmentation.evaluate.index import FIRST_OFFSET
from segmentation.events.rows import Int32, Int64
from segmentation.state.log import Columns, Log
from segmentation.types import NEVER


@dataclass(slots=True)
class Progress:
    """How far a shard is, µs. watermark: everything strictly below it is due; applied_to: what was strictly
    below that has been applied. applied, reached int64[users]: known_at of the user's last event that took
    effect, and of the last that takes effect now. anew: somebody's events are taken again."""

    watermark: int
    applied_to: int
    applied: Int64
    reached: Int64
    anew: bool


def due_changes(log: Log, offsets: Sequence[int], progress: Progress, events: Columns) -> tuple[Columns, Int64, Int64]:
    """Logged rows whose age reaches an offset: for every user below the watermark, for the users
    of these events up to the last of them. Returns the rows, their phase, and the instants."""
    watermark = progress.watermark
    last = max(watermark, int(events["known"].max()) + 1) if len(events["known"]) else watermark
    parts, phases, instants = [], [], []
    for number, offset in enumerate(offsets):
        passed = taken_again(events, offset, progress.applied_to) if progress.anew else ()
        for rows in (*_rows_due(log, offset, progress, last, events["user"]), *passed):
            at = rows["time"] + offset
            user = rows["user"]
            due = (at > rows["known"]) & (at > progress.applied[user])
            due &= (at < watermark) | (at <= progress.reached[user])
            if due.any():
                parts.append({name: column[due] for name, column in rows.items()})
                instants.append(at[due])
                phases.append(np.full(len(instants[-1]), FIRST_OFFSET + number))
    none = np.zeros(0, np.int64)
    return log.joined(parts), np.concatenate([none, *phases]), np.concatenate([none, *instants])


def _rows_due(log: Log, offset: int, progress: Progress, last: int, users: Int32) -> Iterator[Columns]:
    """Logged rows whose age reaches `offset` between what was applied and `last`: all of them up to
    the watermark; beyond it those of `users` are enough, which tells where a partition lags far behind."""
    reached = max(progress.applied_to, progress.watermark)
    first, middle = max(progress.applied_to - offset, NEVER), max(reached - offset, NEVER)
    if not log.is_long(middle, last - offset):
        yield from log.between(first, last - offset)
        return
    yield from log.between(first, middle)
    yield from log.of_users(np.unique(users).astype(np.int64), middle, last - offset)
