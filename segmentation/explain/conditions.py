"""A definition's condition as a tree, with what each part of it comes to for one user at one instant.

The tree has the definition's own shape: AND, OR, NOT, set operations, queries inside queries, down to single
comparisons, whose sides have values. A part is true, false, or NULL, which counts as not true. Values come from
`segmentation.reference_eval`, that is SQL read straight off the checked tree.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from segmentation.compile import tree, written
from segmentation.compile.anchors import scalars_in
from segmentation.compile.plan import walk_group
from segmentation.compile.rebuild import mapped
from segmentation.explain import words
from segmentation.explain.evidence import Counted, counted
from segmentation.reference_eval import group_value, is_in, passes, settled
from segmentation.reference_users import Event, Version, named
from segmentation.types import BIGINT, Kind, Type

#: What a part is: whether all of its parts must hold, or one of them; not its only part; whether the user is in what
#: its only part asks for, or in the segment that it stands for; or a single condition.
ALL, ANY, NOT, IN, SEGMENT, CONDITION = "all", "any", "not", "in", "segment", "condition"

_MET = "user_id IN (SELECT user_id FROM users)"


@dataclass(frozen=True, slots=True)
class Side:
    """Something that a condition looks at. value: as `segmentation.reference_eval` has it, None is NULL."""

    words: str
    sql: str
    value: Any
    type: Type
    constant: bool

    @property
    def text(self) -> str:
        return words.shown(self.value, self.type)


@dataclass(frozen=True, slots=True)
class Part:
    """holds: None for NULL. segment: of that kind, its name. Of conditions only: sides, which are what is compared and
    with what, where two sides are, else what the condition is made of; op: of a comparison; beside: the user's values
    beside which events stand; counted: the events that its aggregates count."""

    kind: str
    words: str
    sql: str
    holds: bool | None
    parts: tuple["Part", ...] = ()
    segment: str = ""
    op: str = ""
    sides: tuple[Side, ...] = ()
    beside: tuple[Side, ...] = ()
    counted: tuple[Counted, ...] = ()

    def walk(self) -> Iterator["Part"]:
        yield self
        for part in self.parts:
            yield from part.walk()


class Looking:
    """At one user: his events and versions of his profile, all of them known at t (µs). events_max: how many events
    are named for each aggregate; 0 also saves looking for them."""

    def __init__(self, user_id: str, known: Sequence[Event], t: int, events_max: int) -> None:
        self._user_id, self._known, self._t, self._most = user_id, known, t, events_max
        self._events = [each for each in known if not isinstance(each, Version)]

    def relation(self, query: tree.Relation) -> Part:
        holds, sql = is_in(query, self._known, self._t), written.relation(query)
        match query:
            case tree.SetOp(op="except", args=(first, *others)):
                parts = (self.relation(first), *(self._not(self.relation(other), "") for other in others))
                return Part(ALL, "all of", sql, holds, parts)
            case tree.SetOp(op=op, args=args):
                kind, said = (ANY, "one of") if op == "union" else (ALL, "all of")
                return Part(kind, said, sql, holds, tuple(map(self.relation, args)))
            case tree.Segment(name=name, query=of):
                return Part(SEGMENT, f"is in the segment {name}", sql, holds, (self.relation(of),), name)
            case tree.Select(where=where, having=having):
                return self._select(where, having, sql, holds)
            case tree.Everyone(having=having):
                met = Part(CONDITION, "is a known user, by an event or a profile", _MET, bool(self._known))
                if having is None:
                    return met
                part = self._expression(having, self._events, None)
                return part if self._known else Part(ALL, "all of", sql, holds, (met, part))
        raise TypeError(f"no such relation: {query}")

    def _select(self, where: tree.Expr | None, having: tree.Expr | None, sql: str, holds: bool) -> Part:
        looked = settled(where, self._known, self._t)
        rows = [event for event in self._events if passes(looked, event, self._t)]
        number = tree.Aggregate("count", None, where, BIGINT)
        has = self._comparison(tree.Compare(">=", number, tree.Literal(1, BIGINT)), self._events, None)
        has = replace(has, words="has an event" + ("" if where is None else f" where {words.condition(where)}"))
        if having is None:
            return has
        part = self._expression(having, rows, where)
        if where is None and self._events:
            return part
        if part.kind == ALL:
            return replace(part, sql=sql, holds=holds, parts=(has, *part.parts))
        return Part(ALL, "all of", sql, holds, (has, part))

    def _expression(self, node: tree.Expr, rows: Sequence[Event], where: tree.Expr | None) -> Part:
        """where: what is true of all `rows`, to be said of each aggregate over them."""
        match node:
            case tree.And(args) | tree.Or(args):
                kind, said = (ALL, "all of") if isinstance(node, tree.And) else (ANY, "one of")
                parts: list[Part] = []
                for arg in args:
                    part = self._expression(arg, rows, where)
                    parts += part.parts if part.kind == kind else (part,)
                return Part(kind, said, self._sql(node, where), self._value(node, rows), tuple(parts))
            case tree.Not(arg) if isinstance(arg, tree.And | tree.Or | tree.Not | tree.Member):
                return self._not(self._expression(arg, rows, where), self._sql(node, where))
            case tree.Member(relation=of):
                part = self.relation(of)
                if part.kind == SEGMENT:
                    return part
                return Part(IN, "is among the users of", self._sql(node, where), part.holds, (part,))
            case tree.Compare():
                return self._comparison(node, rows, where)
        return self._condition(node, rows, where)

    @staticmethod
    def _not(part: Part, sql: str) -> Part:
        holds = None if part.holds is None else not part.holds
        return Part(NOT, "not", sql or f"NOT ({part.sql})", holds, (part,))

    def _comparison(self, node: tree.Compare, rows: Sequence[Event], where: tree.Expr | None) -> Part:
        sides = tuple(self._side(side, rows, where) for side in (node.left, node.right))
        return replace(self._condition(node, rows, where), op=node.op, sides=sides)

    def _condition(self, node: tree.Expr, rows: Sequence[Event], where: tree.Expr | None) -> Part:
        made_of = list(dict.fromkeys(walk_group(node)))
        aggregates = [part for part in made_of if isinstance(part, tree.Aggregate)]
        columns = [part for part in made_of if isinstance(part, tree.UserColumn)]
        return Part(
            CONDITION, words.condition(_over(node, where)), self._sql(node, where), self._value(node, rows),
            sides=tuple(self._side(part, rows, where) for part in aggregates + columns),
            beside=tuple(self._side(scalar, rows, None) for scalar in self._scalars(node, where)),
            counted=tuple(
                counted(aggregate, _over(aggregate, where), rows, self._known, self._t, self._most)
                for aggregate in aggregates if self._most
            ),
        )  # fmt: skip

    def _scalars(self, node: tree.Expr, where: tree.Expr | None) -> list[tree.Scalar]:
        found = [scalar for part in (node, where) if part is not None for scalar in scalars_in(part)]
        return [scalar for scalar in dict.fromkeys(found) if not isinstance(scalar.value, tree.Literal)]

    def _side(self, node: tree.Expr, rows: Sequence[Event], where: tree.Expr | None) -> Side:
        over = _over(node, where)
        parts = list(walk_group(node))
        constant = not any(isinstance(p, tree.Aggregate | tree.UserColumn | tree.Column | tree.Scalar) for p in parts)
        said = words.condition(over) if node.type.kind is Kind.BOOLEAN else words.value(over)
        return Side(said, written.bare(written.expression(over)), self._value(node, rows), node.type, constant)

    def _value(self, node: tree.Expr, rows: Sequence[Event]) -> Any:
        return group_value(named(settled(node, self._known, self._t), self._user_id), rows, self._t)

    def _sql(self, node: tree.Expr, where: tree.Expr | None) -> str:
        return written.bare(written.expression(_over(node, where)))


def _over(node: Any, where: tree.Expr | None) -> Any:
    """With what is true of all rows written into the filter of each aggregate."""
    if where is None:
        return node

    def exchange(part: Any) -> tree.Expr | None:
        if isinstance(part, tree.Scalar):
            return part
        if not isinstance(part, tree.Aggregate):
            return None
        return replace(part, filter=where if part.filter is None else tree.And((where, part.filter)))

    return mapped(node, exchange)
