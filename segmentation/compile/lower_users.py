"""Conditions on profiles as cells: what the latest version says is a register, set by versions alone.

A condition on columns of `users` alone is the same for all rows of a user. In a condition on rows it becomes
membership in the query of the users for whom it is true; of a user it is a register with its truth. Where
a column's value is compared with aggregates, its value is one register, and whether that is NULL another.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from segmentation.compile import tree
from segmentation.compile.cells import Cells
from segmentation.compile.forms import TRUE, canonical, two_valued
from segmentation.compile.plan import (
    LatestSource,
    ProfileTerm,
    Register,
    Source,
    Term,
    profile_column,
    walk,
    walk_group,
)
from segmentation.compile.problems import Refused
from segmentation.compile.rebuild import has_profile, mapped, of_profile
from segmentation.evaluate.environments import NoEvents
from segmentation.evaluate.vector import evaluate
from segmentation.types import BOOLEAN, Kind, Type

#: The name, in formulas, of what a register has of the latest profile.
LATEST = "latest"


def without_profile(query: tree.Select | tree.Everyone) -> tree.Select | tree.Everyone:
    """The conditions on rows, those in FILTER too, with membership in place of conditions on profiles."""
    having = mapped(query.having, _filtered)
    if isinstance(query, tree.Everyone):
        return tree.Everyone(having, at=query.at)
    return tree.Select(None if query.where is None else _of_rows(query.where), having, at=query.at)


def _of_rows(condition: tree.Expr) -> tree.Expr:
    """With values of the user beside rows, of which aggregates have such conditions too."""
    return _asked(two_valued(mapped(condition, _filtered))) if has_profile(condition) else condition


def _filtered(node: Any) -> tree.Expr | None:
    if not isinstance(node, tree.Aggregate) or not has_profile(node):
        return None
    filter_ = None if node.filter is None else _of_rows(node.filter)
    return replace(node, arg=mapped(node.arg, _filtered), filter=filter_)


def _asked(node: tree.Expr) -> tree.Expr:
    """`node` is a result of `form`, whose atoms are read as "is true"."""
    if isinstance(node, tree.Member) or not has_profile(node):
        return node
    if of_profile(node):
        return tree.Member(tree.Everyone(canonical(node), at=node.at), at=node.at)
    match node:
        case tree.And(args):
            return tree.And(tuple(map(_asked, args)), at=node.at)
        case tree.Or(args):
            return tree.Or(tuple(map(_asked, args)), at=node.at)
    return node  # a Member in Not(IsTrue(...))


def whoever(node: Any) -> tree.Expr | None:
    """Takes a user to be in, or not in, a relation, and his profile to be, whatever makes a result of `form` true."""
    if isinstance(node, tree.And | tree.Or | tree.Literal) or not isinstance(node, tree.Node):
        return None
    asks = isinstance(node, tree.Member)
    if isinstance(node, tree.Not) and isinstance(node.arg, tree.IsTrue):
        asks = isinstance(node.arg.arg, tree.Member)
    return TRUE if asks or any(isinstance(part, tree.UserColumn) for part in walk_group(node)) else None


def truth_of(node: tree.Expr, cells: Cells) -> tuple[tree.Expr, tuple[tuple[tree.Aggregate, Source], ...]] | bool:
    """A condition on a profile alone, a result of `form`: the condition of a formula, and its sources. Of a user
    without a profile all columns are NULL. A constant where no profile makes a difference."""
    node = canonical(node)
    if not any(isinstance(part, tree.UserColumn) for part in walk(node)):
        return bool(evaluate(node, NoEvents()).truth(1)[0])
    latest = _latest(tree.IsTrue(node), BOOLEAN)
    source = Source(register=_register(latest, cells))
    empty = mapped(node, lambda part: tree.Literal(None, part.type) if isinstance(part, tree.UserColumn) else None)
    without = bool(evaluate(empty, NoEvents()).truth(1)[0])
    return tree.Coalesce((latest, TRUE), BOOLEAN) if without else latest, ((latest, source),)


def value_of(column: tree.UserColumn, cells: Cells) -> tuple[tree.Aggregate, Source]:
    """The column of the latest profile, as an aggregate in a formula, and its source."""
    latest = _latest(column, column.type)
    filled = _latest(tree.Coalesce((column, _nothing(column.type)), column.type), column.type)
    null = _latest(tree.IsNull(column), BOOLEAN)
    return latest, LatestSource(register=_register(filled, cells), null=_register(null, cells))


def with_latest(node: tree.Expr, columns: Mapping[tree.UserColumn, tree.Aggregate]) -> tree.Expr:
    """A group expression with what `value_of` gives in place of columns of users; aggregates stay as they are."""

    def latest(part: Any) -> tree.Expr | None:
        if isinstance(part, tree.Aggregate):
            return part
        return columns[part] if isinstance(part, tree.UserColumn) else None

    result: tree.Expr = mapped(node, latest)
    return result


def user_terms(condition: tree.Expr) -> list[Term]:
    """What a user who is known at all has: events, or versions of a profile, for which a condition on user_id holds."""
    return [Term(None, (), condition), ProfileTerm(None, (), condition)]


def of_user_id(node: tree.Expr) -> bool:
    """A condition on user_id alone."""
    parts = list(walk_group(node))
    column = next((part for part in parts if isinstance(part, tree.Column)), None)
    if column is None:
        return False
    if any(isinstance(part, tree.UserColumn) for part in parts):
        raise Refused(
            column.at, "user_id is compared with a column of users.", "Compare it with a constant.",
        )
    if any(isinstance(part, tree.Aggregate) for part in parts):
        raise Refused(
            column.at, "user_id is compared with an aggregate.",
            "Compare it with a constant; values of one event are compared in WHERE.",
        )
    return True


def _latest(arg: tree.Expr, type_: Type) -> tree.Aggregate:
    def renamed(part: Any) -> tree.Expr | None:
        return tree.Column(profile_column(part.name), part.type) if isinstance(part, tree.UserColumn) else None

    return tree.Aggregate(LATEST, mapped(arg, renamed), None, type_)


def _register(latest: tree.Aggregate, cells: Cells) -> int:
    """Its argument is never NULL: a register skips NULLs."""
    return cells.register(Register("arg_max", (ProfileTerm(latest.arg),), latest.type))


def _nothing(type_: Type) -> tree.Literal:
    """Some value of the type."""
    match type_.kind:
        case Kind.TEXT:
            return tree.Literal("", type_)
        case Kind.BOOLEAN:
            return tree.Literal(False, type_)
        case Kind.DOUBLE:
            return tree.Literal(0.0, type_)
        case Kind.NUMERIC:
            return tree.Literal(Decimal((0, (0,), -type_.scale)), type_)
    return tree.Literal(0, type_)
