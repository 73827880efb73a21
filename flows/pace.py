"""How far the source may read ahead of the database.

Timely's queues have no bound, so the source holds back: per partition, what was read and is not
yet committed by every shard stays below a number of messages and of bytes. The recorded steps
that a restarted shard runs again do not count: they end, and shards wait for each other's
partitions there. Reads without messages, which only tell the time, are bounded by the commits that
they lead to: each shard makes one a second.
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping


class Pace:
    """Shared by the source and the sinks of one process; positions are first offsets not committed yet.

    rows_in_flight, bytes_in_flight: of each partition. ticks_in_flight: reads without messages, of all.
    """

    def __init__(
        self, shards: Iterable[int], rows_in_flight: int, bytes_in_flight: int, ticks_in_flight: int = 1_000
    ) -> None:
        self._rows, self._bytes, self._ticks_in_flight = rows_in_flight, bytes_in_flight, ticks_in_flight
        self._lock = threading.Lock()
        self._positions: dict[int, dict[int, int]] = {shard: {} for shard in shards}
        self._handed: dict[int, dict[int, int]] = {shard: {} for shard in self._positions}
        self._flying: dict[int, deque[tuple[int, int]]] = {}
        self._flying_bytes: dict[int, int] = {}
        self._ticks = 0
        self._spent = 0
        self._steps = dict.fromkeys(self._positions, -1)
        self._ticks_then = dict.fromkeys(self._positions, 0)  # at the shard's last commit

    def took(self, micros: int) -> None:
        """An evaluation of this process has taken so long, µs."""
        with self._lock:
            self._spent += micros

    def spent(self) -> int:
        """What evaluations took since this was asked last, µs."""
        with self._lock:
            spent, self._spent = self._spent, 0
            return spent

    def emitted(self, partition: int, next_offset: int, size: int) -> None:
        with self._lock:
            self._flying.setdefault(partition, deque()).append((next_offset, size))
            self._flying_bytes[partition] = self._flying_bytes.get(partition, 0) + size

    def may_tick(self) -> bool:
        """May one more read without messages be sent? If so, it is counted.

        Not while some shard has committed nothing since very many of them: they wait in its queue.
        """
        with self._lock:
            if self._ticks - min(self._ticks_then.values(), default=self._ticks) >= self._ticks_in_flight:
                return False
            self._ticks += 1
            return True

    def reached(self, shard: int, positions: Mapping[int, int], step: int) -> None:
        """With `step` the shard has committed below these offsets; never goes back."""
        with self._lock:
            _raise(self._positions[shard], positions)
            if step > self._steps[shard]:
                self._steps[shard], self._ticks_then[shard] = step, self._ticks

    def handed(self, shard: int, positions: Mapping[int, int]) -> None:
        """The shard has given something to the database that is not committed yet below these offsets."""
        with self._lock:
            _raise(self._handed[shard], positions)

    def quiet(self, shard: int, positions: Mapping[int, int]) -> None:
        """The shard has nothing to commit below these offsets but what was handed before."""
        with self._lock:
            mine, handed = self._positions[shard], self._handed[shard]
            _raise(mine, {p: position for p, position in positions.items() if mine.get(p, 0) >= handed.get(p, 0)})

    def step(self, shard: int) -> int:
        """The last one that the shard has committed."""
        with self._lock:
            return self._steps[shard]

    def done(self, partition: int) -> int:
        """The first offset that some shard has not committed yet."""
        with self._lock:
            return self._done(partition)

    def _done(self, partition: int) -> int:
        return min((mine.get(partition, 0) for mine in self._positions.values()), default=0)

    def may_read(self, partition: int, position: int) -> bool:
        """May the partition's reader, standing at `position`, read more?"""
        with self._lock:
            done = self._done(partition)
            flying = self._flying.get(partition)
            if not flying:
                return True
            size = self._flying_bytes[partition]
            while flying and flying[0][0] <= done:
                size -= flying.popleft()[1]
            self._flying_bytes[partition] = size
            return not flying or (position - done < self._rows and size < self._bytes)


def _raise(positions: dict[int, int], to: Mapping[int, int]) -> None:
    for partition, position in to.items():
        if position > positions.get(partition, -1):
            positions[partition] = position
