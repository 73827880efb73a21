"""The plan: what a set of definitions needs counted, and how truth follows from the counts.

From the bottom: *terms* say which events count, for how long and with what weight. *Cells* are the
per-user values that terms add up to (linear) or the best row so far (register). *Signals* are
two-valued functions of a user over time: thresholds of cells, formulas over cells, and gates over
signals. Each segment is one signal or its negation. Every part is canonical and shared.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from segmentation.compile import tree
from segmentation.edges import Edge
from segmentation.types import FOREVER, Type
from segmentation.zones import VERSION

#: Functions that depend on the order of rows: by event_time, then by event_id.
BY_TIME = ("arg_min", "arg_max", "mode")


@dataclass(frozen=True, slots=True)
class Term:
    """One source of a cell: the events that satisfy `codes` and `residual`, from the edge `start`
    until the edge `end` (as a rule ages, µs), each weighing coefficient * arg (None: 1).

    codes: for text columns, the values one of which the event must have; residual: what else must
    be true of the event, None for nothing. For linear cells arg is in units of 10**-scale.
    beside: what must be true of the event beside other values of the user (tree.Scalar), which move; so an
    event may count, not count, and count again while its age is in the window. None for nothing.
    """

    arg: tree.Expr | None
    codes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    residual: tree.Expr | None = None
    start: Edge = 0
    end: Edge = FOREVER
    coefficient: int = 1
    beside: tree.Expr | None = None

    def __repr__(self) -> str:
        # Part of the structure of a saved state, which may not change for terms from before there was `beside`.
        names = ("arg", "codes", "residual", "start", "end", "coefficient", *(("beside",) if self.beside else ()))
        return f"Term({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class ProfileTerm(Term):
    """One that counts versions of profiles, which no other term does; `arg` and `residual` have their columns
    by the names that `profile_column` gives. A version does not age out."""

    __slots__ = ()


def profile_column(name: str) -> str:
    """What a column of `users` is called among those of events, of which none has a dot in its name."""
    return f"users.{name}"


@dataclass(frozen=True, slots=True)
class Distinct:
    """The different values of `arg` among the rows of its terms."""

    terms: tuple[Term, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Values:
    """Adds coefficient for each value of `of`, times the value itself where `summed`."""

    of: Distinct
    summed: bool
    coefficient: int = 1


@dataclass(frozen=True, slots=True)
class Linear:
    """A running integer: the sum of its terms, and of what occurs in sets of values."""

    terms: tuple[Term, ...]
    values: tuple[Values, ...] = ()


@dataclass(frozen=True, slots=True)
class Register:
    """The smallest or largest `arg` so far, or that of the first or last event."""

    function: str  # min, max, arg_min, arg_max
    terms: tuple[Term, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Bag:
    """What `function` picks among rows that come and go: those of the terms, while they count."""

    function: str  # min, max, arg_min, arg_max, mode
    terms: tuple[Term, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Reach:
    """Signal: cell >= threshold."""

    cell: int
    threshold: int


@dataclass(frozen=True, slots=True)
class Source:
    """What an aggregate inside a formula is made of.

    linear: number of the cell with the value (count, sum; the numerator of avg); scale: its unit;
    register: number of the register (min, max, arg_*); bag: number of the bag (the same over
    windows, and mode); present: linear cell that must be at least 1 for the value not to be NULL,
    -1 for none. avg is linear over present.
    """

    linear: int = -1
    register: int = -1
    bag: int = -1
    present: int = -1
    scale: int = 0


#: What the aggregates of a group expression are made of.
Sources = tuple[tuple[tree.Aggregate, Source], ...]


@dataclass(frozen=True, slots=True)
class LatestSource(Source):
    """A register whose value is NULL where another one, `null`, says so: that of a column of the latest profile."""

    null: int = -1


@dataclass(frozen=True, slots=True)
class Formula:
    """Signal: a boolean expression over aggregates IS TRUE, whatever its shape."""

    condition: tree.Expr
    sources: Sources


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a tree.Scalar comes to: a group expression over all events of the user."""

    value: tree.Expr
    sources: Sources


@dataclass(frozen=True, slots=True)
class Gate:
    """Signal: all of the inputs hold, or one of them; an input is (signal, negated)."""

    all: bool
    inputs: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """Signal: a condition on now alone holds; the same for all users, whoever has events or not."""

    condition: tree.Expr


@dataclass(frozen=True, slots=True)
class Known:
    """Signal: the user has had an event."""


@dataclass(frozen=True, slots=True)
class Met:
    """Signal: the user has had an event or a profile."""


Cell = Linear | Distinct | Register | Bag
Signal = Known | Met | Reach | Formula | Gate | Clock


@dataclass(slots=True)
class Plan:
    """segments[i] is (signal, negated) in roots[i], None for a segment that nobody is ever in.

    `signals` are in dependency order: a gate's inputs come before it. `code_columns`: the text
    columns of the predicate index with the values that matter. `columns`: the stored columns.
    `anchors`: what the values are made of that terms stand beside.
    """

    segments: list[tree.Definition]
    roots: list[tuple[int, bool] | None] = field(default_factory=list)
    linears: list[Linear] = field(default_factory=list)
    registers: list[Register] = field(default_factory=list)
    bags: list[Bag] = field(default_factory=list)
    signals: list[Signal] = field(default_factory=list)
    code_columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    columns: dict[str, Type] = field(default_factory=dict)
    anchors: dict[tree.Scalar, Anchor] = field(default_factory=dict)
    #: What `structure` has found: saved states ask for it again and again, and a plan does not change once it is made.
    made_structure: str = field(default="", repr=False, compare=False)

    @property
    def names(self) -> list[str]:
        return [segment.name for segment in self.segments]

    @property
    def cells(self) -> "list[Cell]":
        """All that terms feed."""
        return [*self.linears, *self.registers, *self.distincts, *self.bags]

    @property
    def distincts(self) -> list[Distinct]:
        """The sets of values that linear cells need, in order of first use."""
        return list(dict.fromkeys(values.of for cell in self.linears for values in cell.values))

    @property
    def digest(self) -> str:
        """Changes whenever the meaning of the set may have changed; stable across processes."""
        content = "\n".join(f"{name} {digest}" for name, digest in sorted(self.segment_digests().items()))
        return hashlib.sha256(f"{content}\n{sorted(self.columns.items())}".encode()).hexdigest()

    def segment_digests(self) -> dict[str, str]:
        """By segment name: the digest of its checked tree, so that spelling alone does not count."""
        return {s.name: hashlib.sha256(s.meaning.encode()).hexdigest() for s in self.segments}


def structure(plan: Plan) -> str:
    """A digest of the numbering of cells, signals and segments: what a saved state depends on."""
    if not plan.made_structure:
        plan.made_structure = _structure(plan)
    return plan.made_structure


def _structure(plan: Plan) -> str:
    cells = (plan.linears, plan.registers, plan.bags)
    parts: tuple[object, ...] = (plan.names, plan.roots, *cells, plan.signals, plan.code_columns, plan.columns)
    if plan.anchors:
        parts = (*parts, plan.anchors)
    text = repr(parts)
    if "zone='" in text:  # what was counted depends on the zones' rules
        text += VERSION
    return hashlib.sha256(text.encode()).hexdigest()


def below(plan: Plan, signals: Iterable[int]) -> list[int]:
    """The signals and all that they are made of, in dependency order."""
    found: set[int] = set()
    todo = list(signals)
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            signal = plan.signals[number]
            if isinstance(signal, Gate):
                todo.extend(of for of, _ in signal.inputs)
    return sorted(found)


def fed_by(cell: Linear | Register | Bag) -> list[Term]:
    """All that feed it, those of its sets of values included."""
    sets = cell.values if isinstance(cell, Linear) else ()
    return [*cell.terms, *(term for values in sets for term in values.of.terms)]


def walk(node: tree.Expr) -> "Sequence[tree.Expr]":
    """The node and everything below it."""
    found: list[tree.Expr] = []
    todo: list[tree.Expr] = [node]
    while todo:
        node = todo.pop()
        found.append(node)
        todo.extend(children(node))
    return found


def walk_group(node: tree.Expr) -> Iterator[tree.Expr]:
    """The nodes above and including aggregates, not what is inside them."""
    yield node
    if not isinstance(node, tree.Aggregate):
        for child in children(node):
            yield from walk_group(child)


def children(node: tree.Expr) -> list[tree.Expr]:
    match node:
        case tree.Arithmetic() | tree.Compare():
            return [node.left, node.right]
        case tree.Coalesce() | tree.Function() | tree.And() | tree.Or():
            return list(node.args)
        case tree.IsNull() | tree.IsTrue() | tree.Not() | tree.Lower() | tree.Like() | tree.AtZone():
            return [node.arg]
        case tree.Trunc() | tree.Shift() | tree.Part():
            return [node.arg]
        case tree.In():
            return [node.arg, *node.values]
        case tree.Aggregate():
            return [part for part in (node.arg, node.filter) if part is not None]
    return []
