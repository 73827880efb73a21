"""What an operator wants to know, read from PostgreSQL in one transaction: segments, shards, refused events."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from psycopg import IsolationLevel

from storage import postgres
from storage.audit.findings import AuditStatus, read_audit
from storage.deployments import Deployment, read_building, read_deployed
from storage.migrate import check_migrated

#: How far back "recently" refused events count, seconds.
RECENT_S = 3_600


@dataclass(frozen=True, slots=True)
class SegmentStatus:
    """entered, left: per minute, over the last one. pairs, bytes: see segmentation.evaluate.costs; None: not known.
    held_since: its answers stand still from then on (storage.guarding), else None; held_because: of these segments, of
    itself too; waiting: how many would enter and leave at its release."""

    segment: str
    members: int
    version: int
    state: str
    owner: str
    description: str
    last_change: datetime | None
    complete_since: datetime | None
    entered: float
    left: float
    pairs: float | None
    bytes: float | None
    held_since: datetime | None = None
    held_because: Sequence[str] = ()
    waiting: tuple[int, int] = (0, 0)


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
    silent: partitions of the events that had messages, and have had none for `guard_outage` seconds.
    outbox: messages that wait to be sent; held: those of them that Kafka refuses, and why it refused one.
    """

    now: int
    clock: str | None
    users: int
    scattered: int
    scattered_names: Sequence[str]
    silent: Sequence[int]
    outbox: int
    held: int
    held_reason: str | None
    segments: Sequence[SegmentStatus]
    shards: Sequence[ShardStatus]
    refused: Sequence[RefusedStatus]
    audit: AuditStatus | None
    deployed: Deployment | None
    building: Deployment | None


_UNKNOWN: tuple[float | None, float | None] = None, None
#: Of each shard's newest steps so many at most: more are not counted, but the time that they took tells the rate.
_RATES = """
    SELECT d.name, t.entered, sum(60.0 / greatest(1.0, s.seconds))::float8
    FROM (
        SELECT shard, position, least(60.0, extract(epoch FROM clock_timestamp() - (
            SELECT recorded_at FROM tidegate.transitions f WHERE f.shard = s.shard AND f.position > s.position - 20000
            AND s.position > 20000 ORDER BY f.position LIMIT 1
        ))) AS seconds FROM tidegate.shards s
    ) AS s
    JOIN tidegate.transitions t ON t.shard = s.shard AND t.position > s.position - 20000
        AND t.recorded_at > clock_timestamp() - make_interval(secs => s.seconds)
    JOIN tidegate.definitions d ON d.id = t.segment_id
    GROUP BY 1, 2
"""

_HELD = """
    SELECT d.name, d.held_since,
           ARRAY(SELECT o.name FROM tidegate.holds h JOIN tidegate.definitions o ON o.id = h.cause
                 WHERE h.segment_id = d.id ORDER BY o.name),
           f.entered, f.leaving
    FROM tidegate.definitions d, LATERAL (
        SELECT count(*) FILTER (WHERE entered) AS entered, count(*) FILTER (WHERE NOT entered) AS leaving
        FROM tidegate.held_flips WHERE segment_id = d.id
    ) f
    WHERE d.held_since IS NOT NULL
"""


def read_status(url: str) -> Status:
    """Raises DatabaseError where the database cannot be reached or is not migrated."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate status")) as connection, postgres.foreign_errors(where):
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        check_migrated(connection, where)
        now, users, scattered, names, silent, outbox, held, held_reason = connection.execute(
            """
            SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
                   (SELECT count(*) FROM tidegate.users WHERE known),
                   (SELECT coalesce(sum(scattered_users), 0)::bigint FROM tidegate.shards),
                   ARRAY(SELECT unnest(scattered_names) AS name FROM tidegate.shards ORDER BY name LIMIT 5),
                   ARRAY(SELECT DISTINCT unnest(silent) AS partition FROM tidegate.shards ORDER BY partition),
                   o.waiting, o.held, o.reason
            FROM (SELECT coalesce(sum(greatest(messages, 1)), 0)::bigint AS waiting, count(held_at) AS held,
                         max(held_reason) AS reason
                  FROM tidegate.outbox) AS o
            """
        ).fetchall()[0]
        options = connection.execute("SELECT options FROM tidegate.engine").fetchone()
        segments = connection.execute(
            """
            SELECT s.name, coalesce(sum(c.members), 0)::bigint, s.version,
                   CASE WHEN s.held_since IS NULL THEN s.state ELSE 'held' END, s.owner, s.description,
                   max(c.changed_at), s.complete_since
            FROM tidegate.definitions s LEFT JOIN tidegate.member_counts c ON c.segment_id = s.id
            WHERE s.state <> 'removed' GROUP BY s.id ORDER BY s.name
            """
        )
        rates = {(name, entered): rate for name, entered, rate in connection.execute(_RATES)}
        cost = {
            name: (pairs, size) for name, pairs, size in connection.execute(
                "SELECT segment, sum(pairs), sum(bytes) FROM tidegate.segment_costs GROUP BY segment"
            )
        }  # fmt: skip
        held_ones = {
            name: (since, because, (entered, left))
            for name, since, because, entered, left in connection.execute(_HELD)
        }
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
            silent,
            outbox,
            held,
            held_reason,
            [
                SegmentStatus(
                    name, members, version, state, owner, description, changed, since, rates.get((name, True), 0.0),
                    rates.get((name, False), 0.0), *cost.get(name, _UNKNOWN), *held_ones.get(name, ()),
                )
                for name, members, version, state, owner, description, changed, since in segments
            ],
            [
                ShardStatus(shard, watermark, step, updated_s, {int(part): offset for part, offset in offsets.items()})
                for shard, watermark, step, updated_s, offsets in shards
            ],
            [RefusedStatus(*row) for row in refused],
            read_audit(connection),
            read_deployed(connection),
            read_building(connection),
        )
