"""Whose history is not whole: users of whom rows have left the log because nothing there needed them.

What was counted from those rows is in the state; whoever counts again from the log alone would be wrong about these
users, wherever a definition looks back for ever.
"""

import numpy as np

from segmentation.events.rows import Bool, Int64


class Lost:
    """By user, as the shard numbers them. unknown: of a state from before this was noted; then it may be anybody."""

    def __init__(self) -> None:
        self.unknown = False
        self._lost: Bool = np.zeros(1024, np.bool_)

    def add(self, users: Int64) -> None:
        """users int[n], in any order."""
        if len(users):
            self._make_room(int(users.max()) + 1)
            self._lost[users] = True

    def erase(self, users: Int64) -> None:
        """Nothing was before."""
        self._lost[users[users < len(self._lost)]] = False

    def adopt(self, other: "Lost", theirs: Int64, ours: Int64) -> None:
        """Users of another shard, int64[n] as they are numbered there and here."""
        self.unknown |= other.unknown
        inside = theirs < len(other._lost)
        self.add(ours[inside][other._lost[theirs[inside]]])

    def dump(self) -> Int64 | None:
        """Their numbers, ascending; None where it may be anybody."""
        return None if self.unknown else np.flatnonzero(self._lost)

    def load(self, state: Int64 | None) -> None:
        self.unknown = state is None
        if state is not None:
            self.add(state)

    def _make_room(self, users: int) -> None:
        if users > len(self._lost):
            grown = np.zeros(2 * users, np.bool_)
            grown[: len(self._lost)] = self._lost
            self._lost = grown
