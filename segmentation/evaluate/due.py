"""What passing time changes: the logged events that pass an edge of a window, and turns of the clock.

For every user that is below the watermark; and an event brings along its own user's changes up to the
instant at which it becomes known, however far the watermark lags.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.distinct import distinct
from segmentation.edges import Edge, instants, passing
from segmentation.evaluate.clocks import Clocks, Turns
from segmentation.evaluate.erasure import taken_again
from segmentation.evaluate.index import FIRST_OFFSET
from segmentation.events.rows import Bool, Int32, Int64
from segmentation.native import ENABLED, code
from segmentation.state.log import Columns, Log
from segmentation.types import FOREVER, NEVER


@dataclass(slots=True)
class Progress:
    """How far a shard is, µs. watermark: everything strictly below it is due; applied_to: what was strictly
    below that has been applied. applied, reached int64[users]: up to where the user's own time has been applied, by his
    last event, say; and up to where it is to be applied now. anew: somebody's events are taken again.
    read_to: where more is due of users who are `reached` without an event: rows of all users are looked through to it.
    """

    watermark: int
    applied_to: int
    applied: Int64
    reached: Int64
    anew: bool
    read_to: int = NEVER


@dataclass(slots=True)
class Due:
    """Logged rows, of which those at `places` pass the edge of this number now; at int64[rows]: when each does, µs."""

    number: int
    rows: Columns
    at: Int64
    places: Int64

    @property
    def changes(self) -> tuple[Int64, Int64]:
        """(users, instants)"""
        return self.rows["user"][self.places].astype(np.int64), self.at[self.places]


def due_changes(
    log: Log, edges: Sequence[Edge], progress: Progress, events: Columns, since: int | None = None
) -> list[Due]:
    """Logged rows that pass an edge: for every user below the watermark, for users who are reached up to there, those
    of these events up to the last of them. since: not before this instant, µs; None: all that was not applied."""
    since = progress.applied_to if since is None else since
    last = max(progress.watermark, progress.read_to)
    last = max(last, int(events["known"].max()) + 1) if len(events["known"]) else last
    out = []
    for number, edge in enumerate(edges):
        passed = taken_again(events, edge, progress.applied_to) if progress.anew else ()
        found = [(rows, since) for rows in _rows_due(log, edge, progress, since, last, events["user"])]
        for rows, least in (*found, *((rows, NEVER) for rows in passed)):
            at = instants(edge, rows["time"])
            # Rows of a calendar's boundary are found roughly.
            places = due_rows(rows, at, progress, NEVER if isinstance(edge, int) else least)
            if len(places):
                out.append(Due(number, rows, at, places))
    return out


def gathered(found: Sequence[Due], names: Iterable[str]) -> tuple[list[Columns], Int64, Int64]:
    """The rows that pass, in pieces, with these columns, and of all their phase and the instants."""
    names, parts, phases, times = list(names), [], [], []
    for due in found:
        rows, at, places = due.rows, due.at, due.places
        whole = len(places) == len(at)
        parts.append({name: rows[name] if whole else rows[name][places] for name in names})
        times.append(at if whole else at[places])
        phases.append(np.full(len(places), FIRST_OFFSET + due.number))
    none = np.zeros(0, np.int64)
    return parts, np.concatenate([none, *phases]), np.concatenate([none, *times])


def due_rows(rows: Columns, at: Int64, progress: Progress, since: int) -> Int64:
    """Which of the rows (ascending) pass their edge now, at the instants at int64[n], none of them before `since`."""
    known, user = rows["known"], rows["user"]
    if ENABLED and user.dtype == np.int32:
        at, known, user = (np.ascontiguousarray(values) for values in (at, known, user))
        return code.due_rows(at, known, user, progress.applied, progress.reached, progress.watermark, since)
    return due_by_numpy(rows, at, progress, since)


def due_by_numpy(rows: Columns, at: Int64, progress: Progress, since: int) -> Int64:
    """The slow twin."""
    user = rows["user"]
    due = (at > rows["known"]) & (at > progress.applied[user]) & (at >= since)
    due &= (at < progress.watermark) | (at <= progress.reached[user])
    return np.flatnonzero(due)


def reach(user: Int64, known: Int64, applied: Int64, reached: Int64) -> Bool:
    """Raises `reached` to when the users' events become known; user, known int64[n]. bool[n]: of whom nothing has been
    applied yet. applied, reached [users]: see Progress."""
    if ENABLED:
        user, known = np.ascontiguousarray(user), np.ascontiguousarray(known)
        return code.reach(user, known, applied, reached)
    return reach_by_numpy(user, known, applied, reached)


def reach_by_numpy(user: Int64, known: Int64, applied: Int64, reached: Int64) -> Bool:
    """The slow twin."""
    np.maximum.at(reached, user, known)
    return np.asarray(applied[user] == NEVER, np.bool_)


def move_up(user: Int64, applied: Int64, reached: Int64) -> None:
    """What was to be reached of these users has been applied: raises `applied`, and nothing is to be reached now."""
    if ENABLED:
        code.move_up(np.ascontiguousarray(user), applied, reached)
    else:
        move_up_by_numpy(user, applied, reached)


def move_up_by_numpy(user: Int64, applied: Int64, reached: Int64) -> None:
    """The slow twin."""
    applied[user] = np.maximum(applied[user], reached[user])
    reached[user] = NEVER


def _rows_due(log: Log, edge: Edge, progress: Progress, since: int, last: int, users: Int32) -> Iterator[Columns]:
    """Logged rows that pass the edge at since <= instant < last: all of them up to
    the watermark; beyond it those of `users` are enough, which tells where a partition lags far behind."""
    reached = max(since, progress.watermark, progress.read_to)
    first, end = passing(edge, since, last)
    if first >= end or end <= log.oldest:
        return
    middle = max(first, passing(edge, since, reached)[1])
    if middle >= end or not log.is_long(middle, end):
        yield from log.between(first, end)
        return
    yield from log.between(first, middle)
    yield from log.of_users(distinct(users).astype(np.int64), middle, end)


def clock_turns(clocks: Clocks, progress: Progress, events: Columns, users: int) -> Turns | None:
    """The turns of the clock that the first `users` users meet: like `due_changes`."""
    if not clocks:
        return None
    user, known_at = events["user"], events["known"]
    fresh = progress.applied[user] == NEVER
    first_known = int(known_at[fresh].min(initial=FOREVER))
    since = progress.applied_to - 1
    if progress.applied_to == NEVER:
        since = int(progress.applied[:users].min(where=progress.applied[:users] > NEVER, initial=FOREVER))
    until = max(progress.watermark - 1, progress.read_to - 1, int(known_at.max(initial=NEVER)))
    if not clocks.turn(min(since, first_known), until):
        return None
    before = np.where(progress.applied[:users] > NEVER, np.maximum(progress.applied[:users], since), FOREVER)
    np.minimum.at(before, user[fresh], known_at[fresh])
    known = np.flatnonzero(before < FOREVER)
    return clocks.turns(known, before[known], np.maximum(progress.watermark - 1, progress.reached[known]))
