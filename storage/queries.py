"""What can be asked of the stored membership: each question is one statement, so one snapshot.

A `Query` is SQL, parameters, and how its rows become the answer; `storage.reader` runs it, with or
without async. All times are µs since 1970 UTC; None where there is none. `as_of` says up to which
instant an answer is complete: 1 µs before the watermark of the user's shard, or the user's own last
transition, whichever is later; of a user never seen, and of lists, 1 µs before the least watermark; about
a held segment not later than since when it is, or than the user's last flip in it; None before any event.
Before the watermark, not at it: what time does at that very instant, and events that come late, take
effect at it and are yet to come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from segmentation.errors import TidegateError
from segmentation.types import NEVER
from storage.arrays import micros_sql

T = TypeVar("T")
Row = tuple[Any, ...]


class UnknownSegment(TidegateError):
    """No segment has this name; `names`: those asked for and not found."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        super().__init__(f"There is no segment {', '.join(self.names)}. `tidegate status` lists those that are.")


class State(str):
    """Of a definition: complete, disabled, held or complete_since. since (µs): the instant before which history is
    missing, which a held one may have too; held (µs): since when its answers stand still. Else None."""

    since: int | None
    held: int | None

    @staticmethod
    def of(stored: str) -> "State":
        """What `_STATE` gives."""
        name, since, held = stored.split(" ")
        if name == "complete":
            name = "held" if held else "complete_since" if since else name
        state = State(name)
        state.since, state.held = int(since) if since else None, int(held) if held else None
        return state

    def up_to(self, as_of: int | None, flip: int | None = None) -> int | None:
        """An answer about this segment that is otherwise complete up to as_of, µs. flip: the user's last one that was
        published, where the segment is held: he may have flipped between the least watermark and his own shard's."""
        if self.held is None or as_of is None:
            return as_of
        return min(as_of, self.held if flip is None else max(self.held, flip))


@dataclass(frozen=True, slots=True)
class Query(Generic[T]):
    sql: str
    parameters: Sequence[Any] | Mapping[str, Any]
    build: Callable[[list[Row]], T]


@dataclass(frozen=True, slots=True)
class Answer:
    """since: None for those not in. version, state: of the segment's definition."""

    user_id: str
    segment: str
    member: bool
    since: int | None
    known: bool
    as_of: int | None
    version: int
    state: State


@dataclass(frozen=True, slots=True)
class Membership:
    segment: str
    since: int
    version: int
    state: State


@dataclass(frozen=True, slots=True)
class UserSegments:
    """Sorted by segment."""

    user_id: str
    known: bool
    as_of: int | None
    segments: list[Membership]


@dataclass(frozen=True, slots=True)
class Member:
    user_id: str
    since: int


@dataclass(frozen=True, slots=True)
class MemberPage:
    """Sorted by user id (code points). next_after: what to give as `after` for the next page, None at the end."""

    segment: str
    version: int
    state: State
    as_of: int | None
    members: list[Member]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class Segment:
    """members: their exact number. updated_at: of the definition; changed_at: last entry or exit, None if never."""

    name: str
    description: str
    owner: str
    tags: list[str]
    enabled: bool
    version: int
    sql: str
    state: State
    updated_at: int
    members: int
    changed_at: int | None
    as_of: int | None


@dataclass(frozen=True, slots=True)
class SegmentPage:
    """Sorted by name (code points)."""

    segments: list[Segment]
    next_after: str | None


_STATE = f"concat(d.state, ' ', {micros_sql('d.complete_since')}, ' ', {micros_sql('d.held_since')})"
_COMPLETE_TO = "(SELECT min(watermark) - 1 FROM tidegate.shards)"
_USER_AS_OF = f"""
    CASE WHEN u.user_id IS NULL THEN {_COMPLETE_TO}
    ELSE greatest((SELECT watermark - 1 FROM tidegate.shards s WHERE s.shard = u.shard),
                  {micros_sql("u.last_effective_at")}) END
"""
#: Of the few segments that are held.
_HELD_FLIP = f"""
    CASE WHEN d.held_since IS NOT NULL THEN (
        SELECT {micros_sql("max(t.effective_at)")} FROM tidegate.transitions t
        WHERE t.user_id = p.user_id AND t.segment_id = d.id
    ) END
"""
_SEGMENT = f"""
    SELECT d.name, d.description, d.owner, d.tags, d.enabled, d.version, d.sql, {_STATE}, {micros_sql("d.updated_at")},
           coalesce(c.members, 0)::bigint, {micros_sql("c.changed_at")}, {_COMPLETE_TO}
    FROM tidegate.definitions d
    LEFT JOIN LATERAL (
        SELECT sum(members) AS members, max(changed_at) AS changed_at
        FROM tidegate.member_counts WHERE segment_id = d.id
    ) c ON true
    WHERE d.state <> 'removed'
"""


#: `pairs` as two arrays. The lateral subqueries keep the planner to one look-up per pair, whatever its statistics say.
CHECK = f"""
    SELECT d.version, {_STATE}, {micros_sql("m.since")}, coalesce(u.known, false), {_USER_AS_OF}, {_HELD_FLIP}
    FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS p(user_id, segment, place)
    LEFT JOIN tidegate.definitions d ON d.name = p.segment AND d.state <> 'removed'
    LEFT JOIN LATERAL (
        SELECT since FROM tidegate.members WHERE segment_id = d.id AND user_id = p.user_id LIMIT 1
    ) m ON true
    LEFT JOIN LATERAL (
        SELECT user_id, shard, known, last_effective_at FROM tidegate.users_now WHERE user_id = p.user_id LIMIT 1
    ) u ON true
    ORDER BY p.place
"""


def check(pairs: Sequence[tuple[str, str]]) -> Query[list[Answer]]:
    """`pairs` of (user id, segment), answered in order. Building raises UnknownSegment."""
    values = [[user for user, _ in pairs], [segment for _, segment in pairs]]
    return Query(CHECK, values, lambda rows: answers(pairs, rows))


def answers(pairs: Sequence[tuple[str, str]], rows: Sequence[Row]) -> list[Answer]:
    """rows: those of CHECK. Raises UnknownSegment."""
    unknown = {segment for (_, segment), row in zip(pairs, rows) if row[0] is None}
    if unknown:
        raise UnknownSegment(sorted(unknown))
    states = {stored: State.of(stored) for stored in {row[1] for row in rows}}
    return [
        Answer(user, segment, since is not None, since, known, states[state].up_to(instant(as_of), flip), version,
               states[state])
        for (user, segment), (version, state, since, known, as_of, flip) in zip(pairs, rows)
    ]  # fmt: skip


def user_segments(user_id: str) -> Query[UserSegments]:
    sql = f"""
        SELECT coalesce(u.known, false), {_USER_AS_OF}, d.name, {micros_sql("m.since")}, d.version, {_STATE}
        FROM (SELECT %s::text AS user_id) p
        LEFT JOIN tidegate.users_now u ON u.user_id = p.user_id
        LEFT JOIN tidegate.members m ON m.user_id = p.user_id
        LEFT JOIN tidegate.definitions d ON d.id = m.segment_id
        ORDER BY d.name
    """

    def build(rows: list[Row]) -> UserSegments:
        known, as_of = rows[0][:2]
        found = [Membership(row[2], row[3], row[4], State.of(row[5])) for row in rows if row[2] is not None]
        return UserSegments(user_id, known, instant(as_of), found)

    return Query(sql, [user_id], build)


def members(segment: str, after: str | None, limit: int) -> Query[MemberPage]:
    """Members with ids greater than `after`, `limit` at most.

    Who is a member throughout a walk over the pages is on exactly one of them, whatever else changes.
    """
    sql = f"""
        WITH d AS (
            SELECT id, version, state, complete_since, held_since
            FROM tidegate.definitions WHERE name = %s AND state <> 'removed'
        )
        SELECT d.version, {_STATE}, {_COMPLETE_TO}, m.user_id, {micros_sql("m.since")}
        FROM d LEFT JOIN LATERAL (
            SELECT user_id, since FROM tidegate.members
            WHERE segment_id = d.id AND user_id > %s ORDER BY user_id LIMIT %s
        ) m ON true
        ORDER BY m.user_id
    """

    def build(rows: list[Row]) -> MemberPage:
        if not rows:
            raise UnknownSegment([segment])
        version, state, as_of = rows[0][:3]
        standing = State.of(state)
        found = [Member(user_id, since) for *_, user_id, since in rows if user_id is not None]
        page = found[:limit]
        return MemberPage(
            segment, version, standing, standing.up_to(instant(as_of)), page,
            page[-1].user_id if len(found) > limit else None,
        )  # fmt: skip

    return Query(sql, [segment, after or "", limit + 1], build)


def segments(after: str | None, limit: int) -> Query[SegmentPage]:
    """Segments with names greater than `after`, disabled ones too, removed ones not."""

    def build(rows: list[Row]) -> SegmentPage:
        page = [_segment(row) for row in rows[:limit]]
        return SegmentPage(page, page[-1].name if len(rows) > limit else None)

    return Query(f"{_SEGMENT} AND d.name > %s ORDER BY d.name LIMIT %s", [after or "", limit + 1], build)


def segment(name: str) -> Query[Segment]:
    def build(rows: list[Row]) -> Segment:
        if not rows:
            raise UnknownSegment([name])
        return _segment(rows[0])

    return Query(f"{_SEGMENT} AND d.name = %s", [name], build)


def _segment(row: Row) -> Segment:
    state = State.of(row[7])
    values = [*row[:7], state, *row[8:-1], state.up_to(instant(row[-1]))]
    return Segment(*values)


def instant(micros: int | None) -> int | None:
    return None if micros is None or micros <= NEVER else micros
