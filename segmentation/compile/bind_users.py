"""The table `users`: one row per user who is known, with the columns of his latest profile.

Its columns are one value per user, so they may stand anywhere: beside the columns of an event, under
an aggregate, in HAVING. Where one is calculated or compared with a column of an event, it is a value of the user
beside his events (tree.Scalar): they are looked at again whenever the profile changes.
"""

from collections.abc import Mapping
from typing import Any

from segmentation.compile import tree
from segmentation.compile.bind_shape import USER_ID
from segmentation.compile.bind_tables import USER, Users
from segmentation.compile.bind_time import Operand, Span
from segmentation.compile.plan import children, walk, walk_group
from segmentation.compile.problems import Position, Refused
from segmentation.compile.rebuild import mapped, of_profile
from segmentation.events.schema import EventColumn
from segmentation.types import BIGINT, BOOLEAN, Kind

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


def beside_events(node: tree.Expr, rows: bool = True) -> tree.Expr:
    """A condition, on events (`rows`) or on groups: where columns of both tables are compared or computed with, those
    of the profile as values of the user beside his events. Raises Refused for user_id and another column of users."""

    def exchange(part: Any) -> tree.Expr | None:
        parts = list(walk_group(part))
        column = next((each for each in parts if isinstance(each, tree.UserColumn)), None)
        own = next((each for each in parts if isinstance(each, tree.Column)), None)
        if column is None or not (own or (rows and any(isinstance(each, tree.Scalar) for each in parts))):
            return part  # type: ignore[no-any-return]
        if of_truths(part):
            return None
        if own is not None and own.name == USER_ID:
            raise Refused(column.at, f"user_id is compared with {column.name}.", "Compare each with a constant.")
        beside: tree.Expr = mapped(part, as_value)
        return beside

    result: tree.Expr = mapped(node, exchange)
    return result


def as_value(node: Any) -> tree.Expr | None:
    """A column of the profile, as it stands beside the columns of an event."""
    if isinstance(node, tree.Scalar | tree.Aggregate):
        return node
    return tree.Scalar(node, node.type, at=node.at) if isinstance(node, tree.UserColumn) else None


def of_truths(node: tree.Expr) -> bool:
    """Whether it is made of conditions, which may each be of one table."""
    if isinstance(node, tree.IsNull | tree.Compare | tree.Coalesce | tree.In):
        return children(node)[0].type.kind is Kind.BOOLEAN
    return isinstance(node, tree.And | tree.Or | tree.Not | tree.IsTrue)


def aggregated(
    function: str, arg: tree.Expr, condition: tree.Expr | None, distinct: bool, at: Position
) -> tree.Expr | None:
    """An aggregate of a value that is the same in all of the user's rows, without aggregating it. None: it is none.
    Raises Refused."""
    column = next((part for part in walk(arg) if isinstance(part, tree.UserColumn | tree.Band)), None)
    if column is None:
        return None
    if isinstance(column, tree.Band):
        return _of_band(function, arg, condition, column, at)
    if any(isinstance(part, tree.Column | tree.Age) for part in walk(arg)):
        if (function != "count" or distinct) and function not in ("bool_or", "bool_and"):
            raise Refused(
                column.at, f"{column.name} is of the user's profile, and {function} has it in its argument: when it "
                "changes, every row does.",
                f"Aggregate first and compare then: max(amount) > 2 * max(u.{column.name}).",
            )
        type_ = BIGINT if function == "count" else BOOLEAN
        return tree.Aggregate(function, mapped(arg, as_value), condition, type_, at=at)
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


def _of_band(
    function: str, arg: tree.Expr, condition: tree.Expr | None, band: tree.Band, at: Position
) -> tree.Expr:
    """A user's rows have one band in common."""
    if function in _SAME and condition is None and arg == band:
        return arg
    raise Refused(
        at, f"band is one value per user, the same in all of his rows, and {function} of it is not supported.",
        "Compare the band itself: max(band) = '30-60'; or put the condition on it into FILTER.",
    )
