"""How much of what time does goes into one step, where very much is due at once.

The engine finds a million leavings in a second, and the database takes many seconds for them. In one transaction they
would keep everybody else waiting for so long. So while more than a transaction's worth awaits its commit, users who
stay silent are left where they are (segmentation.evaluate.slices), and steps of events go on; each commit lets the next
slice in. How large slices are follows from how long they took, for so long may an event's step wait, too. Where a step
has very many events, it takes so much of the rest that windows keep pace with them.
"""

from collections import deque
from collections.abc import Callable

from segmentation.evaluate.step import Step

#: Messages of what time does that may await their commit, of all shards together: at most.
FLIPS = 8_192
#: From a slice's step to its commit, as it ought to be at most, µs; and a shard's slice is not made smaller than this.
TARGET_US, LEAST_FLIPS = 120_000, 256
#: A step with so many events may lead to as many messages of time besides: it costs no more than some times as much.
BULK_ROWS = 1_000
#: Changes of which it is told how many of them lead to a message; a share that is not gone below, and one where there
#: are very many events: about as many changes for each of them as windows that it enters and leaves.
_TELLING, LEAST_SHARE, BULK_SHARE = 256, 1 / 8, 1 / 32


class Slices:
    """most: a shard's messages that may await their commit at most, None: no limit; committed: its last step that is.
    Times in µs; they decide how much is left for a later step, which is recorded, and never what comes of it."""

    def __init__(self, most: int | None, committed: Callable[[], int]) -> None:
        self._most, self._committed = most, committed
        self._size = max(1, (most or 0) // 4)
        self._flying: deque[tuple[int, int, int]] = deque()  # step, messages, when it was handed over
        self._sum = 0
        self._share = 1.0  # of changes that lead to a message

    def most(self, rows: int, now_us: int) -> int | None:
        """Changes that the next step may take, of a shard that gets so many events."""
        if self._most is None:
            return None
        done = self._committed()
        while self._flying and self._flying[0][0] <= done:
            _, flips, handed_us = self._flying.popleft()
            self._sum -= flips
            if 2 * flips >= self._size:
                self._adapt(self._most, now_us - handed_us)
        most = int(max(0, self._size - self._sum) / max(LEAST_SHARE, self._share))
        return most if rows < BULK_ROWS else max(most, int(rows / max(BULK_SHARE, self._share)))

    def taken(self, number: int, step: Step, now_us: int) -> None:
        """The shard's step of this number awaits its commit."""
        flips = int((~step.transitions.by_event).sum())
        if step.changes >= _TELLING:
            self._share = min(1.0, flips / step.changes)
        if flips:
            self._flying.append((number, flips, now_us))
            self._sum += flips

    def _adapt(self, most: int, took_us: int) -> None:
        if took_us > TARGET_US:
            self._size = max(min(most, LEAST_FLIPS), self._size // 2)
        elif 2 * took_us < TARGET_US:
            self._size = min(most, self._size + self._size // 2 + 1)
