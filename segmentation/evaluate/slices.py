"""Slices of what time does: when very many users are to be moved at one instant, not all of them need to be moved in
one step. What is left stays due; the front says how far the shard is.

A user's log depends on his own arrivals and on watermarks only, so whoever is left behind loses nothing: his changes
have their own instants whenever they are applied, and an event of his own applies them first (segmentation.evaluate.due
does not care how far users who stay silent are behind). Within one instant users are taken by their rank, which follows
from the id alone. So the front, recorded with a step, says of any shard that runs the step again, however its
numbers and batches are, who has been moved and who has not.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segmentation.edges import Edge
from segmentation.evaluate.clocks import Clocks, Turns
from segmentation.evaluate.due import Due, Progress, clock_turns, due_changes
from segmentation.events.rows import Int64
from segmentation.shards import shards_of
from segmentation.state.log import Columns, Log
from segmentation.state.users import Users

#: A prime: ranks have nothing to do with the shard that the user is in.
RANKS = (1 << 31) - 1


class Front(NamedTuple):
    """Of users who stay silent everything strictly before `at` (µs) has been applied, and what is at that instant of
    those whose rank is below this one."""

    at: int
    rank: int

    @staticmethod
    def of(stored: Sequence[int] | None) -> "Front | None":
        return None if stored is None else Front(*stored)


class Ranks:
    """By number, from the user's id; worked out when it is asked for, and kept while there is a front."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._known = np.zeros(0, np.int64)

    def of(self, users: Int64) -> Int64:
        """0 <= rank < RANKS of each of these numbers."""
        if len(self._known) < len(self._users):
            more = np.full(len(self._users) - len(self._known), -1, np.int64)
            self._known = np.concatenate((self._known, more))
        asked = np.zeros(len(self._known), np.bool_)
        asked[users] = True
        new = np.flatnonzero(asked & (self._known < 0))
        if new.size:
            self._known[new] = shards_of(self._users.names(new), RANKS)
        return self._known[users]

    def forget(self) -> None:
        self._known = np.zeros(0, np.int64)


class Slicing:
    """What is due in one shard, and how much of it is taken. front: None where nothing is left below the watermark."""

    def __init__(self, log: Log, edges: Sequence[Edge], clocks: Clocks, users: Users) -> None:
        self.front: Front | None = None
        self._log, self._edges, self._clocks, self._users = log, edges, clocks, users
        self._ranks = Ranks(users)

    def find(
        self, progress: Progress, events: Columns, most: int | None, given: tuple[int, int] | None
    ) -> tuple[list[Due], Turns | None, Int64]:
        """What time does now: logged events that pass an edge, turns of the clock; and the users who are moved up to
        the front though no event of theirs comes. most: of the changes, about, None: no limit; given: the front, as it
        was when this was run before. The progress is cut to what is taken."""
        nobody = np.zeros(0, np.int64)
        before, watermark = self.front, progress.watermark
        if most == 0 and before is not None and not progress.anew:
            progress.watermark = before.at
            return *self._due(progress, events), nobody
        found, turns = self._due(progress, events)
        self.front, moved = None, nobody
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
        return found, turns, moved

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
