"""The simulated surroundings of an engine: a disk that may be left half written, and a database.

The disk is real files in memory under the product's own CheckpointStore and Reservoir; what is
simulated is when a write happens, and that a process may be dead in the midst of it.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.items import Work
from segmentation.evaluate.step import Part
from segmentation.types import NEVER
from storage import reservoir
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord, Commit, Fenced
from storage.engine_state import RecordedStep, Takeover
from tests.simulation.actors import Actor


class Pool(ThreadPoolExecutor):
    """Writes chunks when the schedule says so; what was not written when the process died never is."""

    def __init__(self, actor: Actor, draw: random.Random) -> None:
        self._actor, self._draw = actor, draw
        self.jobs: list[tuple[Future[Any], Callable[..., Any], Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Waiting(self)
        self.jobs.append((future, fn, args))
        if len(self.jobs) > 6:
            self.work()
        return future

    def work(self) -> None:
        """The next job, with a pause before and after; it may leave half a file."""
        future, fn, args = self.jobs.pop(0)
        self._actor.pause("before a chunk")
        path: Path = args[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(f"{path.name}.tmp")
        half.write_bytes(b"half of it")
        self._actor.pause("in a chunk")
        half.unlink(missing_ok=True)  # another one may have cleaned it away
        future.set_result(fn(*args))
        self._actor.pause("after a chunk")

    def some(self) -> None:
        while self.jobs and self._draw.random() < 0.5:
            self.work()


class Later:
    """Saves states when the schedule says so, some never."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._jobs: list[tuple[Future[CheckpointRecord], Callable[[Work], CheckpointRecord], Work]] = []

    def submit(self, call: Callable[[Work], CheckpointRecord], work: Work, /) -> Future[CheckpointRecord]:
        future: Future[CheckpointRecord] = Future()
        self._jobs.append((future, call, work))
        return future

    def some(self) -> None:
        while self._jobs and self._draw.random() < 0.5:
            future, call, work = self._jobs.pop(0)
            future.set_result(call(work))


class Waiting(Future[Any]):
    """A result that is waited for by doing the work."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def result(self, timeout: float | None = None) -> Any:
        while not self.done():
            self._pool.work()
        return super().result(timeout)


class Disk:
    """As one process sees it."""

    def __init__(self, folder: Path, actor: Actor) -> None:
        self.folder, self._actor = folder, actor
        self.states = CheckpointStore(folder)

    def save(self, shard: int, step: int, offsets: dict[int, int], data: bytes) -> CheckpointRecord:
        self._actor.pause("before a state is saved")
        self.states.folder.mkdir(parents=True, exist_ok=True)
        half = self.states.folder / f"shard-{shard}-step-{step}-0.state.1.tmp"
        half.write_bytes(data[: len(data) // 2])
        self._actor.pause("in a state")
        half.unlink(missing_ok=True)
        record = self.states.save(shard, step, offsets, data)
        self._actor.pause("after a state was saved")
        return record

    def clean(self, shard: int, keep: CheckpointRecord) -> int:
        self._actor.pause("before a clean-up")
        deleted = self.states.clean(shard, keep)
        self._actor.pause("in a clean-up")
        return deleted

    def clean_files(self, shard: int, token: int, keep: frozenset[str], until: int) -> None:
        reservoir.clean(self.folder, shard, token, keep, until)
        self._actor.pause("after a clean-up")


@dataclass
class StoredShard:
    """One row of tidegate.shards and all that was ever committed for it."""

    token: int = 0
    commits: list[Commit] = field(default_factory=list)
    saved: CheckpointRecord | None = None

    def offsets(self) -> dict[int, int]:
        return {part.partition: part.next_offset for commit in self.commits for part in commit.parts}


@dataclass
class Database:
    """What storage.writer and storage.engine_state promise, without SQL. fencing, replay, idempotence: may be
    switched off, to see that it is noticed."""

    shards: list[StoredShard]
    fencing: bool = True
    replay: bool = True
    idempotence: bool = True

    def take_over(self) -> list[Takeover]:
        out = []
        for number, shard in enumerate(self.shards):
            shard.token += 1
            after = shard.saved.step if shard.saved else 0
            steps = [RecordedStep(commit.number, list(commit.parts)) for commit in shard.commits[after:]]
            out.append(Takeover(
                number, shard.token, len(shard.commits), NEVER, shard.offsets(), shard.saved,
                steps if self.replay else [],
            ))  # fmt: skip
        return out

    def write(self, commits: Sequence[Commit], tokens: dict[int, int]) -> None:
        """All or none. Steps that are stored are skipped."""
        if self.fencing:
            for commit in commits:
                if self.shards[commit.shard].token != tokens[commit.shard]:
                    raise Fenced("taken over")
        for commit in commits:
            shard = self.shards[commit.shard]
            if self.idempotence and commit.number <= len(shard.commits):
                continue
            shard.commits.append(commit)
            if commit.checkpoint is not None:
                shard.saved = commit.checkpoint


@dataclass
class Connection:
    """The database as one process sees it: answers may be lost, then the same is asked again."""

    database: Database
    actor: Actor
    draw: random.Random
    tokens: dict[int, int]

    def write(self, commits: Sequence[Commit]) -> None:
        while True:
            self.actor.pause("before a commit")
            if self.draw.random() < 0.1:
                continue  # the connection was lost before
            self.database.write(commits, self.tokens)
            self.actor.pause("after a commit")
            if self.draw.random() > 0.1:
                return  # else it was lost before the answer


def parts_of(commits: Sequence[Commit]) -> list[Part]:
    return [part for commit in commits for part in commit.parts]
