"""Another number of shards, stored: one transaction from the old layout to the new one.

What it needs has been made before: each new shard's state is saved, and holds its users as the old
shards had them after their last stored steps. Until the commit the old layout is the valid one,
whole; after it the new one is. Positions of all shards go on above the greatest there was, so
(shard, position) never comes again, and a user's next transition has a greater one than his last.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import msgspec

from segmentation.errors import TidegateError
from storage import postgres
from storage.commits import CheckpointRecord, Fenced
from storage.engine_state import lock, read_engine
from storage.migrate import check_migrated
from storage.placing import place_users, users_of_shards
from storage.postgres import Connection
from storage.pruning import NEW_LAYOUT
from storage.silent import locked

_SHARDS = """
    INSERT INTO tidegate.shards (shard, token, step, position, watermark, offsets, checkpoint)
    SELECT shard, %s, step, %s, %s, offsets, checkpoint
    FROM unnest(%s::int[], %s::bigint[], %s::jsonb[], %s::jsonb[]) AS f(shard, step, offsets, checkpoint)
    ON CONFLICT (shard) DO UPDATE
    SET token = excluded.token, step = excluded.step, position = excluded.position, watermark = excluded.watermark,
        offsets = excluded.offsets, checkpoint = excluded.checkpoint, updated_at = now()
"""
#: Only the sum of a segment's counts has a meaning, so those of shards that end go to the first.
_COUNTS = """
    WITH gone AS (DELETE FROM tidegate.member_counts WHERE shard >= %s RETURNING segment_id, members, changed_at)
    INSERT INTO tidegate.member_counts AS c (segment_id, shard, members, changed_at)
    SELECT segment_id, 0, sum(members), max(changed_at) FROM gone GROUP BY segment_id
    ON CONFLICT (segment_id, shard) DO UPDATE
    SET members = c.members + excluded.members, changed_at = greatest(c.changed_at, excluded.changed_at)
"""


@dataclass(frozen=True, slots=True)
class Preview:
    """shards: how many there are; users: how many each new one would have."""

    shards: int
    users: list[int]


def preview(url: str, count: int) -> Preview:
    """What `count` shards would hold, without changing anything."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate reshard")) as connection, postgres.foreign_errors(where):
        check_migrated(connection, where)
        stored = read_engine(connection)
        if stored is None:
            raise TidegateError(
                f"{where} holds no membership yet: the first `tidegate run` makes as many shards as `shards` says."
            )
        return Preview(stored.shards, users_of_shards(connection, count))


def store(
    url: str, before: Mapping[int, tuple[int, int]], checkpoints: Sequence[CheckpointRecord], token: int, watermark: int
) -> int:
    """The shards become as many as there are `checkpoints`, in their order; returns how many users have moved.

    before: shard -> (token, last step) of every old shard as its writer left it: Fenced if one of
    them is another now. token: of the new ones, above all of those. All shards stand at `watermark` (µs)
    and at their checkpoint.
    """
    assert token > max(found for found, _ in before.values()), "the old writers must be shut out"
    where, count = postgres.address(url), len(checkpoints)
    encode = msgspec.json.encode
    with (
        closing(postgres.connect(url, application="tidegate reshard")) as connection,
        postgres.foreign_errors(where),
        connection.transaction(),
    ):
        lock(connection)
        position = _check(connection, before, where)
        connection.execute("DELETE FROM tidegate.steps")
        connection.execute(NEW_LAYOUT)
        connection.execute("DELETE FROM tidegate.shards WHERE shard >= %s", [count])
        connection.execute(
            _SHARDS,
            [token, position, watermark, list(range(count)), [record.step for record in checkpoints],
             [encode({str(p): offset for p, offset in record.offsets.items()}).decode() for record in checkpoints],
             [encode(record).decode() for record in checkpoints]],
        )
        connection.execute(_COUNTS, [count])
        moved = place_users(connection, count)
        connection.execute("UPDATE tidegate.engine SET shards = %s, updated_at = now()", [count])
    return moved


def _check(connection: Connection, before: Mapping[int, tuple[int, int]], where: str) -> int:
    """Nobody has written since; returns the greatest position."""
    rows = locked(connection, "SELECT shard, token, step, position FROM tidegate.shards ORDER BY shard FOR UPDATE")
    if {shard: (token, step) for shard, token, step, _ in rows} != before:
        raise Fenced(
            f"An engine was started on {where} while its shards were dealt out again. They are as they were. "
            "End the engine and its supervisor, then run this again."
        )
    return max(int(position) for *_, position in rows)
