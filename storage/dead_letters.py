"""Refused messages as they are stored, newest first."""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from psycopg import IsolationLevel

from storage import postgres
from storage.migrate import check_migrated


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    at: datetime
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


def list_dead_letters(url: str, reason: str | None, limit: int) -> tuple[list[StoredDeadLetter], int, dict[str, int]]:
    """(the newest `limit` of them, how many match, how many there are of each reason)."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate dead-letter")) as connection, postgres.foreign_errors(
        where
    ):
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        check_migrated(connection, where)
        counts: dict[str, int] = dict(
            connection.execute("SELECT reason, count(*) FROM tidegate.dead_letters GROUP BY reason").fetchall()
        )
        rows = connection.execute(
            """
            SELECT at, reason, detail, topic, partition, "offset", key, value FROM tidegate.dead_letters
            WHERE %(reason)s::text IS NULL OR reason = %(reason)s
            ORDER BY at DESC, topic, partition, "offset" DESC LIMIT %(limit)s
            """,
            {"reason": reason, "limit": limit},
        )
        found = [StoredDeadLetter(*row) for row in rows]
    return found, sum(counts.values()) if reason is None else counts.get(reason, 0), counts
