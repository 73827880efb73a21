"""Aggregates over the events that a LEFT JOIN finds for users: `users u LEFT JOIN events e ON ... GROUP BY u.user_id`.

A user for whom it finds none has one row, in which all columns of events are NULL. Most aggregates pass over it, since
what they take is NULL there: they are those over the events that were found. What counts that row is worked
out so that it does, or refused.
"""

from dataclasses import replace
from typing import Any

from segmentation.compile import bind_conditions as conditions
from segmentation.compile import tree
from segmentation.compile.plan import children, walk
from segmentation.compile.problems import Refused
from segmentation.compile.rebuild import mapped
from segmentation.evaluate.environments import NoEvents
from segmentation.evaluate.vector import evaluate
from segmentation.events.schema import FIXED
from segmentation.types import BIGINT, BOOLEAN, Kind

_ANY = frozenset({True, False, None})
_MOVING = tree.Column | tree.UserColumn | tree.Age | tree.Now | tree.Aggregate | tree.Member | tree.Scalar
#: NULL as soon as one operand is.
_STRICT = (
    tree.Arithmetic, tree.Compare, tree.Lower, tree.Like, tree.In, tree.AtZone, tree.Trunc, tree.Shift, tree.Part,
)  # fmt: skip
_ONE = tree.Literal(1, BIGINT)


def with_missing(node: Any, found: tree.Expr | None) -> Any:
    """A group expression (or a tuple of them) over the joined rows, as one over all events of the user: `found` is
    true for those that the LEFT JOIN finds. Raises Refused."""

    def exchange(part: Any) -> tree.Expr | None:
        if isinstance(part, tree.Scalar):
            return part
        return _aggregate(part, found) if isinstance(part, tree.Aggregate) else None

    return mapped(node, exchange)


def _aggregate(node: tree.Aggregate, found: tree.Expr | None) -> tree.Expr:
    there = _narrowed(node, found)
    arg = None if node.arg is None else _empty(node.arg)
    passes = frozenset({True}) if node.filter is None else _truths(_empty(node.filter))
    if True not in passes or (arg is not None and _is_null(arg)):
        always = isinstance(node.arg, tree.Column) and node.arg.name in FIXED
        return replace(there, arg=None) if node.function == "count" and always and not node.distinct else there
    if passes != {True} or (arg is not None and not _fixed(arg)):
        raise Refused(
            node.at, f"Whether this {node.function} takes in the row of a user for whom the LEFT JOIN finds nothing "
            "depends on that user, or on the time.",
            "Put the condition into WHERE, or write count(e.event_id) FILTER (WHERE ...).",
        )
    if node.function == "count":
        # 1 for the row of a user without such events; with one it is 0 or less.
        others = tree.Aggregate("count", None, found, BIGINT, at=node.at)
        missing = _ONE if _counts_all(node) else tree.Arithmetic("-", _ONE, others, BIGINT, at=node.at)
        return tree.Function("greatest", (there, missing), BIGINT, at=node.at)
    if node.function in ("arg_min", "arg_max"):
        return there  # in the order of event_time, which is NULL there
    assert arg is not None
    if node.filter is None and _never_null(node.arg):
        if arg.type.kind is Kind.BOOLEAN:
            arg = tree.Literal(True in _truths(arg), BOOLEAN, at=arg.at)
        return conditions.coalesce((there, arg), node.at)
    raise Refused(
        node.at, f"This {node.function} has a value also for a user for whom the LEFT JOIN finds nothing.",
        f"Write it of the column alone, and coalesce around it: coalesce({node.function}(e.amount), 0).",
    )


def _narrowed(node: tree.Aggregate, found: tree.Expr | None) -> tree.Aggregate:
    if found is None:
        return node
    both = found if node.filter is None else conditions.conjunction((found, node.filter), node.filter.at)
    return replace(node, filter=both)


def _counts_all(node: tree.Aggregate) -> bool:
    """Whether it counts at least one row where there is one."""
    return node.filter is None and (node.arg is None or _never_null(node.arg))


def _empty(node: tree.Expr) -> tree.Expr:
    """As it stands beside columns of events that are all NULL."""

    def exchange(part: Any) -> tree.Expr | None:
        if isinstance(part, tree.Age | tree.Column):
            return tree.Literal(None, part.type, at=part.at)
        if isinstance(part, tree.Coalesce):
            kept = tuple(arg for arg in map(_empty, part.args) if not _is_null(arg))
            if not kept:
                return tree.Literal(None, part.type, at=part.at)
            same = isinstance(kept[0], tree.Literal) or len(kept) == 1
            return kept[0] if same else replace(part, args=kept)
        return part if isinstance(part, tree.Scalar) else None

    result: tree.Expr = mapped(node, exchange)
    return result


def _fixed(node: tree.Expr) -> bool:
    """A constant that is not NULL."""
    if any(isinstance(part, _MOVING) for part in walk(node)):
        return False
    value = evaluate(node, NoEvents())
    return value.valid is None or bool(value.valid.all())


def _is_null(node: tree.Expr) -> bool:
    """Whether it is NULL for certain."""
    match node:
        case tree.Literal():
            return node.value is None
        case tree.Coalesce(args):
            return all(map(_is_null, args))
        case tree.Function(name, args):
            return (all if name in ("least", "greatest") else any)(map(_is_null, args))
        case tree.In(arg):
            return _is_null(arg)
    if isinstance(node, _STRICT):
        return any(map(_is_null, children(node)))
    if node.type.kind is Kind.BOOLEAN:
        return _truths(node) == {None}
    return False


def _never_null(node: tree.Expr | None) -> bool:
    """Whether it cannot be NULL, whatever the events are."""
    match node:
        case tree.Literal():
            return node.value is not None
        case tree.Coalesce(args):
            return any(map(_never_null, args))
    return node is not None and node.type.kind is Kind.BOOLEAN and None not in _truths(node)


def _truths(node: tree.Expr) -> frozenset[bool | None]:
    """What a condition may come to."""
    match node:
        case tree.Literal():
            return frozenset({None if node.value is None else bool(node.value)})
        case tree.And(args) | tree.Or(args):
            each, decides = list(map(_truths, args)), isinstance(node, tree.Or)
            found: set[bool | None] = {decides} if any(decides in one for one in each) else set()
            if all((not decides) in one for one in each):
                found.add(not decides)
            if any(None in one for one in each) and all(one - {decides} for one in each):
                found.add(None)
            return frozenset(found)
        case tree.Not(arg):
            return frozenset(None if truth is None else not truth for truth in _truths(arg))
        case tree.IsTrue(arg):
            return frozenset(truth is True for truth in _truths(arg))
        case tree.IsNull(arg):
            if _is_null(arg):
                return frozenset({True})
            return frozenset({False}) if _never_null(arg) or _fixed(arg) else frozenset({True, False})
        case tree.Member():
            return frozenset({True, False})
    if isinstance(node, _STRICT) and _is_null(node):
        return frozenset({None})
    if any(isinstance(part, _MOVING) for part in walk(node)):
        return _ANY
    value = evaluate(node, NoEvents())
    if value.valid is not None and not value.valid.all():
        return frozenset({None})
    return frozenset({bool(value.truth(1)[0])})
