"""What the database says was saved: each shard's state file and the chunks that this names."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.state.archive import ChunkRef
from segmentation.state.dump import unpack
from segmentation.types import Type
from storage import postgres
from storage.checkpoints import CheckpointError, CheckpointStore
from storage.commits import CheckpointRecord
from storage.engine_state import checkpoint_of
from storage.migrate import check_migrated
from storage.reservoir import Reservoir


@dataclass(frozen=True, slots=True)
class Saved:
    """rows: events that are in the state file and in no chunk yet."""

    record: CheckpointRecord
    chunks: list[ChunkRef]
    rows: int


def records(url: str) -> list[CheckpointRecord]:
    """Of each shard that has been saved."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate")) as connection, postgres.foreign_errors(where):
        check_migrated(connection, where)
        rows = connection.execute("SELECT checkpoint FROM tidegate.shards WHERE checkpoint IS NOT NULL ORDER BY shard")
        return [checkpoint_of(row[0]) for row in rows]


def read(storage_url: Path, record: CheckpointRecord) -> Saved:
    """Raises CheckpointError where the state file is not what was saved."""
    state = unpack(CheckpointStore(storage_url).load(record))["log"]
    chunks = [ChunkRef(**ref) for ref in (state["chunks"] or {"refs": []})["refs"]]
    return Saved(record, chunks, len(state["rows"]["time"]))


def counted(storage_url: Path, record: CheckpointRecord, plan: Plan) -> Shard:
    """The shard for being asked, not for going on: without its events, and so without their files.

    Raises CheckpointError, and TidegateError for a state that another plan wrote.
    """
    state = unpack(CheckpointStore(storage_url).load(record))
    log = state["log"]
    state["log"] = {**log, "chunks": None, "rows": {name: column[:0] for name, column in log["rows"].items()}}
    return Shard.load(state, plan, 0, 0, None, False)


def damage(storage_url: Path, saved: Saved, columns: Mapping[str, Type]) -> Iterator[tuple[ChunkRef, str | None]]:
    """For each chunk what is wrong with it, None for nothing; reads every byte."""
    reservoir = Reservoir(storage_url, saved.record.shard, 0, columns)
    for ref in saved.chunks:
        try:
            reservoir.verify(ref)
        except CheckpointError as error:
            yield ref, str(error)
        else:
            yield ref, None
