"""A definition's truth for one user at one instant, computed afresh from that user's events.

This is SQL's three-valued logic read straight off the checked tree, with no care for speed. Numbers
of the exact family are int or Fraction and never rounded; an operation of which one side is double
is done in float, its exact side rounded once. NULL is None.
"""

import operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, isfinite
from typing import Any

from segmentation.compile.rebuild import decided, mapped
from segmentation.compile.tree import (
    Age,
    Aggregate,
    And,
    Arithmetic,
    AtZone,
    Coalesce,
    Column,
    Compare,
    Definition,
    Everyone,
    Expr,
    Function,
    In,
    IsNull,
    IsTrue,
    Like,
    Literal,
    Lower,
    Member,
    Not,
    Now,
    Or,
    Part,
    Relation,
    Scalar,
    Segment,
    Select,
    SetOp,
    Shift,
    Trunc,
    UserColumn,
)
from segmentation.mathematics import calculated
from segmentation.reference_time import worked_out
from segmentation.reference_users import Event, Version, filled, latest, named
from segmentation.text import like, simple_lower
from segmentation.types import DOUBLE, Kind, Type

#: What an expression may come to. Any, because operators are applied within one family only.
Result = Any

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def is_member(definition: Definition, events: Sequence[Event], t: int) -> bool:
    """Whether the user of these events, and versions of his profile, all known at t (µs), is in the segment at t."""
    return _is_in(definition.query, events, t)


def _is_in(relation: Relation, events: Sequence[Event], t: int) -> bool:
    match relation:
        case SetOp(op="union", args=args):
            return any(_is_in(arg, events, t) for arg in args)
        case SetOp(op="intersect", args=args):
            return all(_is_in(arg, events, t) for arg in args)
        case SetOp(op="except", args=(first, *others)):
            return _is_in(first, events, t) and not any(_is_in(other, events, t) for other in others)
        case Segment(query=query):
            return _is_in(query, events, t)
        case Select(where=where, having=having):
            where, having = (_settled(part, events, t) for part in (where, having))
            rows = [each for each in events if not isinstance(each, Version) and _passes(where, each, t)]
            return bool(rows) and (having is None or _group(having, rows, t) is True)
        case Everyone(having=having):
            if not events:
                return False
            having = named(_settled(having, events, t), events[0].user_id)
            rows = [each for each in events if not isinstance(each, Version)]
            return having is None or _group(having, rows, t) is True
    raise TypeError(f"no such relation: {relation}")


def _settled(condition: Expr | None, events: Sequence[Event], t: int) -> Expr | None:
    """With what is the same for all rows of the user written in: other relations' answers, his profile, and values
    over all of his events."""
    settled, kinds = condition, _same_for_each_row(condition)
    if Member in kinds:
        settled = decided(settled, lambda asked: _is_in(asked.relation, events, t))
    if UserColumn in kinds:
        settled = filled(settled, latest(events))
    if Scalar in kinds:
        settled = _beside(settled, [each for each in events if not isinstance(each, Version)], t)
    return settled


#: By identity of a condition, which is kept: what kinds of nodes are in it whose value is the same for all rows?
_SAME: dict[int, tuple[Expr, set[type]]] = {}


def _same_for_each_row(condition: Expr | None) -> set[type]:
    """Which of what `_settled` writes in is in it: nothing in most conditions, and it is asked at every instant."""
    if condition is None:
        return set()
    if id(condition) not in _SAME:
        if len(_SAME) >= 10_000:
            _SAME.clear()
        found: set[type] = set()

        def look(part: Any) -> None:
            if isinstance(part, Member | UserColumn | Scalar):
                found.add(type(part))

        mapped(condition, look)
        _SAME[id(condition)] = (condition, found)
    return _SAME[id(condition)][1]


def _beside(node: Expr | None, events: Sequence[Event], t: int) -> Expr | None:
    """`node` with the values of Scalars written in, the innermost first."""

    def exchange(part: Any) -> Expr | None:
        if not isinstance(part, Scalar):
            return None
        value = _beside(part.value, events, t)
        assert value is not None
        return Literal(_group(value, events, t), part.type, at=part.at)

    result: Expr | None = mapped(node, exchange)
    return result


def _passes(condition: Expr | None, event: Event, t: int) -> bool:
    return condition is None or _row(condition, event, t) is True


def _row(expr: Expr, event: Event, t: int) -> Result:
    """A row expression: WHERE, FILTER or an aggregate's argument."""
    match expr:
        case Column(name=name, type=type_):
            return _of_type(event.column(name), type_)
        case Age(op=op, micros=micros):
            return COMPARE[op](event.time, t - micros)
        case Now(offset=offset):
            return t + offset
        case Aggregate():
            raise TypeError(f"not a row expression: {expr}")
    return _scalar(expr, lambda part: _row(part, event, t))


def _group(expr: Expr, rows: Sequence[Event], t: int) -> Result:
    """A group expression: HAVING."""
    match expr:
        case Aggregate():
            return _aggregate(expr, rows, t)
        case Now(offset=offset):
            return t + offset
        case Column(name="user_id"):
            return rows[0].user_id
        case Column() | Age():
            raise TypeError(f"not a group expression: {expr}")
    return _scalar(expr, lambda part: _group(part, rows, t))


def _aggregate(expr: Aggregate, rows: Sequence[Event], t: int) -> Result:
    counted = [event for event in rows if _passes(expr.filter, event, t)]
    if expr.arg is None:
        return len(counted)
    pairs = [(_row(expr.arg, event, t), event) for event in counted]
    pairs = [(value, event) for value, event in pairs if value is not None]
    values = [value for value, _ in pairs]
    if expr.distinct:
        values = list(dict.fromkeys(values))
    if expr.function == "count":
        return len(values)
    if not values:
        return None
    match expr.function:
        case "min":
            return min(values)
        case "max":
            return max(values)
        case "arg_min":
            return min(pairs, key=_place)[0]
        case "arg_max":
            return max(pairs, key=_place)[0]
        case "bool_or":
            return any(values)
        case "bool_and":
            return all(values)
        case "mode":
            return _mode(sorted(pairs, key=_place))
    if not expr.arg.type.exact:
        raise TypeError(f"{expr.function} over {expr.arg.type} depends on the order of addition")
    if expr.function == "sum":
        return sum(values)
    if expr.function == "avg":
        return Fraction(sum(values), len(values))
    raise TypeError(f"no such aggregate: {expr.function}")


def _place(pair: tuple[Result, Event]) -> tuple[int, str]:
    return pair[1].time, pair[1].event_id


def _mode(pairs: Sequence[tuple[Result, Event]]) -> Result:
    """Of rows in order: the most frequent value; the first of several to occur."""
    times: dict[Result, int] = {}
    for value, _ in pairs:
        times[value] = times.get(value, 0) + 1
    return max(times, key=times.__getitem__)  # dicts keep their order, max takes the first


def _scalar(expr: Expr, of: Callable[[Expr], Result]) -> Result:
    """What rows and groups have in common; `of` gives the parts."""
    match expr:
        case Literal(value=value, type=type_):
            return _of_type(value, type_)
        case Arithmetic(op=op, left=left, right=right, type=type_):
            return _arithmetic(op, of(left), of(right), type_)
        case Compare(op=op, left=left, right=right):
            a, b = of(left), of(right)
            if a is None or b is None:
                return None
            if DOUBLE in (left.type, right.type):
                a, b = float(a), float(b)
            return COMPARE[op](a, b)
        case And(args=args):
            return _and([of(arg) for arg in args])
        case Or(args=args):
            return _not(_and([_not(of(arg)) for arg in args]))
        case Not(arg=arg):
            return _not(of(arg))
        case IsNull(arg=arg):
            return of(arg) is None
        case IsTrue(arg=arg):
            return of(arg) is True
        case In(arg=arg, values=values):
            return _in(expr, of(arg), [_of_type(literal.value, literal.type) for literal in values])
        case Coalesce(args=args, type=type_):
            return _of_type(next((value for value in map(of, args) if value is not None), None), type_)
        case Function(name=name, args=args, type=type_):
            return _function(name, list(map(of, args)), type_)
        case AtZone(arg=arg) | Trunc(arg=arg) | Shift(arg=arg) | Part(arg=arg):
            time = of(arg)
            return None if time is None else worked_out(expr, time)
        case Lower(arg=arg):
            text = of(arg)
            return None if text is None else simple_lower(text)
        case Like(arg=arg, pattern=pattern, escape=escape, insensitive=insensitive):
            text = of(arg)
            return None if text is None else like(pattern, escape, insensitive)(text)
    raise TypeError(f"no such expression: {expr}")


def _of_type(value: Result, type_: Type) -> Result:
    if value is None:
        return None
    if type_.kind is Kind.DOUBLE:
        return float(value)
    return _fraction(value) if isinstance(value, Decimal) else value


@lru_cache(maxsize=4096)
def _fraction(value: Decimal) -> Fraction:
    """The same constants are asked for at every instant."""
    return Fraction(value)


def _arithmetic(op: str, a: Result, b: Result, type_: Type) -> Result:
    if a is None or b is None:
        return None
    if type_.kind is Kind.DOUBLE:
        a, b = float(a), float(b)
    match op:
        case "+":
            return a + b
        case "-":
            return a - b
        case "*":
            return a * b
        case "/":
            if b == 0:
                return None
            return a / b if type_.kind is Kind.DOUBLE else Fraction(a) / Fraction(b)
    raise TypeError(f"no such operator: {op}")


def _function(name: str, args: list[Result], type_: Type) -> Result:
    if name in ("least", "greatest"):
        some = [_of_type(arg, type_) for arg in args if arg is not None]
        return (min(some) if name == "least" else max(some)) if some else None
    if None in args:
        return None
    match name:
        case "abs":
            return abs(args[0])
        case "floor" | "ceil" if type_.kind is Kind.DOUBLE and not isfinite(args[0]):
            return args[0]
        case "floor":
            return _of_type(floor(args[0]), type_)
        case "ceil":
            return _of_type(ceil(args[0]), type_)
        case "round":
            return floor(abs(args[0]) + Fraction(1, 2)) * (-1 if args[0] < 0 else 1)
    return calculated(name, list(map(float, args)))


def _and(values: Sequence[bool | None]) -> bool | None:
    if any(value is False for value in values):
        return False
    return None if None in values else True


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


def _in(expr: In, value: Result, among: Sequence[Result]) -> bool | None:
    if value is None:
        return None
    double = DOUBLE in (expr.arg.type, *(literal.type for literal in expr.values))
    for other in among:
        if other is not None and (float(value) == float(other) if double else value == other):
            return True
    return None if None in among else False


#: For whoever looks at the parts of a condition: `segmentation.explain`.
is_in, settled, passes, row_value, group_value, place = _is_in, _settled, _passes, _row, _group, _place
