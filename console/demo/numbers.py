"""What the demo shows, read from PostgreSQL: members, entries and exits a second, lag and latency.

The latency of an entry or exit runs from the time that its event carries to the commit after which
every reader sees it (the commit's own time stamp, not the transaction's beginning).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from psycopg import IsolationLevel

from storage import postgres

#: Rates and percentiles are over this many seconds, up to one second ago (a commit may be under way).
SPAN_S, DELAY_S = 10, 1


@dataclass(frozen=True, slots=True)
class SegmentNumbers:
    segment: str
    members: int
    entries: int
    exits: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds; None: no entry or exit was caused by an event."""

    p50_ms: float | None = None
    p99_ms: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """entries and exits of the segments: within `span_s` seconds."""

    users: int
    refused: int
    lag: int
    watermark_age_s: float
    span_s: float
    latency: Latency
    segments: list[SegmentNumbers] = field(default_factory=list)

    @property
    def members(self) -> int:
        return sum(one.members for one in self.segments)

    @property
    def entries_per_s(self) -> float:
        return sum(one.entries for one in self.segments) / self.span_s

    @property
    def exits_per_s(self) -> float:
        return sum(one.exits for one in self.segments) / self.span_s


_COUNTED = """
    SELECT d.name, coalesce((SELECT sum(c.members) FROM tidegate.member_counts c WHERE c.segment_id = d.id), 0)::bigint,
           count(t.*) FILTER (WHERE t.entered), count(t.*) FILTER (WHERE NOT t.entered)
    FROM tidegate.definitions d
    LEFT JOIN tidegate.transitions t ON t.segment_id = d.id
        AND t.recorded_at >= to_timestamp(%(since)s) AND t.recorded_at < to_timestamp(%(until)s)
    WHERE d.state <> 'removed'
    GROUP BY d.id ORDER BY d.name
"""
_LATENCY = """
    SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY ms), percentile_disc(0.99) WITHIN GROUP (ORDER BY ms), count(*)
    FROM (
        SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - effective_at)::float8 * 1000 AS ms
        FROM tidegate.transitions
        WHERE recorded_at >= to_timestamp(%(since)s) AND recorded_at < to_timestamp(%(until)s)
          AND cause = 'event' AND effective_at >= to_timestamp(%(live)s)
    ) AS flips
"""


class Reader:
    """Keeps one connection; `live` (s since 1970): events before it are history and have no latency."""

    def __init__(self, url: str) -> None:
        self._connection = postgres.connect(url, application="tidegate demo")
        self._connection.isolation_level = IsolationLevel.REPEATABLE_READ
        self._where = postgres.address(url)
        self.live = 0.0
        with postgres.foreign_errors(self._where), self._connection.transaction():
            # Only the demo asks by time of recording, once a second.
            self._connection.execute("CREATE INDEX ON tidegate.transitions (recorded_at)")

    def close(self) -> None:
        self._connection.close()

    def lag(self, next_offsets: Mapping[int, int]) -> int:
        """Events in Kafka that not every shard has taken yet."""
        with postgres.foreign_errors(self._where), self._connection.transaction():
            return self._lag(next_offsets)[0]

    def recent(self, next_offsets: Mapping[int, int], now: float) -> Numbers:
        until = now - DELAY_S
        since = max(until - SPAN_S, self.live)
        return self._numbers(next_offsets, since, max(until, since + 0.001))

    def total(self, next_offsets: Mapping[int, int], now: float) -> Numbers:
        """Since `live`."""
        return self._numbers(next_offsets, self.live, now)

    def behind(self) -> float:
        """Seconds that the slowest shard's watermark is behind: exits and entries by time are known up to there."""
        with postgres.foreign_errors(self._where), self._connection.transaction():
            return self._lag({})[1]

    def example(self) -> tuple[str, str] | None:
        """(user, segment) of who has been a member for longest in the largest segment. Where the shards are hardly
        behind, and as long as it is not a segment of minutes, he will be one when asked."""
        with postgres.foreign_errors(self._where), self._connection.transaction():
            row = self._connection.execute(
                """
                SELECT m.user_id, d.name FROM tidegate.members m JOIN tidegate.definitions d ON d.id = m.segment_id
                WHERE m.segment_id = (SELECT segment_id FROM tidegate.member_counts
                                      GROUP BY segment_id ORDER BY sum(members) DESC LIMIT 1)
                ORDER BY m.since, m.user_id LIMIT 1
                """
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def _numbers(self, next_offsets: Mapping[int, int], since: float, until: float) -> Numbers:
        span = {"since": since, "until": until, "live": self.live}
        with postgres.foreign_errors(self._where), self._connection.transaction():
            segments = [SegmentNumbers(*row) for row in self._connection.execute(_COUNTED, span)]
            latency = Latency(*self._connection.execute(_LATENCY, span).fetchall()[0])
            users, refused = self._connection.execute(
                "SELECT (SELECT count(*) FROM tidegate.users WHERE known), (SELECT count(*) FROM tidegate.dead_letters)"
            ).fetchall()[0]
            lag, age = self._lag(next_offsets)
        return Numbers(users, refused, lag, age, until - since, latency, segments)

    def _lag(self, next_offsets: Mapping[int, int]) -> tuple[int, float]:
        rows = self._connection.execute(
            "SELECT offsets, extract(epoch FROM clock_timestamp())::float8 - watermark / 1e6 FROM tidegate.shards"
        ).fetchall()
        if not rows:
            return sum(next_offsets.values()), 0.0
        lag = 0
        for partition, end in list(next_offsets.items()):
            reached = min(int(offsets.get(str(partition), 0)) for offsets, _ in rows)
            lag += max(0, end - reached)
        return lag, max(float(age) for _, age in rows)
