"""How much of what time does goes into one step, where very much is due at once.

The engine finds a million leavings in a second, and the database takes many seconds for them. In one transaction they
would keep everybody else waiting for so long. So while more than a transaction's worth awaits its commit, users who
stay silent are left where they are (segmentation.evaluate.slices), and steps of events go on; each commit lets the next
slice in. Where a step has very many events, it takes so much of the rest that windows keep pace with them.
"""

from collections import deque
from collections.abc import Callable

from segmentation.evaluate.step import Step

#: Messages of what time does that may await their commit, of all shards together.
FLIPS = 8_192
#: Steps with so many events are a shard's that catches up: nobody waits for just these. Changes for each of them: more
#: than there are windows that an event enters and leaves.
BULK_ROWS, CHANGES_EACH = 1_000, 64
#: Changes of which it is told how many of them flip anything.
_TELLING, _LEAST = 256, 1 / 8


class Slices:
    """most: messages that may await their commit, None: no limit; committed: the last step that is."""

    def __init__(self, most: int | None, committed: Callable[[], int]) -> None:
        self._most, self._committed = most, committed
        self._flying: deque[tuple[int, int]] = deque()  # step, messages
        self._sum = 0
        self._flipping = 1.0  # the share of changes that lead to a message

    def most(self, rows: int) -> int | None:
        """Changes that the next step may take, of a shard that gets so many events."""
        if self._most is None:
            return None
        done = self._committed()
        while self._flying and self._flying[0][0] <= done:
            self._sum -= self._flying.popleft()[1]
        most = int(max(0, self._most - self._sum) / self._flipping)
        return most if rows < BULK_ROWS else max(most, CHANGES_EACH * rows)

    def taken(self, number: int, step: Step) -> None:
        """The shard's step of this number awaits its commit."""
        flips = int((~step.transitions.by_event).sum())
        if step.changes >= _TELLING:
            self._flipping = min(1.0, max(_LEAST, flips / step.changes))
        if flips:
            self._flying.append((number, flips))
            self._sum += flips
