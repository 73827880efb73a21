"""Values of the user beside rows of events: `event_time < (SELECT min(...) ...)`.

Such a value, a tree.Scalar, is an aggregate like any other and has cells of its own. What it is
compared with are rows that must be kept, since they count or not as the value moves: terms say so
in `beside`. In a condition on groups it is one aggregate among the others.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from segmentation.compile import tree
from segmentation.compile.forms import conjunction
from segmentation.compile.plan import children, walk
from segmentation.compile.rebuild import mapped


def scalars_in(condition: tree.Expr | None) -> list[tree.Scalar]:
    """The values of the user that a condition on rows asks for, each once, but not those inside them."""
    found = [] if condition is None else [part for part in walk(condition) if isinstance(part, tree.Scalar)]
    return list(dict.fromkeys(found))


def beside_values(condition: tree.Expr) -> tuple[tree.Expr, tree.Expr | None]:
    """(what looks at the row alone, what looks at values of the user too) of a two-valued condition on rows."""
    pieces = condition.args if isinstance(condition, tree.And) else (condition,)
    beside = [piece for piece in pieces if scalars_in(piece)]
    if not beside:
        return condition, None
    return conjunction([piece for piece in pieces if piece not in beside]), conjunction(beside)


def own(node: tree.Expr) -> Iterator[tree.Expr]:
    """The nodes of a group expression, down to aggregates and Scalars."""
    yield node
    if not isinstance(node, tree.Aggregate):
        for child in children(node):
            yield from own(child)


def over_all(having: tree.Expr, where: tree.Expr | None) -> tree.Expr:
    """A group expression over the events for which `where` is true, as one over all the user's, without Scalars."""

    def exchange(part: Any) -> tree.Expr | None:
        if isinstance(part, tree.Scalar):
            return over_all(part.value, None)
        if not isinstance(part, tree.Aggregate):
            return None
        if where is None:
            return part
        return replace(part, filter=where if part.filter is None else tree.And((where, part.filter), at=part.filter.at))

    result: tree.Expr = mapped(having, exchange)
    return result
