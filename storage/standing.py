"""Where a shard stands, for who only looks: its saved state, and the steps that it has committed since."""

from collections.abc import Sequence
from dataclasses import dataclass

from segmentation.evaluate.step import Part
from storage.commits import CheckpointRecord
from storage.engine_state import checkpoint_of
from storage.postgres import Connection


@dataclass(frozen=True, slots=True)
class Standing:
    """step: the last one committed; record: the saved state; parts: of the steps after it, in order. shards: how many
    there are. All of one snapshot."""

    shard: int
    step: int
    record: CheckpointRecord
    parts: Sequence[Part]
    shards: int


def read_standing(connection: Connection, shard: int) -> Standing | None:
    """None: there is no such shard, or no saved state of it."""
    row = connection.execute(
        """
        SELECT s.step, s.checkpoint, e.shards, (
            SELECT coalesce(json_agg(t.parts ORDER BY t.number), '[]') FROM tidegate.steps t
            WHERE t.shard = s.shard AND t.number > (s.checkpoint ->> 'step')::bigint
        )
        FROM tidegate.shards s, tidegate.engine e WHERE s.shard = %s
        """,
        [shard],
    ).fetchone()
    if row is None or row[1] is None:
        return None
    step, checkpoint, shards, recorded = row
    record = checkpoint_of(checkpoint)
    assert len(recorded) == step - record.step, "the steps since a saved state are all recorded"
    return Standing(shard, step, record, [Part(*part) for parts in recorded for part in parts], shards)
