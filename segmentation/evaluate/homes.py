"""In which partition a user's events come. One whose events come in several is scattered.

Only within a partition are events in order, so a scattered user's may be late, and producers have two
partitioners, or no key: worth telling. It changes nothing that is counted.
"""

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import distinct
from segmentation.events.rows import Int32, Int64
from segmentation.state.arena import larger

_NOWHERE, _SCATTERED = -1, -2
#: So many of them are named.
NAMED = 5


class Homes:
    """By user, as the shard numbers them; one that it was not told of yet is at home nowhere."""

    def __init__(self) -> None:
        self._home = np.full(1024, _NOWHERE, np.int32)
        self.scattered = 0  # how many
        self._some: list[int] | None = []  # None: to be looked up again

    def seen(self, user: Int64, partition: Int32) -> None:
        """user int64[n], partition int32[n]: of events."""
        self._make_room(int(user.max()) + 1 if len(user) else 0)
        home = self._home[user]
        if (home == partition).all():
            return
        new = home == _NOWHERE
        self._home[user[new]] = partition[new]
        home = self._home[user]  # of a new one who was seen in several it is the last of them
        moved = (home != partition) & (home >= 0)
        if moved.any():
            some = distinct(user[moved])
            self._home[some] = _SCATTERED
            self.scattered += len(some)
            self._some = None

    def of(self, user: Int64) -> Int32:
        """Each one's partition, int32[n]; below 0: none, or several."""
        self._make_room(int(user.max()) + 1 if len(user) else 0)
        return np.where(user < 0, np.int32(_NOWHERE), self._home[user])

    def begin_anew(self) -> None:
        """The topic has got more partitions, and keys others."""
        self._home[:] = _NOWHERE
        self.scattered, self._some = 0, []

    def erase(self, users: Int64) -> None:
        self._make_room(int(users.max()) + 1 if len(users) else 0)
        self.scattered -= int((self._home[users] == _SCATTERED).sum())
        self._home[users] = _NOWHERE
        self._some = None

    def some(self) -> list[int]:
        """The first few of those that are scattered."""
        if self._some is None:
            self._some = np.flatnonzero(self._home == _SCATTERED)[:NAMED].tolist() if self.scattered else []
        return self._some

    def adopt(self, other: "Homes", theirs: Int64, ours: Int64) -> None:
        """Users of another shard, int64[n] as they are numbered there and here, whom nothing is known of here."""
        self._make_room(int(ours.max()) + 1 if len(ours) else 0)
        other._make_room(int(theirs.max()) + 1 if len(theirs) else 0)
        self._home[ours] = other._home[theirs]
        self.scattered += int((other._home[theirs] == _SCATTERED).sum())
        self._some = None

    def dump(self, users: int) -> Int32:
        self._make_room(users)
        return self._home[:users]

    def load(self, state: Int32) -> None:
        self._home = np.array(state, np.int32)
        self.scattered, self._some = int((self._home == _SCATTERED).sum()), None

    def _make_room(self, users: int) -> None:
        if users > len(self._home):
            grown: NDArray[np.int32] = np.full(larger(len(self._home), users), _NOWHERE, np.int32)
            grown[: len(self._home)] = self._home
            self._home = grown
