"""What an operator wants to know, read from PostgreSQL in one transaction: segments, shards, refused events."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from psycopg import IsolationLevel

from storage import postgres
from storage.audit.findings import AuditStatus, read_audit
from storage.migrate import check_migrated

#: How far back "recently" refused events count, seconds.
RECENT_S = 3_600


@dataclass(frozen=True, slots=True)
class SegmentStatus:
    segment: str
    members: int
    version: int
    state: str
    owner: str
    description: str
    last_change: datetime | None


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """watermark µs; updated_s: seconds since the engine last wrote; offsets: partition -> next offset."""

    shard: int
    watermark: int
    step: int
    updated_s: float
    offsets: dict[int, int]


@dataclass(frozen=True, slots=True)
class RefusedStatus:
    reason: str
    total: int
    recent: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """now: µs by the database's clock. clock: `live`, `event`, or None where no engine ever ran.

    scattered: users who have had events in several partitions; scattered_names: some of them.
    outbox: messages that wait to be sent; held: those of them that Kafka refuses, and why it refused one.
    """

    now: int
    clock: str | None
    users: int
    scattered: int
    scattered_names: Sequence[str]
    outbox: int
    held: int
    held_reason: str | None
    segments: Sequence[SegmentStatus]
    shards: Sequence[ShardStatus]
    refused: Sequence[RefusedStatus]
    audit: AuditStatus | None


def read_status(url: str) -> Status:
    """Raises DatabaseError where the database cannot be reached or is not migrated."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate status")) as connection, postgres.foreign_errors(where):
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        check_migrated(connection, where)
        now, users, scattered, names, outbox, held, held_reason = connection.execute(
            """
            SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                   (SELECT count(*) FROM tidegate.users WHERE known),
                   (SELECT coalesce(sum(scattered_users), 0)::bigint FROM tidegate.shards),
                   ARRAY(SELECT unnest(scattered_names) AS name FROM tidegate.shards ORDER BY name LIMIT 5),
                   o.waiting, o.held, o.reason
            FROM (SELECT count(*) AS waiting, count(held_at) AS held, max(held_reason) AS reason
                  FROM tidegate.outbox) AS o
            """
        ).fetchall()[0]
        options = connection.execute("SELECT options FROM tidegate.engine").fetchone()
        segments = connection.execute(
            """
            SELECT s.name, coalesce(sum(c.members), 0)::bigint, s.version, s.state, s.owner, s.description,
                   max(c.changed_at)
            FROM tidegate.definitions s LEFT JOIN tidegate.member_counts c ON c.segment_id = s.id
            WHERE s.state <> 'removed' GROUP BY s.id ORDER BY s.name
            """
        )
        shards = connection.execute(
            """
            SELECT shard, watermark, step, extract(epoch FROM clock_timestamp() - updated_at)::float8, offsets
            FROM tidegate.shards ORDER BY shard
            """
        )
        refused = connection.execute(
            """
            SELECT reason, count(*), count(*) FILTER (WHERE at > now() - make_interval(secs => %s)), max(at)
            FROM tidegate.dead_letters WHERE replayed_at IS NULL GROUP BY reason ORDER BY count(*) DESC, reason
            """,
            [RECENT_S],
        )
        return Status(
            now,
            None if options is None else str(options[0].get("clock", "live")),
            users,
            scattered,
            names,
            outbox,
            held,
            held_reason,
            [SegmentStatus(*row) for row in segments],
            [
                ShardStatus(shard, watermark, step, updated_s, {int(part): offset for part, offset in offsets.items()})
                for shard, watermark, step, updated_s, offsets in shards
            ],
            [RefusedStatus(*row) for row in refused],
            read_audit(connection),
        )
