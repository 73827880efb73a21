"""What the audit has found, in PostgreSQL: totals, and every mismatch until a later round finds it gone."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from segmentation.evaluate.costs import Cost
from storage.postgres import Connection


@dataclass(frozen=True, slots=True)
class Mismatch:
    """as_of: µs; stored, judged: is the user in, by PostgreSQL and by DuckDB; file: its test, below storage_url."""

    user_id: str
    segment: str
    shard: int
    as_of: int
    stored: bool
    judged: bool
    file: str


@dataclass(frozen=True, slots=True)
class AuditStatus:
    """Of all rounds so far, and the mismatches there are now (the first few)."""

    rounds: int
    users: int
    answers: int
    skipped: int
    mismatches: int
    unjudged: Sequence[str]
    last_at: datetime | None
    failure: str | None
    open: int
    some: Sequence[Mismatch]


#: So many mismatches are named.
NAMED = 5


def remember(
    connection: Connection, counts: tuple[int, int, int, int], unjudged: Sequence[str], seconds: float,
    agree: Collection[tuple[str, str]], differ: Sequence[Mismatch],
) -> None:  # fmt: skip
    """One round. counts: users, answers, skipped, wrong; agree: (user, segment) that were compared and are the same."""
    users, answers, skipped, wrong = counts
    with connection.transaction():
        connection.execute(
            """
            INSERT INTO tidegate.audit AS a
                (rounds, users, answers, skipped, mismatches, unjudged, last_at, last_seconds, failure)
            VALUES (1, %(users)s, %(answers)s, %(skipped)s, %(mismatches)s, %(unjudged)s, now(), %(seconds)s, NULL)
            ON CONFLICT (only_row) DO UPDATE SET rounds = a.rounds + 1, users = a.users + excluded.users,
                answers = a.answers + excluded.answers, skipped = a.skipped + excluded.skipped,
                mismatches = a.mismatches + excluded.mismatches, unjudged = excluded.unjudged,
                last_at = excluded.last_at, last_seconds = excluded.last_seconds, failure = NULL
            """,
            {"users": users, "answers": answers, "skipped": skipped, "mismatches": wrong,
             "unjudged": list(unjudged), "seconds": seconds},
        )  # fmt: skip
        if agree:
            connection.execute(
                "DELETE FROM tidegate.audit_mismatches m USING unnest(%s::text[], %s::text[]) AS f(user_id, segment) "
                "WHERE m.user_id = f.user_id AND m.segment = f.segment",
                [[user for user, _ in agree], [segment for _, segment in agree]],
            )
        for one in differ:
            connection.execute(
                """
                INSERT INTO tidegate.audit_mismatches AS m
                    (user_id, segment, shard, as_of, stored, judged, file)
                VALUES (%s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (user_id, segment) DO UPDATE SET shard = excluded.shard, as_of = excluded.as_of,
                    stored = excluded.stored, judged = excluded.judged, file = excluded.file
                """,
                [one.user_id, one.segment, one.shard, one.as_of, one.stored, one.judged, one.file],
            )


def remember_costs(connection: Connection, shard: int, costs: Mapping[str, Cost]) -> None:
    """In place of what was known of this shard; costs: by segment."""
    with connection.transaction():
        connection.execute("DELETE FROM tidegate.segment_costs WHERE shard = %s", [shard])
        connection.cursor().executemany(
            "INSERT INTO tidegate.segment_costs (segment, shard, pairs, bytes) VALUES (%s, %s, %s, %s)",
            [(name, shard, cost.pairs, cost.bytes) for name, cost in costs.items()],
        )


def remember_failure(connection: Connection, words: str) -> None:
    connection.execute(
        "INSERT INTO tidegate.audit (failure) VALUES (%s) "
        "ON CONFLICT (only_row) DO UPDATE SET failure = excluded.failure",
        [words],
    )


def forget_other_segments(connection: Connection, segments: Collection[str]) -> None:
    """Mismatches of segments that there are no more."""
    connection.execute(
        "DELETE FROM tidegate.audit_mismatches WHERE NOT segment = ANY(%s)", [list(segments)]
    )


def open_mismatches(connection: Connection) -> list[Mismatch]:
    rows = connection.execute(
        "SELECT user_id, segment, shard, as_of, stored, judged, file FROM tidegate.audit_mismatches "
        "ORDER BY found_at, user_id, segment"
    )
    return [Mismatch(*row) for row in rows]


def read_audit(connection: Connection) -> AuditStatus | None:
    """None: there was no round yet."""
    row = connection.execute(
        "SELECT rounds, users, answers, skipped, mismatches, unjudged, last_at, failure FROM tidegate.audit"
    ).fetchone()
    if row is None:
        return None
    rounds, users, answers, skipped, mismatches, unjudged, last_at, failure = row
    found = open_mismatches(connection)
    return AuditStatus(
        rounds, users, answers, skipped, mismatches, unjudged, last_at, failure, len(found), found[:NAMED]
    )
