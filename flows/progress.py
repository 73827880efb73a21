"""How far the shards of every process are, asked of the database."""

from contextlib import closing
from dataclasses import dataclass

from segmentation.types import NEVER
from storage import postgres
from storage.postgres import Connection


@dataclass(frozen=True, slots=True)
class Progress:
    """committed: first offset not committed yet, per partition. saved: that of the saved state; None: no state."""

    committed: dict[int, int]
    saved: dict[int, int] | None


def read_progress(connection: Connection) -> dict[int, Progress]:
    """By shard."""
    rows = connection.execute("SELECT shard, offsets, checkpoint -> 'offsets' FROM tidegate.shards").fetchall()
    return {
        shard: Progress(_offsets(offsets), None if saved is None else _offsets(saved))
        for shard, offsets, saved in rows
    }


def progress_of(url: str) -> dict[int, Progress]:
    with (
        closing(postgres.connect(url, application="tidegate engine")) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        return read_progress(connection)


def _offsets(stored: dict[str, int]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in stored.items()}


def stored_watermark(url: str) -> int:
    """The furthest of the shards', µs; NEVER where nothing was ever stored."""
    with (
        closing(postgres.connect(url, application="tidegate engine")) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        row = connection.execute("SELECT max(watermark) FROM tidegate.shards").fetchone()
    return NEVER if row is None or row[0] is None else int(row[0])
