"""What became of one message: asked of PostgreSQL by whoever sent it and knows partition and offset."""

from dataclasses import dataclass
from datetime import datetime

from storage.postgres import Connection


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Flip:
    segment: str
    entered: bool
    effective_at: datetime
    cause: str
    seq: int


def last_seq(connection: Connection, user_id: str) -> int:
    """Number of the user's last transition; 0 where there is none."""
    row = connection.execute("SELECT seq FROM tidegate.users_now WHERE user_id = %s", [user_id]).fetchone()
    return 0 if row is None else int(row[0])


def fate(connection: Connection, topic: str, partition: int, offset: int, first: int = 0) -> Refusal | bool:
    """A Refusal; True: taken by every shard; False: not known yet. One statement, so one snapshot.

    first: the engine's number of the topic's partition 0 (segmentation.events.rows.PROFILES)."""
    row = connection.execute(
        """
        SELECT d.reason, d.detail,
               (SELECT count(*) > 0 AND bool_and(coalesce((offsets ->> %(key)s)::bigint, 0) > %(offset)s)
                FROM tidegate.shards)
        FROM (SELECT 1) AS one
        LEFT JOIN tidegate.dead_letters d
            ON d.topic = %(topic)s AND d.partition = %(partition)s AND d."offset" = %(offset)s
        """,
        {"topic": topic, "partition": partition, "offset": offset, "key": str(first + partition)},
    ).fetchone()
    assert row is not None
    reason, detail, taken = row
    return Refusal(reason, detail) if reason is not None else bool(taken)


def flips_since(connection: Connection, user_id: str, seq: int) -> list[Flip]:
    """The user's entries and exits after transition number `seq`, in order."""
    rows = connection.execute(
        """
        SELECT segment, entered, effective_at, cause, seq FROM public.segment_transitions
        WHERE user_id = %s AND seq > %s ORDER BY seq, segment
        """,
        [user_id, seq],
    )
    return [Flip(*row) for row in rows]
