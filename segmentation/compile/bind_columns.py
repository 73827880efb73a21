"""Columns: what a name stands for, where an expression of this kind may have it."""

from sqlglot import exp

from segmentation.compile import tree
from segmentation.compile.bind_shape import Place, bare, place_of
from segmentation.compile.bind_tables import Found, Item, Rows, Scope, Users
from segmentation.compile.bind_time import Operand
from segmentation.compile.bind_users import per_user
from segmentation.compile.bind_values import beside, may_lack_events, or_null
from segmentation.compile.problems import Position, Refused
from segmentation.events.schema import FIXED


def column(scope: Scope, node: exp.Column, place: Place) -> Operand:
    """Raises Refused."""
    found, at = scope.find(node), place_of(node)
    if found.outer:
        if found.is_user and scope.tied and found.item.join != "left":
            return found.operand
        if scope.tied and not found.is_user and isinstance(found.item.table, Users):
            value = _value(scope.outer or scope, found, found.item.table, at)
            return value if per_user(value) else beside(value, at)
        raise _outside(found, at)
    if scope.optional is not None and place in (Place.HAVING, Place.ARGUMENT, Place.FILTER):
        if found.item is scope.optional:
            return _of_group(found, place, at)
        if found.is_user and place.in_aggregate:
            e = scope.optional.name or "e"
            raise Refused(
                at, f"{found.item.name or 'This'}.user_id is there also for a user without events, for whom the LEFT "
                "JOIN has one row.",
                f"Write {e}.user_id, which is of the events; count(*) counts that row, too.",
            )
    latest = per_user(found.operand) and not isinstance(found.operand, tree.Band)
    values = isinstance(found.item.table, Users) and not found.is_user and not latest
    if found.item.join == "left" and not values:
        name = f"{found.item.name}.{found.name}" if found.item.name else found.name
        remedy = "Ask only whether it is missing: ... user_id IS NULL. Or write JOIN instead of LEFT JOIN."
        if isinstance(found.item.table, Rows):
            remedy = "Put the condition into ON, or write JOIN instead of LEFT JOIN."
            if scope.optional is None:
                remedy = f"{remedy[:-1]}, or ask whether there is none: {found.item.name or 'e'}.event_id IS NULL."
        raise Refused(at, f"{name} is NULL for users that the LEFT JOIN does not find.", remedy)
    if found.is_user:
        return found.operand
    if per_user(found.operand) and found.item.join != "left" and (not scope.grouped or place.in_aggregate):
        return found.operand
    if isinstance(found.item.table, Users):
        return _of_users(scope, found, found.item.table, place, at)
    return _of_group(found, place, at)


def _of_group(found: Found, place: Place, at: Position) -> Operand:
    """A column of the events that the groups are of."""
    if place is Place.HAVING:
        name = found.name
        raise Refused(
            at,
            f"The column {name} has many values per user, so HAVING needs an aggregate of it.",
            f"Write max({name}), arg_max({name}, event_time), or count(*) FILTER (WHERE {name} ...).",
        )
    return found.operand


def missing(scope: Scope, node: exp.Expr) -> Item | None:
    """The table of a LEFT JOIN, where `node` is its user_id, or what else each event has."""
    inner = bare(node)
    if not isinstance(inner, exp.Column) or isinstance(inner.this, exp.Star):
        return None
    found = scope.find(inner)
    there = isinstance(found.operand, tree.Column) and found.operand.name in FIXED
    asked = found.item.join == "left" and (found.is_user or there) and not found.outer and not scope.grouped
    return found.item if asked and found.item is not scope.optional else None


def _of_users(scope: Scope, found: Found, table: Users, place: Place, at: Position) -> Operand:
    """A value of the user, which beside events is the same for all of them."""
    if scope.grouped and not place.in_aggregate and found.operand not in scope.grouped_by:
        full = f"{found.item.name}.{found.name}" if found.item.name else found.name
        remedy = f"Write max({full}), or GROUP BY user_id, {full}."
        if place is Place.USERS and not per_user(found.operand):
            remedy = "Leave GROUP BY out and put the condition into WHERE: there is one row per user already."
        raise Refused(at, f"The column {found.name} is not in GROUP BY.", remedy)
    value = _value(scope, found, table, at)
    return value if place is Place.USERS or per_user(value) else beside(value, at)


def _value(scope: Scope, found: Found, table: Users, at: Position) -> Operand:
    if found.item.join != "left":
        return found.operand
    return or_null(found.operand, table, at, may_lack_events(scope))


def _outside(found: Found, at: Position) -> Refused:
    if found.is_user:
        reason = "The query inside does not say that its user is the one outside."
        return Refused(at, reason, f"Add AND e.user_id = {found.item.name or 'outer'}.user_id to its WHERE.")
    return Refused(
        at, f"The column {found.name} is one of the query outside: rows of events are not compared with each other.",
        "Compare only user_id with the query outside; in EXISTS over events also one value, by < <= > or >=.",
    )
