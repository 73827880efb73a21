"""What the saving of states costs, and how far apart saves are therefore.

A state is saved as a whole, so a save costs what the shard's users do, and an interval that is right for few of them is
too short for many. So a shard saves when it is its turn, every `checkpoint_every`, but passes its turn over while the
saves of all shards of the process would take more than a twentieth of a core's time.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

_Saved = TypeVar("_Saved")

#: From a shard's save to its next: so many times what the saves of all shards of the process take together.
TIMES = 20
#: But no more turns than this, so that little has to be run again after a crash.
MOST_TURNS = 10


class SaveCosts:
    """Of the shards of one process, by the last save of each. cpu_ns: processor time of the thread that asks; without
    it saves cost nothing."""

    def __init__(self, cpu_ns: Callable[[], int] = lambda: 0) -> None:
        self._cpu_ns = cpu_ns
        self._lock = threading.Lock()
        self._dumps: dict[int, int] = {}
        self._writes: dict[int, int] = {}

    def dumping(self, shard: int, dump: Callable[[], _Saved]) -> _Saved:
        """What `dump` returns, which takes the shard's state while its events wait."""
        return self._timed(self._dumps, shard, dump)

    def writing(self, shard: int, write: Callable[[], _Saved]) -> _Saved:
        """What `write` returns, which compresses the state and puts it on the disk, mostly beside."""
        return self._timed(self._writes, shard, write)

    def together_us(self) -> int:
        """Processor time of one save of every shard, µs."""
        with self._lock:
            return (sum(self._dumps.values()) + sum(self._writes.values())) // 1_000

    def due_us(self, turn_us: int, saved_us: int, every_us: int) -> int:
        """Which turn a shard takes whose next one is at `turn_us`, and one each `every_us` after it, and which saved
        last at `saved_us`."""
        early = saved_us + TIMES * self.together_us() - turn_us
        if early <= 0 or not every_us:
            return turn_us
        return turn_us + min(-(-early // every_us), MOST_TURNS - 1) * every_us

    def _timed(self, costs: dict[int, int], shard: int, call: Callable[[], _Saved]) -> _Saved:
        began = self._cpu_ns()
        result = call()
        took = self._cpu_ns() - began
        with self._lock:
            costs[shard] = took
        return result
