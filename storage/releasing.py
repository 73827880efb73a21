"""The end of a hold (storage.guarding): what was kept back is published, net, and the segment moves on.

By itself: once no partition is silent any more, and those who differ from what is published are no more than the
segment's limit (`settle`). By the operator's word: at any time (`release`). In one transaction for all shards, with
the cause "release", each user once; whoever is back where he was is not mentioned. `effective_at` is the watermark of
the user's shard at the release, for then his answer changes, or his last transition's where that is later.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from segmentation.errors import TidegateError
from storage import differences, guarding, postgres
from storage.commits import StoredSegment
from storage.guarding import Limits, exceeds
from storage.postgres import Connection
from storage.queries import UnknownSegment
from storage.silent import locked

log = logging.getLogger(__name__)

_ANYTHING = """
    SELECT EXISTS (SELECT FROM tidegate.holds), EXISTS (SELECT FROM tidegate.guard_counts),
           EXISTS (SELECT FROM tidegate.shards WHERE silent <> '{}')
"""
_MEMBERS = """
    SELECT h.segment_id,
           (SELECT coalesce(sum(members), 0) FROM tidegate.member_counts c WHERE c.segment_id = h.segment_id)::bigint,
           (SELECT count(*) FROM tidegate.held_flips f WHERE f.segment_id = h.segment_id)
    FROM (SELECT DISTINCT segment_id FROM tidegate.holds) h
"""
#: Holds whose cause is not held for its own sake any more.
_WITHOUT_CAUSE = """
    DELETE FROM tidegate.holds h
    WHERE NOT EXISTS (SELECT FROM tidegate.holds o WHERE o.segment_id = h.cause AND o.cause = h.cause)
"""
_FREE = """
    UPDATE tidegate.definitions d SET held_since = NULL
    WHERE held_since IS NOT NULL AND NOT EXISTS (SELECT FROM tidegate.holds h WHERE h.segment_id = d.id)
    RETURNING id
"""
_SHARD_FLIPS = """
    INSERT INTO flips (user_id, segment_id, entered)
    SELECT user_id, h.segment_id, h.entered FROM tidegate.held_flips h JOIN tidegate.users u USING (user_id)
    WHERE h.segment_id = ANY(%s) AND u.shard = %s
"""
_SHIFT = """
    INSERT INTO tidegate.seq_shifts AS s (user_id, shift, step)
    SELECT user_id, 1, %s FROM (SELECT DISTINCT user_id FROM flips) f
    ON CONFLICT (user_id) DO UPDATE SET shift = s.shift + 1, step = excluded.step
"""
#: Of users whose numbers are the engine's again, and were in every state that is still saved.
_TIDY = """
    DELETE FROM tidegate.seq_shifts s USING tidegate.users u, tidegate.shards h
    WHERE s.shift = 0 AND u.user_id = s.user_id AND h.shard = u.shard AND s.step <= (h.checkpoint ->> 'step')::bigint
"""
#: A definition that was changed, or is not there any more, is guarded as a change; what is built on it is free, too.
_CHANGED = """
    DELETE FROM tidegate.holds h USING tidegate.definitions d
    WHERE d.id = h.segment_id AND (d.version <> h.version OR d.state <> 'complete')
"""
_HELD = "(SELECT segment_id FROM tidegate.holds)"
_DIVERT = (
    "DELETE FROM tidegate.held_flips h USING tidegate.users u WHERE u.user_id = h.user_id AND u.shard = %(shard)s",
    "INSERT INTO tidegate.held_flips (segment_id, user_id, entered) "
    f"SELECT segment_id, user_id, entered FROM flips WHERE segment_id IN {_HELD}",
    f"DELETE FROM flips WHERE segment_id IN {_HELD}",
)

Released = Mapping[str, tuple[int, int]]


class NotHeld(TidegateError):
    """A segment that is not held, or not for its own sake."""


def held(url: str) -> list[str]:
    """Names of the segments that are held for their own sake. DatabaseError."""
    with (
        closing(postgres.connect(url, application="tidegate release", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        rows = connection.execute(
            "SELECT d.name FROM tidegate.holds h JOIN tidegate.definitions d ON d.id = h.segment_id "
            "WHERE h.cause = h.segment_id ORDER BY d.name"
        ).fetchall()
    return [name for (name,) in rows]


def release(url: str, names: Sequence[str], by: str) -> Released:
    """Publishes what was kept back of these segments, and of what is held because of them alone; they are not held
    again in the present outage. By segment: how many entered and left. UnknownSegment, NotHeld, DatabaseError."""
    with _alone(url) as connection:
        found = dict(connection.execute(
            "SELECT name, id FROM tidegate.definitions WHERE name = ANY(%s) AND state <> 'removed'", [list(names)]
        ).fetchall())  # fmt: skip
        if unknown := sorted(set(names) - found.keys()):
            raise UnknownSegment(unknown)
        causes: dict[int, list[str]] = dict(connection.execute(
            "SELECT h.segment_id, array_agg(d.name ORDER BY d.name) FROM tidegate.holds h "
            "JOIN tidegate.definitions d ON d.id = h.cause GROUP BY 1"
        ).fetchall())  # fmt: skip
        for name, id in found.items():
            if id not in causes:
                raise NotHeld(f"{name} is not held. `tidegate status` lists those that are.")
            if name not in causes[id]:
                raise NotHeld(f"{name} is held because of {', '.join(causes[id])}. Release that.")
        ids = list(found.values())
        connection.execute("UPDATE tidegate.guard_counts SET released_by = %s WHERE segment_id = ANY(%s)", [by, ids])
        return _without(connection, ids)


def settle(url: str, segments: Sequence[StoredSegment], limits: Limits) -> Released:
    """Where no partition is silent any more: the outage is over, and whoever may go on without a word does.
    segments: in the plan's order, as the limits are. DatabaseError."""
    with (
        closing(postgres.connect(url, application="tidegate engine", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        ((held, counted, silent),) = connection.execute(_ANYTHING.encode()).fetchall()
    if silent or not (held or counted):
        return {}
    with _alone(url) as connection:
        ((_, _, silent),) = connection.execute(_ANYTHING.encode()).fetchall()
        if silent:
            return {}
        connection.execute("DELETE FROM tidegate.guard_counts")
        places = {segment.id: place for place, segment in enumerate(segments)}
        too_many = {
            id for id, members, differ in connection.execute(_MEMBERS.encode())
            if id in places and exceeds(differ, members, limits.percent[places[id]])
        }  # fmt: skip
        causes = {cause for (cause,) in connection.execute("SELECT DISTINCT cause FROM tidegate.holds")}
        # What was held because of another one, and would still change too much, is now held for its own sake.
        guarding.hold(
            connection,
            [(segments[place], segments[places[id]]) for id in sorted(too_many - causes)
             for place in (places[id], *limits.readers[places[id]])],
        )  # fmt: skip
        return _without(connection, causes - too_many)


def tidy(url: str) -> None:
    """Forgets numbers that are not needed any more. DatabaseError."""
    with (
        closing(postgres.connect(url, application="tidegate engine", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        connection.execute(_TIDY.encode())


def drop_changed(connection: Connection) -> None:
    """Where other definitions are registered: their holds are over, and their differences are the switch's."""
    connection.execute(_CHANGED.encode())
    connection.execute(_WITHOUT_CAUSE.encode())
    connection.execute(_FREE.encode())
    connection.execute(f"DELETE FROM tidegate.held_flips WHERE segment_id NOT IN {_HELD}".encode())


def divert(connection: Connection, shard: int) -> None:
    """Of a shard's whole new membership against the published one, in `flips`: what is held is kept, not published."""
    for statement in _DIVERT:
        connection.execute(statement.encode(), {"shard": shard} if "%(" in statement else None)


@contextmanager
def _alone(url: str) -> Iterator[Connection]:
    """A transaction; no shard commits meanwhile."""
    with (
        closing(postgres.connect(url, application="tidegate release")) as connection,
        postgres.foreign_errors(postgres.address(url)),
        connection.transaction(),
    ):
        locked(connection, "SELECT FROM tidegate.shards ORDER BY shard FOR UPDATE")
        connection.execute(guarding.ALONE.encode())
        yield connection


def _without(connection: Connection, causes: Collection[int]) -> Released:
    """Ends the holds that have these causes, and publishes what is not held any more."""
    connection.execute("DELETE FROM tidegate.holds WHERE cause = ANY(%s)", [list(causes)])
    free = [id for (id,) in connection.execute(_FREE.encode())]
    if not free:
        return {}
    differences.prepare(connection)
    names = connection.execute("SELECT name FROM tidegate.definitions WHERE id = ANY(%s)", [free]).fetchall()
    outcome: dict[str, tuple[int, int]] = {name: (0, 0) for (name,) in names}
    for shard, step, watermark in connection.execute(
        "SELECT shard, step, greatest(watermark, 0) FROM tidegate.shards ORDER BY shard"
    ).fetchall():
        connection.execute(_SHARD_FLIPS.encode(), [free, shard])
        connection.execute(_SHIFT.encode(), [step])
        _, found = differences.publish(connection, shard, watermark, "release")
        for name, (entered, left) in found.items():
            outcome[name] = outcome[name][0] + entered, outcome[name][1] + left
    connection.execute("DELETE FROM tidegate.held_flips WHERE segment_id = ANY(%s)", [free])
    return outcome
