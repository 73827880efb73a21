"""What becomes of steps, in this order: the state is saved, then all is committed, then older files go.

So a saved state that no commit names is only a file too many, and a file is deleted only when a
committed state does without it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from flows.items import Work
from storage.commits import CheckpointRecord, Commit, DeadLetter


class Checkpoints(Protocol):
    def save(self, shard: int, step: int, offsets: dict[int, int], data: bytes) -> CheckpointRecord: ...
    def clean(self, shard: int, keep: CheckpointRecord) -> int: ...


class Database(Protocol):
    def write(self, commits: Sequence[Commit]) -> object: ...


#: (shard, fencing token, files to keep, last number given to a file): see storage.reservoir.clean.
CleanFiles = Callable[[int, int, frozenset[str], int], object]
#: (partition, offset, user id) of events that came too late, as dead letters.
LateLetters = Callable[[Sequence[tuple[int, int, str]]], list[DeadLetter]]


def store(
    works: Sequence[Work], checkpoints: Checkpoints, database: Database, clean_files: CleanFiles, late: LateLetters
) -> None:
    """All of `works` in one transaction. Raises what the disk and the database raise; then nothing is deleted."""
    saved: list[tuple[CheckpointRecord, Work]] = []
    for work in works:
        commit = work.commit
        if work.state is not None:
            commit.checkpoint = checkpoints.save(commit.shard, commit.number, work.offsets, work.state)
            saved.append((commit.checkpoint, work))
            work.state = None
        if work.too_late:
            commit.dead_letters = [*commit.dead_letters, *late(work.too_late)]
    database.write([work.commit for work in works])
    for record, work in saved:
        checkpoints.clean(record.shard, record)
        until, keep = work.files
        clean_files(record.shard, work.token, keep, until)
