"""The table `users`: one row per user who is known, with the columns of his latest profile.

Its columns are one value per user, so they may stand anywhere: beside the columns of an event, under
an aggregate, in HAVING. What they may not is be calculated or compared with a column of an event: then each event
would have to be looked at again whenever the profile changes.
"""

from collections.abc import Mapping

from segmentation.compile import tree
from segmentation.compile.bind_shape import USER_ID
from segmentation.compile.bind_tables import USER, Users
from segmentation.compile.bind_time import Operand, Span
from segmentation.compile.plan import children, walk, walk_group
from segmentation.compile.problems import Position, Refused
from segmentation.compile.rebuild import of_profile
from segmentation.events.schema import EventColumn
from segmentation.types import BIGINT, Kind

_SAME = ("min", "max", "arg_min", "arg_max", "mode", "bool_or", "bool_and")


def users_table(columns: Mapping[str, EventColumn], at: Position) -> Users:
    found = {name: tree.UserColumn(name, column.type) for name, column in columns.items()}
    return Users(tree.Everyone(None, at=at), {USER_ID: USER, **found}, single=True)


def is_everyone(table: object) -> bool:
    """Whether no user who is known is missing in it."""
    return isinstance(table, Users) and table.relation == tree.Everyone(None)


def per_user(operand: Operand) -> bool:
    """A value of the latest profile, which is the same beside every event."""
    return not isinstance(operand, Span) and of_profile(operand)


def unmixed(node: tree.Expr, rows: bool = True) -> None:
    """Raises Refused where a condition compares or computes with columns of both tables, or with user_id and another
    column of users."""
    parts = list(walk_group(node))
    column = next((part for part in parts if isinstance(part, tree.UserColumn)), None)
    event = next((part for part in parts if isinstance(part, tree.Column)), None)
    value = next((part for part in parts if rows and isinstance(part, tree.Scalar)), None)
    if column is not None and value is not None and not _of_truths(node):
        raise Refused(
            column.at, f"{column.name} is of the user's profile, and is put together with a value over his events "
            "beside other events.",
            "Make it a condition of its own in WHERE, or in HAVING.",
        )
    if column is None or (event is None and value is None):
        return
    if event is not None and not _of_truths(node) and event.name == USER_ID:
        raise Refused(column.at, f"user_id is compared with {column.name}.", "Compare each with a constant.")
    if event is not None and not _of_truths(node):
        raise Refused(
            column.at, f"{column.name} is of the user's profile, and is put together with {event.name}, which each "
            "event has its own of.",
            f"Compare it with a constant, or in HAVING with an aggregate: sum(amount) > max(u.{column.name}).",
        )
    for part in children(node):
        unmixed(part, rows)


def _of_truths(node: tree.Expr) -> bool:
    """Whether it is made of conditions, which may each be of one table."""
    if isinstance(node, tree.IsNull | tree.Compare | tree.Coalesce | tree.In):
        return children(node)[0].type.kind is Kind.BOOLEAN
    return isinstance(node, tree.And | tree.Or | tree.Not | tree.IsTrue)


def aggregated(
    function: str, arg: tree.Expr, condition: tree.Expr | None, distinct: bool, at: Position
) -> tree.Expr | None:
    """An aggregate of a value that is the same in all of the user's rows, without aggregating it. None: it is none.
    Raises Refused."""
    column = next((part for part in walk(arg) if isinstance(part, tree.UserColumn)), None)
    if column is None:
        return None
    if any(isinstance(part, tree.Column | tree.Age) for part in walk(arg)):
        unmixed(tree.IsNull(arg))
        raise Refused(column.at, f"{column.name} is of the user's profile.", "Put the condition on it into FILTER.")
    if function == "count" and not distinct:
        there = tree.Not(tree.IsNull(arg, at=at), at=at)
        both = there if condition is None else tree.And((condition, there), at=at)
        return tree.Aggregate("count", None, both, BIGINT, at=at)
    if function not in _SAME or distinct:
        raise Refused(
            at, f"{column.name} is one value per user, and {function} would take it once for each event.",
            f"Compare the value itself: max(u.{column.name}).",
        )
    if condition is not None:
        raise Refused(
            at, f"{column.name} is one value per user, whatever FILTER leaves of the events.",
            "Leave FILTER out, and add count(*) FILTER (...) > 0.",
        )
    return arg
