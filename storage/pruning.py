"""The log of transitions is kept for so long: what was recorded before goes, in small transactions beside the engine.

What goes is a beginning of each shard's log, up to a number that `tidegate.pruned` tells in the same transaction: a
watcher who stands before it is refused (storage.transitions). Members and the times from when they are members are
elsewhere, and the number and time of a user's last entry are kept in his row when it goes.

Whoever compares a saved state with what is stored (the audit, explanations) undoes the transitions since then. So none
goes before a saved state holds it: a mark says where a shard was at some step, and once a state of that step or a
later one is the saved one, what lies before the mark may go. A state that is older still is refused by `covers`.
"""

import threading
from contextlib import closing

from storage import postgres
from storage.postgres import Connection
from storage.transitions import SHARDS_OF

#: Flips of one transaction, about, and the pause after it, s.
FLIPS, PAUSE_S = 5_000, 0.05

#: Another layout's steps are numbered anew. For storage.reshard.
NEW_LAYOUT = "UPDATE tidegate.pruned SET covered = 0, mark_position = NULL, mark_step = NULL"

_MARK = """
    INSERT INTO tidegate.pruned AS p (shard, mark_position, mark_step)
    SELECT shard, position, step FROM tidegate.shards
    ON CONFLICT (shard) DO UPDATE SET mark_position = excluded.mark_position, mark_step = excluded.mark_step
    WHERE p.mark_step IS NULL OR p.mark_step <= (SELECT (checkpoint ->> 'step')::bigint FROM tidegate.shards s
                                                 WHERE s.shard = p.shard)
"""
#: Up to which number each shard's entries are in its saved state; all of them of a shard that is no more.
_BOUNDS = f"""
    WITH RECURSIVE {SHARDS_OF.format(name="moved", table="tidegate.transitions")}
    SELECT p.shard, p.mark_position, p.mark_step FROM tidegate.pruned p JOIN tidegate.shards s USING (shard)
    WHERE p.mark_step <= (s.checkpoint ->> 'step')::bigint
    UNION ALL
    SELECT m.shard, (SELECT max(t.position) FROM tidegate.transitions t WHERE t.shard = m.shard), 0
    FROM moved m WHERE m.shard IS NOT NULL AND NOT EXISTS (SELECT FROM tidegate.shards s WHERE s.shard = m.shard)
"""
_FIRST = """
    SELECT position, recorded_at < now() - %(seconds)s * interval '1 second', recorded_at FROM tidegate.transitions
    WHERE shard = %(shard)s AND position <= %(bound)s ORDER BY position LIMIT %(flips)s
"""
#: An erasure may be deleting some of them, in another order: neither waits for the other.
_DELETE = """
    DELETE FROM tidegate.transitions WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM tidegate.transitions t WHERE shard = %s AND position <= %s
        AND NOT EXISTS (SELECT FROM tidegate.users u WHERE u.user_id = t.user_id AND u.seq < t.seq)
        FOR UPDATE SKIP LOCKED))
"""
#: What the view users_now has from a user's last entry, his row has when that goes. Who is being erased is left out.
_KEEP = """
    WITH last AS MATERIALIZED (
        SELECT user_id, max(seq) AS seq, max(effective_at) AS at FROM tidegate.transitions
        WHERE shard = %s AND position <= %s GROUP BY user_id
    ), free AS MATERIALIZED (
        SELECT user_id, l.seq, l.at FROM last l JOIN tidegate.users u USING (user_id)
        WHERE l.seq > u.seq FOR UPDATE OF u SKIP LOCKED
    )
    UPDATE tidegate.users u SET seq = f.seq, last_effective_at = greatest(u.last_effective_at, f.at)
    FROM free f WHERE u.user_id = f.user_id
"""
_TELL = """
    INSERT INTO tidegate.pruned AS p (shard, position, until, covered) VALUES (%s, %s, %s, %s)
    ON CONFLICT (shard) DO UPDATE
    SET position = greatest(p.position, excluded.position), until = greatest(p.until, excluded.until),
        covered = greatest(p.covered, excluded.covered)
"""


def prune(url: str, seconds: float, stop: threading.Event) -> int:
    """Deletes what was recorded more than `seconds` ago, as far as it may go now; returns how many flips.

    Ends early when `stop` is set. Raises DatabaseError."""
    deleted = 0
    with (
        closing(postgres.connect(url, application="tidegate pruning", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        connection.execute("SET enable_seqscan = off; SET jit = off")
        for shard, bound, step in connection.execute(_BOUNDS).fetchall():
            while bound is not None and not stop.is_set():
                some = _some(connection, shard, bound, step, seconds)
                deleted += some
                if not some or stop.wait(PAUSE_S):
                    break
        connection.execute(_MARK)
    return deleted


def _some(connection: Connection, shard: int, bound: int, step: int, seconds: float) -> int:
    """One transaction; returns how many went."""
    with connection.transaction():
        given = {"shard": shard, "bound": bound, "seconds": seconds, "flips": FLIPS}
        last, at = None, None
        for position, old, recorded_at in connection.execute(_FIRST, given):
            if not old:
                break
            last, at = position, recorded_at
        if last is None:
            return 0
        connection.execute(_KEEP, [shard, last])
        connection.execute(_TELL, [shard, last, at, step])
        return connection.execute(_DELETE, [shard, last]).rowcount


def covers(connection: Connection, shard: int, step: int) -> bool:
    """Whether all transitions of this shard since `step` are kept."""
    row = connection.execute("SELECT covered FROM tidegate.pruned WHERE shard = %s", [shard]).fetchone()
    return row is None or bool(row[0] <= step)
