"""The checked tree of a definition: names resolved, types known, sugar gone.

It is what `bind` makes of SQL text, what `lower` turns into a plan, and what `reference`
evaluates as it stands. Row expressions (WHERE, FILTER, aggregate arguments) contain `Column`;
group expressions (HAVING) contain `Aggregate`, and of the columns only user_id. Both may contain
`UserColumn` and `Scalar`, and both are three-valued: every node may be NULL.

A query is a relation over users (`Relation`): who is in it, at an instant. `Member` asks for that inside
an expression. Tables that are not events are gone: a derived table is the relation or the conditions
that it was made of.

Both sides of a `Compare` (and the operands of `Arithmetic`, `In`, `Coalesce`) are of one family:
text, boolean, timestamptz, timestamp, interval, exact numbers (bigint, numeric, ratio), or double. Where one
side of a numeric operation is double, the operation is done in double, as DuckDB does it.
Exact division gives `ratio`, never rounded; division by zero gives NULL.
"""

from dataclasses import dataclass, field
from decimal import Decimal

from segmentation.compile.problems import Position
from segmentation.types import BOOLEAN, TEXT, TIMESTAMP, TIMESTAMPTZ, Type

Value = str | int | Decimal | float | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`at` is where the text began; it does not count in comparisons, so equal meanings are equal."""

    at: Position = field(default=Position(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """A constant; the Python value is as `segmentation.types` says for its type, None is NULL."""

    value: Value
    type: Type


@dataclass(frozen=True, slots=True)
class Column(Node):
    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class UserColumn(Node):
    """A column of `users`: of the user's latest profile; NULL where he has none."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class Now(Node):
    """`now()` plus `offset` µs. Compared with event_time in rows it has become `Age`, unless a calendar is between."""

    offset: int
    type: Type = TIMESTAMPTZ


@dataclass(frozen=True, slots=True)
class Age(Node):
    """`event_time <op> now() - micros`; the only way a row expression depends on now."""

    op: str  # = <> < <= > >=
    micros: int
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class AtZone(Node):
    """`arg AT TIME ZONE zone`: a timestamptz as local time (a timestamp), or a timestamp as the instant."""

    arg: "Expr"
    zone: str
    type: Type


@dataclass(frozen=True, slots=True)
class Trunc(Node):
    """date_trunc of a timestamp; `unit` is one of segmentation.local_time.UNITS."""

    unit: str
    arg: "Expr"
    type: Type = TIMESTAMP


@dataclass(frozen=True, slots=True)
class Shift(Node):
    """A timestamp so many months later (the last day of a month that is too short), then so many µs."""

    arg: "Expr"
    months: int
    micros: int
    type: Type = TIMESTAMP


@dataclass(frozen=True, slots=True)
class Part(Node):
    """extract of a timestamp: a key of segmentation.local_time.PARTS; or `epoch`, of a timestamptz too."""

    part: str
    arg: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    """+ - * / on numbers; - of two timestamptz (interval); timestamptz + or - interval."""

    op: str
    left: "Expr"
    right: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Lower(Node):
    """Simple lower case, code point by code point, as DuckDB does it."""

    arg: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Function(Node):
    """A function of numbers: those of `segmentation.mathematics` in double; abs, floor, ceil, least, greatest
    (which pass over NULLs) in the family of their arguments; round of exact numbers, halves away from zero."""

    name: str
    args: tuple["Expr", ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Coalesce(Node):
    args: tuple["Expr", ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Compare(Node):
    op: str  # = <> < <= > >=
    left: "Expr"
    right: "Expr"
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class IsNull(Node):
    arg: "Expr"
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class IsTrue(Node):
    """Never NULL. `x IS FALSE` is IsTrue(Not(x)), `x IS NOT TRUE` is Not(IsTrue(x))."""

    arg: "Expr"
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Like(Node):
    """`pattern` is a constant; case counts unless `insensitive`."""

    arg: "Expr"
    pattern: str
    escape: str = ""  # empty: no escape character
    insensitive: bool = False
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class In(Node):
    """`arg IN (values)`; a NULL among the values makes "not found" NULL, as in SQL."""

    arg: "Expr"
    values: tuple[Literal, ...]
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class And(Node):
    args: tuple["Expr", ...]
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Or(Node):
    args: tuple["Expr", ...]
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Not(Node):
    arg: "Expr"
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """`function`: count, sum, avg, min, max, arg_min, arg_max, bool_or, bool_and, mode.

    `arg` is None for count(*). All skip rows whose argument is NULL. arg_min/arg_max are over
    event_time (ties: event_id). mode is the value that most rows have (ties: the one whose first
    row, by event_time and event_id, is earliest). `filter` is FILTER (WHERE ...), None where absent.
    `distinct` (count, sum, avg): each value counts once.
    """

    function: str
    arg: "Expr | None"
    filter: "Expr | None"
    type: Type
    distinct: bool = False

    def __repr__(self) -> str:
        # Part of a segment's digest, which may not change for aggregates from before there was DISTINCT.
        parts = f"function={self.function!r}, arg={self.arg!r}, filter={self.filter!r}, type={self.type!r}"
        return f"Aggregate({parts}{', distinct=True' if self.distinct else ''})"


@dataclass(frozen=True, slots=True)
class Member(Node):
    """Whether the user is in the relation: never NULL, and the same for all rows of a user."""

    relation: "Relation"
    type: Type = BOOLEAN


@dataclass(frozen=True, slots=True)
class Scalar(Node):
    """A value of the user beside rows of events: a group expression over all events of the user, wherever it
    stands. Its aggregates say in their filters which events they see."""

    value: "Expr"
    type: Type


@dataclass(frozen=True, slots=True)
class Band(Node):
    """The column `band` of a segment with bands: which one the user is in. Only while binding: see bind_band_column.

    certain: only users who are in one are looked at."""

    segment: str
    values: tuple[str, ...]
    members: tuple[Member, ...]
    certain: bool = True
    type: Type = TEXT


Expr = (
    Literal | Column | UserColumn | Now | Age | AtZone | Trunc | Shift | Part | Arithmetic | Lower | Function | Coalesce
    | Compare | IsNull | IsTrue | Like | In | And | Or | Not | Aggregate | Member | Scalar | Band
)


@dataclass(frozen=True, slots=True)
class Select(Node):
    """SELECT user_id FROM events [WHERE where] GROUP BY user_id [HAVING having].

    The users with an event for which `where` is true, and for whom `having` is true over those events.
    """

    where: Expr | None
    having: Expr | None


@dataclass(frozen=True, slots=True)
class Everyone(Node):
    """SELECT user_id FROM users [WHERE having].

    The users who have had an event or have a profile, and for whom `having` is true over all their events,
    if they have any, and their profile.
    """

    having: Expr | None


@dataclass(frozen=True, slots=True)
class SetOp(Node):
    """`op`: union, intersect, or except (the first less all others). Two or more `args`."""

    op: str
    args: tuple["Relation", ...]


@dataclass(frozen=True, slots=True)
class Segment(Node):
    """Those who are in another segment; `query` is that one's, and `meaning` a digest of what it means."""

    name: str
    meaning: str
    query: "Relation" = field(compare=False, repr=False)


Relation = Select | Everyone | SetOp | Segment


@dataclass(frozen=True, slots=True)
class Definition:
    """One checked definition: who its query returns is in the segment. guard: percent of its members; more must not
    flip at one stroke without somebody's word; None: as the setting says."""

    name: str
    file: str
    sql: str  # the query without its header comment
    query: Relation
    description: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    enabled: bool = True
    guard: float | None = None

    @property
    def meaning(self) -> str:
        """A text that is the same for all spellings with one checked tree."""
        # A plain SELECT has been written like this since before there were other relations.
        return repr((self.query.where, self.query.having)) if isinstance(self.query, Select) else repr(self.query)
