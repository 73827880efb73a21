"""What is published of a shard at one stroke, other than by its steps: each user's net flips as one message.

For a rebuild, another version of the definitions and the release of what was held, within their transaction and with
the shard's row locked:

    prepare(connection)                                     # once
    connection.execute("INSERT INTO flips ...")             # (user_id, segment_id, entered), each pair once
    publish(connection, shard, effective_at, "definition")  # members, counts, log, outbox; flips is empty again
"""

import numpy as np

from storage import arrays, messages, writer
from storage.postgres import Connection

_CHUNK = 10_000
_STAGING = """
    CREATE TEMP TABLE flips (
        user_id text COLLATE "C" NOT NULL, segment_id integer NOT NULL, entered boolean NOT NULL
    ) ON COMMIT DROP;
    CREATE TEMP TABLE sent (
        user_id text COLLATE "C" PRIMARY KEY, seq bigint NOT NULL, at timestamptz NOT NULL, position bigint NOT NULL
    ) ON COMMIT DROP;
"""
_SENT = """
    INSERT INTO sent (user_id, seq, at, position)
    SELECT user_id, u.seq + 1, greatest(u.last_effective_at, (%(at)s::timestamptz[])[1]),
           s.position + row_number() OVER (ORDER BY user_id)
    FROM (SELECT DISTINCT user_id FROM flips) f JOIN tidegate.users_now u USING (user_id),
         tidegate.shards s WHERE s.shard = %(shard)s
"""
_APPLY = (
    """
    INSERT INTO tidegate.transitions
        (user_id, seq, segment_id, entered, effective_at, cause, version, shard, position)
    SELECT user_id, s.seq, f.segment_id, f.entered, s.at, %(cause)s, d.version, %(shard)s, s.position
    FROM flips f JOIN sent s USING (user_id) JOIN tidegate.definitions d ON d.id = f.segment_id
    """,
    """
    DELETE FROM tidegate.members m USING flips f
    WHERE NOT f.entered AND m.segment_id = f.segment_id AND m.user_id = f.user_id
    """,
    """
    INSERT INTO tidegate.members (segment_id, user_id, since, seq)
    SELECT f.segment_id, user_id, s.at, s.seq FROM flips f JOIN sent s USING (user_id) WHERE f.entered
    """,
    """
    INSERT INTO tidegate.member_counts AS c (segment_id, shard, members, changed_at)
    SELECT f.segment_id, %(shard)s, sum(CASE WHEN f.entered THEN 1 ELSE -1 END), max(s.at)
    FROM flips f JOIN sent s USING (user_id) GROUP BY f.segment_id
    ON CONFLICT (segment_id, shard) DO UPDATE
    SET members = c.members + excluded.members, changed_at = greatest(c.changed_at, excluded.changed_at)
    """,
)
_FOUND = """
    SELECT d.name, count(*) FILTER (WHERE f.entered), count(*) FILTER (WHERE NOT f.entered)
    FROM flips f JOIN tidegate.definitions d ON d.id = f.segment_id GROUP BY d.name
"""


def prepare(connection: Connection) -> None:
    """The temporary tables, until the transaction ends."""
    connection.execute(_STAGING.encode())


def publish(
    connection: Connection, shard: int, effective_at: int, cause: str
) -> tuple[int, dict[str, tuple[int, int]]]:
    """(number of messages, by segment how many entered and left).

    effective_at: µs; for a user whose last transition was later, that one's time is taken.
    """
    at = arrays.timestamps(np.array([effective_at], np.int64))
    values = {"shard": shard, "at": at, "cause": cause}
    for statement in ("ANALYZE flips", _SENT, "ANALYZE sent", *_APPLY):
        connection.execute(statement.encode(), values if "%(" in statement else None)
    users = _send(connection, shard, cause)
    connection.execute("UPDATE tidegate.shards SET position = position + %s WHERE shard = %s", [users, shard])
    found = connection.execute(_FOUND.encode()).fetchall()
    connection.execute("TRUNCATE flips, sent")
    return users, {name: (entered, left) for name, entered, left in found}


def _send(connection: Connection, shard: int, cause: str) -> int:
    """Outbox rows of the shard's differences; returns the number of messages."""
    names = {
        id: (name, version)
        for id, name, version in connection.execute("SELECT id, name, version FROM tidegate.definitions")
    }
    count = 0
    with connection.cursor(name="differences") as cursor:
        cursor.execute(
            f"""
            SELECT user_id, s.seq, {arrays.micros_sql("s.at")}, array_agg(f.segment_id ORDER BY f.segment_id),
                   array_agg(f.entered ORDER BY f.segment_id)
            FROM flips f JOIN sent s USING (user_id)
            GROUP BY user_id, s.seq, s.at, s.position ORDER BY s.position
            """.encode()
        )
        while chunk := cursor.fetchmany(_CHUNK):
            count += len(chunk)
            times = messages.rfc3339(np.array([row[2] for row in chunk], np.int64))
            values = [
                messages.net_message(user, seq, at, [(*names[id], came) for id, came in zip(ids, entered)], cause)
                for (user, seq, _, ids, entered), at in zip(chunk, times)
            ]
            connection.execute(
                writer.OUTBOX,
                [
                    arrays.integers([shard] * len(chunk)),
                    arrays.byte_strings([row[0].encode() for row in chunk]),
                    arrays.byte_strings(values),
                ],
            )
    return count
