"""Columns: what a name stands for, where an expression of this kind may have it."""

from sqlglot import exp

from segmentation.compile.bind_shape import Place, bare, place_of
from segmentation.compile.bind_tables import Found, Item, Scope, Users
from segmentation.compile.bind_time import Operand
from segmentation.compile.bind_users import per_user
from segmentation.compile.problems import Position, Refused


def column(scope: Scope, node: exp.Column, place: Place) -> Operand:
    """Raises Refused."""
    found, at = scope.find(node), place_of(node)
    if found.outer:
        if found.is_user and scope.tied and found.item.join != "left":
            return found.operand
        raise _outside(found, at)
    if found.item.join == "left":
        name = f"{found.item.name}.{found.name}" if found.item.name else found.name
        remedy = "Ask only whether it is missing: ... user_id IS NULL. Or write JOIN instead of LEFT JOIN."
        raise Refused(at, f"{name} is NULL for users that the LEFT JOIN does not find.", remedy)
    if found.is_user:
        return found.operand
    if per_user(found.operand) and (not scope.grouped or place.in_aggregate):
        return found.operand
    if isinstance(found.item.table, Users):
        return _of_users(scope, found, place, at)
    if place is Place.HAVING:
        name = found.name
        raise Refused(
            at,
            f"The column {name} has many values per user, so HAVING needs an aggregate of it.",
            f"Write max({name}), arg_max({name}, event_time), or count(*) FILTER (WHERE {name} ...).",
        )
    return found.operand


def missing(scope: Scope, node: exp.Expr) -> Item | None:
    """The table of a LEFT JOIN, where `node` is its user_id."""
    inner = bare(node)
    if not isinstance(inner, exp.Column) or isinstance(inner.this, exp.Star):
        return None
    found = scope.find(inner)
    asked = found.item.join == "left" and found.is_user and not found.outer and not scope.grouped
    return found.item if asked else None


def _of_users(scope: Scope, found: Found, place: Place, at: Position) -> Operand:
    if scope.grouped and per_user(found.operand):
        if found.operand in scope.grouped_by:
            return found.operand
        name = found.item.name
        full = f"{name}.{found.name}" if name else found.name
        remedy = f"Write max({full}), or GROUP BY user_id, {full}."
        raise Refused(at, f"The column {found.name} is not in GROUP BY.", remedy)
    if place is not Place.USERS:
        raise Refused(
            at, f"{found.name} is one value per user, and stands beside events, of which there are many.",
            "Aggregate the events in a query of their own, and join the two.",
        )
    if scope.grouped:
        raise Refused(
            at, f"The column {found.name} is not in GROUP BY.",
            "Leave GROUP BY out and put the condition into WHERE: there is one row per user already.",
        )
    return found.operand


def _outside(found: Found, at: Position) -> Refused:
    if found.is_user:
        reason = "The query inside does not say that its user is the one outside."
        return Refused(at, reason, f"Add AND e.user_id = {found.item.name or 'outer'}.user_id to its WHERE.")
    return Refused(
        at, f"The column {found.name} is one of the query outside: rows of events are not compared with each other.",
        "Compare only user_id with the query outside.",
    )
