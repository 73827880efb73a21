"""Slices of what time does: when very many users are to be moved at one instant, not all of them need to be moved in
one step. What is left stays due; the front says how far the shard is.

A user's log depends on his own arrivals and on watermarks only, so whoever is left behind loses nothing: his changes
have their own instants whenever they are applied, and an event of his own applies them first (segmentation.evaluate.due
does not care how far users who stay silent are behind). Within one instant users are taken by their rank, which follows
from the id alone. So the front, recorded with a step, says of any shard that runs the step again, however its
numbers and batches are, who has been moved and who has not.
"""

from collections.abc import Sequence

import numpy as np

from segmentation.distinct import distinct
from segmentation.edges import Edge
from segmentation.evaluate.clocks import Clocks, Turns
from segmentation.evaluate.due import Due, Progress, clock_turns, due_changes
from segmentation.evaluate.queued import Queue
from segmentation.evaluate.ranks import Front, Ranks
from segmentation.events.rows import Int64
from segmentation.state.log import Columns, Log
from segmentation.state.users import Users


class Slicing:
    """What is due in one shard, and how much of it is taken. front: None where nothing is left below the watermark."""

    def __init__(self, log: Log, edges: Sequence[Edge], clocks: Clocks, users: Users) -> None:
        self.front: Front | None = None
        self._log, self._edges, self._clocks, self._users = log, edges, clocks, users
        self._ranks = Ranks(users)
        self._queue: Queue | None = None  # of what waits, while there is a front

    def find(
        self, progress: Progress, events: Columns, most: int | None, given: tuple[int, int] | None
    ) -> tuple[list[Due], Turns | None, Int64]:
        """What time does now: logged events that pass an edge, turns of the clock; and the users who are moved up to
        the front though no event of theirs comes. most: of the changes, about, None: no limit; given: the front, as it
        was when this was run before. The progress is cut to what is taken."""
        before, watermark = self.front, progress.watermark
        if before is not None and most is not None and not progress.anew:
            queued = self._queued(progress, events, most, before)
            if queued is not None:
                return queued
        found, turns = self._due(progress, events)
        self.front, moved = None, np.zeros(0, np.int64)
        if given is not None or (most is not None and _size(found, turns) > most):
            user, at = waiting(found, turns, progress)
            front = Front.of(given) if most is None else front_after(user, at, most, self._ranks)
            if front is not None and front.at < watermark:
                # Never back: of whom it has passed, all that comes to be due is taken at once.
                self.front = front = max(front, before or Front(progress.applied_to, 0))
                moved = reached_by(front, user, at, self._ranks)
                np.maximum.at(progress.reached, moved, front.at)
                progress.watermark, progress.read_to = front.at, front.at + 1
                found, turns = self._due(progress, events)
        if self.front is None:
            self._ranks.forget()
            self.let_go()
        return found, turns, moved

    def let_go(self) -> None:
        """Of what is only kept to be found sooner, when rows in the log change: somebody is erased, or texts have other
        codes."""
        self._queue = None

    def _queued(
        self, progress: Progress, events: Columns, most: int, before: Front
    ) -> tuple[list[Due], Turns | None, Int64] | None:
        """What `find` gives, without looking through all that waits; None where that is needed: the slice takes all
        that is left, or the clock turns for everybody in it."""
        new, watermark = self._queue is None, progress.watermark
        queue = self._queue = self._queue or Queue(progress.applied_to)
        if new or most:
            nothing = {name: column[:0] for name, column in events.items()}
            queue.add(due_changes(self._log, self._edges, progress, nothing, queue.until), events, watermark)
        front = None
        if most:
            front = queue.next(most, progress, self._ranks)
            if front is None or front.at >= watermark or self._clocks.turn(progress.applied_to - 1, front.at):
                return None
            # Never back, as below.
            self.front = front = max(front, before)
        else:
            progress.watermark = before.at
        users = distinct(events["user"]).astype(np.int64)
        found, moved = queue.due(progress, users, front, self._ranks)
        found += due_changes(self._log, self._edges, progress, events, queue.until)
        return found, clock_turns(self._clocks, progress, events, len(self._users)), moved

    def _due(self, progress: Progress, events: Columns) -> tuple[list[Due], Turns | None]:
        found = due_changes(self._log, self._edges, progress, events)
        return found, clock_turns(self._clocks, progress, events, len(self._users))


def _size(found: Sequence[Due], turns: Turns | None) -> int:
    return sum(len(due.places) for due in found) + (0 if turns is None else len(turns.user))


def waiting(found: Sequence[Due], turns: Turns | None, progress: Progress) -> tuple[Int64, Int64]:
    """(users, instants) of the changes that no event of their user brings along."""
    pairs = [due.changes for due in found]
    if turns is not None:
        pairs.append((turns.user, turns.at))
    none = np.zeros(0, np.int64)
    user = np.concatenate([none, *(user for user, _ in pairs)])
    at = np.concatenate([none, *(at for _, at in pairs)])
    silent = at > progress.reached[user]
    return user[silent], at[silent]


def front_after(user: Int64, at: Int64, most: int, ranks: Ranks) -> Front | None:
    """How far about the first `most` of these changes go, at least one user's where that is not 0; None: all of
    them."""
    if len(at) <= most:
        return None
    last = int(np.partition(at, most)[most])
    rank = ranks.of(user[at == last])
    left = most - int((at < last).sum())
    bound = int(np.partition(rank, left)[left])
    if left == most > 0 and not (rank < bound).any():
        bound += 1
    return Front(last, bound)


def reached_by(front: Front, user: Int64, at: Int64, ranks: Ranks) -> Int64:
    """Those of the users who are moved at the front's own instant."""
    here = user[at == front.at]
    moved: Int64 = here[ranks.of(here) < front.rank]
    return moved
