"""Values of the user beside rows of events: what a query as a value gives, and the columns of a table of users.

Such a value is an aggregate over all events of the user, wherever it stands: tree.Scalar.
"""

from dataclasses import replace

from sqlglot import exp

from segmentation.compile import bind_band_column as band_column
from segmentation.compile import tree
from segmentation.compile.anchors import over_all, own
from segmentation.compile.bind_shape import place_of
from segmentation.compile.bind_tables import Scope, Users
from segmentation.compile.bind_time import Operand, Span, span
from segmentation.compile.bind_users import is_everyone
from segmentation.compile.problems import Position, Refused
from segmentation.compile.rebuild import has_profile
from segmentation.evaluate.environments import NoEvents
from segmentation.evaluate.vector import evaluate
from segmentation.types import BIGINT, Kind


def beside(operand: Operand, at: Position) -> Operand:
    """A value of the user, as it stands beside rows."""
    if not isinstance(operand, Span):
        return operand if isinstance(operand, tree.Literal) else tree.Scalar(operand, operand.type, at=at)
    plus, minus = (
        tuple(tree.Scalar(each, each.type, at=at) for each in part) for part in (operand.plus, operand.minus)
    )
    return replace(operand, plus=plus, minus=minus, at=at)


def selected(node: exp.Select) -> exp.Expr:
    """The one column of a query as a value. Raises Refused."""
    at = place_of(node)
    if len(node.expressions) != 1:
        remedy = "Write (SELECT min(e.event_time) FROM events e ...)."
        raise Refused(at, "A query as a value selects one column.", remedy)
    for name, clause in (("group", "GROUP BY"), ("having", "HAVING")):
        if (part := node.args.get(name)) is not None:
            raise Refused(
                place_of(part), f"{clause} in a query as a value decides whether there is a value at all.",
                "Leave it out: the query is of one user already." if name == "group"
                else "Leave it out, and put the condition beside the comparison, with AND.",
            )
    item: exp.Expr = node.expressions[0]
    inner: exp.Expr = item.this if isinstance(item, exp.Alias) else item
    return inner


def check_tied(node: exp.Select, tied: bool) -> None:
    """Refuses a query over all users."""
    if not tied:
        raise Refused(
            place_of(node), "This query is not tied to the user outside: its value would be one of all users together, "
            "and who is in a segment depends on the user's own events alone.",
            "Tie it, with two different table names: WHERE e.user_id = events.user_id. A value of all users is written "
            "as a number.",
        )  # fmt: skip


def check_aggregate(node: exp.Expr, operand: Operand) -> None:
    """Refuses a query over events whose column is no aggregate."""
    parts = (*operand.plus, *operand.minus) if isinstance(operand, Span) else (operand,)
    if not any(isinstance(each, tree.Aggregate) for part in parts for each in own(part)):
        raise several(node)


def several(node: exp.Expr) -> Refused:
    return Refused(
        place_of(node), "This query may give a value for each of many events.",
        "Write an aggregate: min(e.event_time), arg_max(e.region, e.event_time).",
    )


def may_lack_events(scope: Scope | None) -> bool:
    """Whether a row of these tables may be of a user who has a profile and no events."""
    inner = [] if scope is None else [item.table for item in scope.items if item.join != "left"]
    return bool(inner) and all(isinstance(table, Users) and has_profile(table.relation) for table in inner)


def or_null(operand: Operand, table: Users, at: Position, without_events: bool) -> Operand:
    """The value of a user who may be missing in the table: NULL then. without_events: he may have none.
    Raises Refused."""
    relation = table.relation
    if is_everyone(table):
        return operand
    if isinstance(operand, tree.Band) and relation == band_column.relation(operand, at):
        return replace(operand, certain=False)
    if not isinstance(relation, tree.Select) or relation.having is not None:
        raise Refused(
            at, "This value is NULL for users who are not in a query that asks for more than some of their events.",
            "Write JOIN instead of LEFT JOIN, or an aggregate over events with FILTER.",
        )
    where = relation.where
    if where is None and not without_events:  # every user with an event is in it
        return operand
    one = span(operand)
    if all(_null_without(part, where) for part in (*one.plus, *one.minus)) and (one.plus or one.minus):
        return operand
    if not isinstance(operand, Span) and operand.type.kind in (Kind.BIGINT, Kind.NUMERIC):
        nothing = tree.Aggregate("sum", tree.Literal(0, BIGINT, at=at), where, BIGINT, at=at)
        return tree.Arithmetic("+", operand, nothing, operand.type, at=at)
    raise Refused(
        at, "This value is not NULL for users without such events inside the query, and outside it is.",
        "Write an aggregate inside, and coalesce around it outside.",
    )


def _null_without(node: tree.Expr, where: tree.Expr | None) -> bool:
    """Whether the value is NULL for a user without events for which `where` is true."""
    wanted = set() if where is None else _parts(where)
    aggregates = [part for part in own(node) if isinstance(part, tree.Aggregate)]
    narrowed = all(wanted <= (set() if each.filter is None else _parts(each.filter)) for each in aggregates)
    value = evaluate(over_all(node, None), NoEvents())
    return narrowed and value.valid is not None and not value.valid.any()


def _parts(condition: tree.Expr) -> set[tree.Expr]:
    return set(condition.args) if isinstance(condition, tree.And) else {condition}
