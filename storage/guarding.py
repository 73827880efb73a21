"""The guard against an outage of input, at the place where transitions are published.

The engine evaluates as ever; what it finds is exact for the events that came. But while a partition says nothing
(flows.silence), windows of its users run empty by time alone. Within the transaction of a commit:

1. The flips that time does to users of silent partitions are counted, by segment, over all shards and for as long as
   the outage lasts. Where they become more than the segment's limit, in percent of the members that it had before the
   first of them, the segment is held, and with it all that are built on it.
2. Nothing of a held segment is published any more, whatever flips it, this commit included: `held_flips` has who
   differs from what is published, net. All else of the same messages is published as ever.
3. A user's published messages are numbered without gaps: `seq_shifts` has what they differ by from the engine's.

The decision is stored with the commit that makes it. What a restarted engine runs again is not committed again, so
nothing is decided twice. storage.releasing ends a hold.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segmentation.compile.readers import readers
from segmentation.compile.tree import Definition
from segmentation.evaluate.step import Transitions
from segmentation.events.rows import Bool, Int64
from storage import arrays
from storage.commits import Commit, StoredSegment
from storage.postgres import Connection

#: Whoever counts, holds or releases does it alone; taken after the shards' rows. The number: any, always the same one.
ALONE = "SELECT pg_advisory_xact_lock(7316009274115)"
#: After the shards' rows are locked, and in a statement of its own: it sees what a release has left.
STANDING = "SELECT ARRAY(SELECT DISTINCT segment_id FROM tidegate.holds), EXISTS (SELECT FROM tidegate.seq_shifts)"

_COUNT = """
    INSERT INTO tidegate.guard_counts AS g (segment_id, flips, members)
    SELECT f.id, f.flips, coalesce((SELECT sum(members) FROM tidegate.member_counts c WHERE c.segment_id = f.id), 0)
    FROM unnest(%s::int[], %s::bigint[]) AS f(id, flips)
    ON CONFLICT (segment_id) DO UPDATE SET flips = g.flips + excluded.flips
    RETURNING segment_id, flips, members, released_by IS NOT NULL
"""
_HOLD = """
    INSERT INTO tidegate.holds (segment_id, cause, version)
    SELECT * FROM unnest(%s::int[], %s::int[], %s::int[]) ON CONFLICT DO NOTHING
"""
#: Before the least watermark before this commit everything is published.
_SINCE = """
    UPDATE tidegate.definitions SET held_since = 'epoch'::timestamptz
        + (SELECT greatest(min(watermark) - 1, 0) FROM tidegate.shards) * interval '1 microsecond'
    WHERE id = ANY(%s) AND held_since IS NULL
"""
_SHIFTS = "SELECT user_id, shift FROM tidegate.seq_shifts WHERE user_id = ANY(%s::text[])"
_SHIFTED = """
    INSERT INTO tidegate.seq_shifts AS s (user_id, shift, step)
    SELECT * FROM unnest(%s::text[], %s::bigint[], %s::bigint[])
    ON CONFLICT (user_id) DO UPDATE SET shift = excluded.shift, step = excluded.step
"""
_CANCEL = """
    DELETE FROM tidegate.held_flips h USING unnest(%s::int[], %s::text[]) AS f(segment_id, user_id)
    WHERE h.segment_id = f.segment_id AND h.user_id = f.user_id RETURNING h.segment_id, h.user_id
"""
_KEEP = """
    INSERT INTO tidegate.held_flips (segment_id, user_id, entered)
    SELECT * FROM unnest(%s::int[], %s::text[], %s::bool[])
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """By place in the plan. percent: of the members, 0: never held; readers: places of all that are built on it."""

    percent: Sequence[float]
    readers: Sequence[Sequence[int]]


def limits_of(definitions: Sequence[Definition], guard: float) -> Limits:
    """guard: the setting, which a definition's header overrides."""
    percent = [guard if one.guard is None else one.guard for one in definitions]
    return Limits(percent, readers(definitions) if any(percent) else [])


def exceeds(flips: int, members: int, percent: float) -> bool:
    """Are so many flips more than the limit lets? A segment without members counts as one with one."""
    return percent > 0 and 100 * flips > percent * max(members, 1)


def decide(
    connection: Connection, commits: Sequence[Commit], segments: Sequence[StoredSegment], limits: Limits | None
) -> set[int]:
    """Counts what time did to users of silent partitions; ids of the segments that are held by now because of it."""
    counts = np.zeros(len(segments), np.int64)
    for commit in commits:
        if commit.by_silence is not None:
            found, flips = commit.transitions, commit.by_silence.nonzero()[0]
            if len(flips):
                counts += np.bincount(found.segment[np.repeat(commit.by_silence, np.diff(found.first))],
                                      minlength=len(segments))  # fmt: skip
    places = np.flatnonzero(counts)
    if limits is None or not len(places):
        return set()
    connection.execute(ALONE.encode())
    place_of = {segments[place].id: place for place in places.tolist()}
    rows = connection.execute(
        _COUNT.encode(), [arrays.integers(list(place_of)), arrays.bigints(counts[list(place_of.values())])]
    ).fetchall()
    held: list[tuple[int, int]] = []
    for id, flips, members, released in rows:
        place = place_of[id]
        if not released and exceeds(flips, members, limits.percent[place]):
            held += [(number, place) for number in (place, *limits.readers[place])]
    if not held:
        return set()
    return hold(connection, [(segments[number], segments[cause]) for number, cause in held])


def hold(connection: Connection, pairs: Iterable[tuple[StoredSegment, StoredSegment]]) -> set[int]:
    """(a segment, because of which one); the ids of the first ones. For whoever is ALONE."""
    found = list(pairs)
    connection.execute(
        _HOLD.encode(),
        [[one.id for one, _ in found], [cause.id for _, cause in found], [one.version for one, _ in found]],
    )
    ids = {one.id for one, _ in found}
    connection.execute(_SINCE.encode(), [sorted(ids)])
    return ids


def withhold(
    connection: Connection, commits: Sequence[Commit], segments: Sequence[StoredSegment], held: set[int], shifted: bool
) -> list[Commit]:
    """The commits as they are published, in their order; what is not of them is kept. shifted: has anybody another
    published number than the engine's?"""
    users = {user for commit in commits for user in commit.transitions.user_id}
    shifts: dict[str, int] = {}
    if shifted and users:
        shifts = dict(connection.execute(_SHIFTS.encode(), [arrays.texts(users)]).fetchall())
    ids = np.array([segment.id for segment in segments], np.int32)
    is_held = np.isin(ids, list(held))
    if not shifts and not any(is_held[commit.transitions.segment].any() for commit in commits):
        return list(commits)
    kept: dict[tuple[int, str], tuple[bool, bool]] = {}  # the first and the last flip of each
    moved: dict[str, int] = {}  # user -> step at which his shift became another one
    out = []
    for commit in commits:
        found = commit.transitions
        hidden = is_held[found.segment]
        number = np.repeat(np.arange(len(found)), np.diff(found.first))
        told = np.bincount(number[~hidden], minlength=len(found)) > 0
        seq = _numbers(found, told, shifts, moved, commit.number)
        for message, segment, entered in zip(
            number[hidden].tolist(), ids[found.segment[hidden]].tolist(), found.entered[hidden].tolist()
        ):
            key = segment, found.user_id[message]
            first, _ = kept.get(key, (entered, entered))
            kept[key] = first, entered
        out.append(replace(commit, transitions=_only(found, told, hidden, seq), by_silence=None))
    _keep(connection, kept)
    if moved:
        now, steps = [shifts[user] for user in moved], list(moved.values())
        connection.execute(_SHIFTED.encode(), [arrays.texts(moved), arrays.bigints(now), arrays.bigints(steps)])
    return out


def _numbers(found: Transitions, told: Bool, shifts: dict[str, int], moved: dict[str, int], step: int) -> Int64:
    """Published numbers of the messages; of those that are not published, anything."""
    seq = found.seq.copy()
    for message, (user, is_told) in enumerate(zip(found.user_id, told.tolist())):
        shift = shifts.get(user, 0)
        seq[message] += shift
        if not is_told:
            shifts[user], moved[user] = shift - 1, step
    return seq


def _only(found: Transitions, told: Bool, hidden: Bool, seq: Int64) -> Transitions:
    """The messages that are told, without the flips that are hidden."""
    number = np.repeat(np.arange(len(found)), np.diff(found.first))
    sizes = np.bincount(number[~hidden], minlength=len(found))[told]
    return Transitions(
        [user for user, is_told in zip(found.user_id, told.tolist()) if is_told], seq[told], found.effective_at[told],
        found.by_event[told], np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes))), found.segment[~hidden],
        found.entered[~hidden],
    )  # fmt: skip


def _keep(connection: Connection, kept: dict[tuple[int, str], tuple[bool, bool]]) -> None:
    """Who flips an odd number of times is back, or away, from what is published."""
    turned = {key: last for key, (first, last) in kept.items() if first == last}
    if not turned:
        return
    segments, users = [segment for segment, _ in turned], [user for _, user in turned]
    back = set(connection.execute(_CANCEL.encode(), [arrays.integers(segments), arrays.texts(users)]).fetchall())
    away = [key for key in turned if key not in back]
    connection.execute(
        _KEEP.encode(),
        [arrays.integers([segment for segment, _ in away]), arrays.texts([user for _, user in away]),
         arrays.booleans(np.array([turned[key] for key in away], np.bool_))],
    )
