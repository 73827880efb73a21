"""The log of transitions as watchers read it: in pages, from a position, without loss or repetition.

A position is one number per shard. A shard's fenced writer gives the numbers in the order in which it commits,
holding the shard's row until the commit, so whatever is visible of a shard up to a number stays complete up to it.
Rows of all shards together are read in the order of their numbers. That is one user's own order too: the shards of
another layout (reshard, rebuild) begin above every number there was. For the same reason a shard that a position does
not know stands at its least number: what that shard had before the position's layout is below, what it gets after it
is above.

An erasure takes a number like a transition. The erased user's earlier transitions are gone from the log.

The log may begin later than it did (storage.pruning). Who stands before its beginning is refused, never told the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec

from segmentation.errors import TidegateError
from storage.arrays import micros_sql
from storage.queries import Query, Row, instant


@dataclass(frozen=True, slots=True)
class Position:
    """numbers: shard -> the last number that was read."""

    numbers: Mapping[int, int]

    def of(self, shard: int) -> int:
        found = self.numbers.get(shard)
        return self.least if found is None else found

    @property
    def least(self) -> int:
        return min(self.numbers.values(), default=0)

    def covers(self, other: "Position") -> bool:
        """Everything up to `other` has been read here."""
        return self.least >= other.least and all(self.of(shard) >= number for shard, number in other.numbers.items())

    def joined(self, other: "Position") -> "Position":
        """Everything read here or there."""
        if other.covers(self):
            return other
        if self.covers(other):
            return self
        return Position({s: max(self.of(s), other.of(s)) for s in self.numbers.keys() | other.numbers.keys()})


class Change(msgspec.Struct, frozen=True, gc=False):
    """version: of the segment's definition."""

    segment: str
    version: int
    entered: bool


class Transition(msgspec.Struct, frozen=True, gc=False):
    """All flips of one user in one step. effective_at: µs. cause: event, time, definition, release.

    Servers keep tens of thousands of them, which the search for garbage must not look through: it took 0.3 s."""

    shard: int
    number: int
    user_id: str
    seq: int
    effective_at: int
    cause: str
    changes: tuple[Change, ...]


class Erasure(msgspec.Struct, frozen=True, gc=False):
    """digest: BLAKE2b-128 of the erased user's id, which is kept nowhere."""

    shard: int
    number: int
    digest: bytes


Entry = Transition | Erasure


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in order of their numbers. after: the position behind them, and behind all there is if not `more`.

    end, complete_to: the shards' own numbers, and up to which instant (µs) nothing is to come any more, 1 before their
    watermarks; all of the one snapshot. log: names the log. definitions: another text whenever definitions, which of
    them are held, the number of shards or what else an engine's start settles is another.
    """

    log: str
    definitions: str
    entries: list[Entry]
    after: Position
    more: bool
    end: Position
    complete_to: Mapping[int, int]

    @property
    def as_of(self) -> int | None:
        """Of all shards; None before any event."""
        return instant(min(self.complete_to.values(), default=None))


class PositionGone(TidegateError):
    """This log cannot be read on from a position. cause: for programs; since: µs, from when on the log is whole."""

    cause = "set_back"
    since: int | None = None


class BehindLog(PositionGone):
    """Entries that come after a position are not kept any more."""

    cause = "pruned"

    def __init__(self, since: int | None) -> None:
        self.since = since
        super().__init__(
            "The log of transitions does not reach back to this position any more: entries after it have been pruned "
            "(the engine's setting `history` says how long they are kept). Watch from now, then read the members anew."
        )


class AheadOfLog(PositionGone):
    """A position that this log has not reached: it was set back, by a restored copy say, or it is another one's."""

    def __init__(self) -> None:
        super().__init__(
            "This position lies ahead of the log, which was set back since. Watch from now, then read the members anew."
        )


#: (shard, up to which number its entries are gone, when the newest of them was recorded, µs)
_Pruned = tuple[int, int, int | None]
_Ends = tuple[str, str, dict[int, tuple[int, int]], list[_Pruned]]

_DEFINITIONS = """
    concat((SELECT concat(count(*), ' ', sum(extract(epoch FROM updated_at)), ' ', count(held_since), ' ',
                          sum(extract(epoch FROM held_since))) FROM tidegate.definitions), ' ',
           (SELECT updated_at FROM tidegate.engine))
"""
#: One value: JSON of (log, definitions, {shard: (position, watermark)}, what is pruned).
_ENDS = f"""
    SELECT json_build_array(
        coalesce((SELECT identity::text FROM tidegate.log), ''), {_DEFINITIONS},
        coalesce(json_object_agg(shard, json_build_array(position, watermark)), '{{}}'),
        (SELECT coalesce(json_agg(json_build_array(shard, position, {micros_sql("until")})), '[]')
         FROM tidegate.pruned WHERE position > 0)
    )::text
    FROM tidegate.shards
"""
#: One probe of the index per shard that there ever was, instead of a scan.
SHARDS_OF = """
    {name} (shard) AS (
        (SELECT min(shard) FROM {table} WHERE position IS NOT NULL)
        UNION ALL
        SELECT (SELECT min(t.shard) FROM {table} t WHERE t.shard > s.shard AND t.position IS NOT NULL)
        FROM {name} s WHERE s.shard IS NOT NULL
    )
"""
#: A first row with the ends in place of the cause and no position, then one per flip or erasure. Were the ends in each
#: of them, reading them would cost more than the flips.
_AFTER = f"""
    WITH RECURSIVE {SHARDS_OF.format(name="moved", table="tidegate.transitions")},
    {SHARDS_OF.format(name="forgot", table="tidegate.erasures")},
    given AS (SELECT * FROM unnest(%(shards)s::int[], %(numbers)s::bigint[]) AS g(shard, position)),
    entries AS (
        SELECT e.* FROM moved m LEFT JOIN given g USING (shard) CROSS JOIN LATERAL (
            SELECT shard, position, user_id, seq, segment_id, version, entered, effective_at, cause, NULL::bytea
            FROM tidegate.transitions t
            WHERE t.shard = m.shard AND t.position > coalesce(g.position, %(least)s)
            ORDER BY t.position FETCH FIRST %(limit)s ROWS WITH TIES
        ) e WHERE m.shard IS NOT NULL
        UNION ALL
        SELECT e.* FROM forgot f LEFT JOIN given g USING (shard) CROSS JOIN LATERAL (
            SELECT shard, position, NULL, NULL::bigint, NULL::int, NULL::int, NULL::bool, NULL::timestamptz, NULL,
                   digest
            FROM tidegate.erasures t
            WHERE t.shard = f.shard AND t.position > coalesce(g.position, %(least)s)
            ORDER BY t.position LIMIT %(limit)s
        ) e WHERE f.shard IS NOT NULL
    )
    SELECT NULL AS shard, NULL AS position, NULL, NULL, NULL AS name, NULL, NULL, NULL, ({_ENDS}), NULL
    UNION ALL
    SELECT e.shard, e.position, e.user_id, e.seq, d.name, e.version, e.entered, {micros_sql("e.effective_at")},
           e.cause, e.digest
    FROM entries e (shard, position, user_id, seq, segment_id, version, entered, effective_at, cause, digest)
    LEFT JOIN tidegate.definitions d ON d.id = e.segment_id
    ORDER BY position NULLS FIRST, shard, name
"""


def end() -> Query[Page]:
    """An empty page behind everything there is."""

    def build(rows: list[Row]) -> Page:
        log, definitions, position, complete_to, _ = _ends(rows[0][0])
        return Page(log, definitions, [], position, False, position, complete_to)

    return Query(_ENDS, [], build)


def after(position: Position, flips: int) -> Query[Page]:
    """What comes after `position`: about `flips` flips. Building raises AheadOfLog, BehindLog."""
    limit = max(1, flips // max(1, len(position.numbers)))
    numbers = position.numbers

    def build(rows: list[Row]) -> Page:
        (*_, ends, _), *found = rows
        log, definitions, reached, complete_to, pruned = _ends(ends)
        require_reached(position, reached)
        _require_kept(position, pruned)
        last, more = _complete(found, limit)
        if not more:
            return Page(log, definitions, _entries(found), reached, False, reached, complete_to)
        entries = _entries([row for row in found if row[1] <= last])
        # A shard has no entry between its own end and `last`, so far; it may get some.
        known = numbers.keys() | reached.numbers.keys()
        behind = {s: max(position.of(s), min(last, reached.of(s))) for s in known}
        return Page(log, definitions, entries, Position(behind), True, reached, complete_to)

    values = {"shards": list(numbers), "numbers": list(numbers.values()), "least": position.least, "limit": limit}
    return Query(_AFTER, values, build)


def holds(entries: Collection[Transition]) -> Query[bool]:
    """Whether all of these are in the log, at their places."""
    sql = """
        SELECT count(*) FROM unnest(%(shards)s::int[], %(numbers)s::bigint[], %(users)s::text[], %(seqs)s::bigint[])
            AS given (shard, position, user_id, seq)
        WHERE EXISTS (SELECT FROM tidegate.transitions t WHERE t.shard = given.shard AND t.position = given.position
                      AND t.user_id = given.user_id AND t.seq = given.seq)
    """
    values = {
        "shards": [entry.shard for entry in entries], "numbers": [entry.number for entry in entries],
        "users": [entry.user_id for entry in entries], "seqs": [entry.seq for entry in entries],
    }  # fmt: skip
    return Query(sql, values, lambda rows: bool(rows[0][0] == len(entries)))


def require_reached(position: Position, end: Position) -> None:
    """Raises AheadOfLog where the log, which ends at `end`, has not come as far as `position`."""
    highest = max(end.numbers.values(), default=0)
    if any(number > end.numbers.get(shard, highest) for shard, number in position.numbers.items()):
        raise AheadOfLog()


def _require_kept(position: Position, pruned: Sequence[_Pruned]) -> None:
    if any(position.of(shard) < number for shard, number, _ in pruned):
        raise BehindLog(max((at for *_, at in pruned if at is not None), default=None))


def _complete(found: Sequence[Row], limit: int) -> tuple[int, bool]:
    """Up to which number the rows of all shards are there, and whether there may be some beyond it."""
    rows: dict[tuple[int, bool], list[int]] = {}
    for row in found:
        rows.setdefault((row[0], row[-1] is None), []).append(row[1])
    full = [max(numbers) for numbers in rows.values() if len(numbers) >= limit]
    return min(full, default=0), bool(full)


def _entries(rows: Sequence[Row]) -> list[Entry]:
    entries: list[Entry] = []
    known: dict[tuple[str, int, bool], Change] = {}  # far fewer than flips
    for (number, shard), group in groupby(rows, key=lambda row: (row[1], row[0])):
        flips = list(group)
        _, _, user, seq, _, _, _, at, cause, digest = flips[0]
        if digest is not None:
            entries.append(Erasure(shard, number, bytes(digest)))
        else:
            named = [row[4:7] for row in flips]
            changes = tuple([known.get(flip) or known.setdefault(flip, Change(*flip)) for flip in named])
            entries.append(Transition(shard, number, user, seq, at, cause, changes))
    return entries


def _ends(stored: str) -> tuple[str, str, Position, dict[int, int], list[_Pruned]]:
    """What `_ENDS` gives: log, definitions, end, complete_to, pruned."""
    log, definitions, shards, pruned = msgspec.json.decode(stored, type=_Ends)
    end = Position({shard: position for shard, (position, _) in shards.items()})
    return log, definitions, end, {shard: watermark - 1 for shard, (_, watermark) in shards.items()}, pruned
