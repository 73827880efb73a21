"""A runner of a shard that only counts its steps, for tests of when things are done."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from flows.items import ShardPoll
from flows.save_costs import SaveCosts
from flows.shard_runner import Rules, ShardRunner
from segmentation.evaluate.step import Part, Step, Transitions
from segmentation.events.rows import Poll
from segmentation.types import NEVER
from storage.commits import DeadLetter
from storage.engine_state import Takeover


class Counting:
    """As much of a shard as a runner asks for."""

    watermark = expired_to = 0
    front = None
    partitions = (0, 1)

    def __init__(self) -> None:
        self.next_offset: dict[int, int] = {}
        self.to_erase: list[tuple[str, int]] = []  # with the next step

    def nudges(self, polls: Sequence[Poll]) -> list[Poll]:
        return []

    def run(self, polls: Sequence[Poll], most: int | None = None) -> Step:
        parts = [Part(poll.partition, poll.next_offset, poll.clock, 0) for poll in polls]
        erased, self.to_erase = self.to_erase, []
        return Step(parts, 0, Transitions.none(), new_users=["somebody"], erased=erased)

    def finish(self, at: int) -> Step:
        raise AssertionError

    def add_partitions(self, count: int, profiles: int = 0) -> None:
        pass

    def dump(self) -> bytes:
        return b"state"

    def files(self) -> tuple[int, frozenset[str]]:
        return 0, frozenset()

    def homes_of(self, users: Sequence[str]) -> NDArray[np.int32]:
        raise AssertionError

    @property
    def erasing(self) -> bool:
        return False

    @property
    def scattered(self) -> tuple[int, list[str]]:
        return 0, []


def read(offset: int, rejects: Sequence[DeadLetter] = (), size: int = 0) -> ShardPoll:
    return ShardPoll(0, offset, Poll(0, offset + 1, offset), np.zeros(0, np.int64), list(rejects), size=size)


def runner(shard: int = 0, every: int = 1, costs: SaveCosts | None = None, last_step: int = 0) -> ShardRunner:
    takeover = Takeover(shard, 1, last_step, NEVER, {}, None, [])
    return ShardRunner(takeover, Counting(), Rules(every, 1, save_costs=costs or SaveCosts()), 0)


def saves(shard: ShardRunner, until: int, first: int = 2) -> list[int]:
    """At which of the seconds first <= second < until a state is saved, where a message comes at each."""
    found = []
    for second in range(first, until):
        for work in shard.take([read(second)], second * 1_000_000):
            if work.state is not None:
                found.append(second)
            work.state, work.beside = None, False  # the sink has written it, and a commit has named it
    return found
