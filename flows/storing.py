"""What becomes of steps, in this order: the state is saved, then a commit names it, then older files go.

So a saved state that no commit names is only a file too many, and a file is deleted only when a
committed state does without it. A state that may be saved beside the commits (`Work.beside`) is not waited for:
the next commit of its shard after it is on the disk names it, and until then the steps since the one before are kept.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import Protocol

from flows.items import Work
from flows.save_costs import SaveCosts
from storage.commits import CheckpointRecord, Commit, DeadLetter


class Checkpoints(Protocol):
    def save(self, shard: int, step: int, offsets: dict[int, int], data: bytes) -> CheckpointRecord: ...
    def clean(self, shard: int, keep: CheckpointRecord) -> int: ...


class Pool(Protocol):
    def submit(self, call: Callable[[Work], CheckpointRecord], work: Work, /) -> Future[CheckpointRecord]: ...


class Database(Protocol):
    def write(self, commits: Sequence[Commit]) -> object: ...


#: (shard, fencing token, files to keep, last number given to a file): see storage.reservoir.clean.
CleanFiles = Callable[[int, int, frozenset[str], int], object]
#: (partition, offset, user id) of events that came too late, as dead letters.
LateLetters = Callable[[Sequence[tuple[int, int, str]]], list[DeadLetter]]


class Saving:
    """The states that are being saved, and those that no commit names yet; of one writer."""

    def __init__(self, checkpoints: Checkpoints, pool: Pool, costs: SaveCosts) -> None:
        self.checkpoints, self._pool, self._costs = checkpoints, pool, costs
        self._under_way: list[tuple[Work, Future[CheckpointRecord]]] = []
        self._named: dict[int, int] = {}  # shard -> step of the newest state that a commit names

    def save(self, work: Work) -> CheckpointRecord:
        commit, state = work.commit, work.state
        assert state is not None
        record = self._costs.writing(
            commit.shard, lambda: self.checkpoints.save(commit.shard, commit.number, work.offsets, state)
        )
        work.state = None
        return record

    def begin(self, work: Work) -> None:
        self._under_way.append((work, self._pool.submit(self.save, work)))

    def done(self, shards: Collection[int]) -> list[tuple[CheckpointRecord, Work]]:
        """Of these shards, in order. Raises what the disk has raised."""
        found, left = [], []
        for work, future in self._under_way:
            if not future.done() or (future.exception() is None and work.commit.shard not in shards):
                left.append((work, future))
            elif work.commit.number > self._named.get(work.commit.shard, 0):
                found.append((future.result(), work))
        self._under_way = left
        return found

    def named(self, record: CheckpointRecord, work: Work) -> None:
        self._named[record.shard] = record.step
        work.beside = False


def store(
    works: Sequence[Work], saving: Saving, database: Database, clean_files: CleanFiles, late: LateLetters
) -> None:
    """All of `works` in one transaction. Raises what the disk and the database raise; then nothing is deleted."""
    saved: dict[int, tuple[CheckpointRecord, Work]] = {}
    for work in works:
        commit = work.commit
        if work.state is not None and work.beside:
            saving.begin(work)
        elif work.state is not None:
            commit.checkpoint = saving.save(work)
            saved[commit.shard] = commit.checkpoint, work
        if work.too_late:
            commit.dead_letters = [*commit.dead_letters, *late(work.too_late)]
    last = {work.commit.shard: work.commit for work in works}
    for record, work in saving.done(last):
        if record.shard not in saved or record.step > saved[record.shard][0].step:
            last[record.shard].checkpoint = record
            saved[record.shard] = record, work
    database.write([work.commit for work in works])
    for record, work in saved.values():
        saving.named(record, work)
        saving.checkpoints.clean(record.shard, record)
        until, keep = work.files
        clean_files(record.shard, work.token, keep, until)
