"""How far a shard is where not everybody has been moved: the front, and the order of users within one instant."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from segmentation.events.rows import Int64
from segmentation.shards import shards_of
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
