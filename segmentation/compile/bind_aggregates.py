"""Aggregates, each with its DISTINCT and FILTER: what they take, and of which type they are."""

from typing import TYPE_CHECKING

from sqlglot import exp

from segmentation.compile import tree
from segmentation.compile.anchors import scalars_in
from segmentation.compile.bind_band_column import has_band, without_bands
from segmentation.compile.bind_shape import Place, Reported, place_of
from segmentation.compile.bind_types import DIGITS_MAX, WORDS
from segmentation.compile.bind_users import aggregated, beside_events
from segmentation.compile.parse_expressions import arguments_of, function_of
from segmentation.compile.plan import walk
from segmentation.compile.problems import Position, Refused
from segmentation.types import BIGINT, RATIO, Kind, Type, numeric

if TYPE_CHECKING:
    from segmentation.compile.bind_expr import Binder

_AGGREGATES = {
    "count", "sum", "avg", "min", "max", "arg_min", "arg_max", "bool_or", "bool_and", "every", "mode",
}  # fmt: skip
_TRUTHS = ("bool_or", "bool_and", "every")
#: Where DISTINCT makes a difference.
_DISTINCT = ("count", "sum", "avg")
_ORDERED = (Kind.TEXT, Kind.BIGINT, Kind.NUMERIC, Kind.DOUBLE, Kind.TIMESTAMPTZ, Kind.INTERVAL)


def aggregate(binder: "Binder", call: exp.Expr, filtered: exp.Filter | None) -> tree.Expr:
    """`call`, with the condition of `filtered` where there is one. Raises Refused, or Reported."""
    at = place_of(call)
    if "name" in call.meta:  # FILTER behind a function that does not exist
        binder.bind(call)
    function = function_of(call)
    if function not in _AGGREGATES:
        raise Refused(at, "FILTER belongs to an aggregate.", "Write count(*) FILTER (WHERE ...).")
    given = arguments_of(call)
    distinct = bool(given) and isinstance(given[0], exp.Distinct)
    if distinct:
        given[:1] = given[0].expressions
    if binder.place is Place.WHERE:
        raise Refused(at, f"WHERE looks at one event, and {function} at many.", "Put the condition into HAVING.")
    if binder.place is Place.SELECT:
        raise Refused(at, f"{function} is of many events, so the query needs GROUP BY.", "Add GROUP BY user_id.")
    if binder.place is Place.USERS:
        raise Refused(
            at, f"There is one row per user here, and {function} needs events.",
            "Aggregate in the query inside, with a name: SELECT user_id, count(*) AS n FROM events GROUP BY user_id.",
        )
    if binder.place is not Place.HAVING:
        raise Refused(at, f"{function} stands inside another aggregate.", "Use one of them.")
    failed = False
    arg = condition = None
    try:
        binder.place = Place.ARGUMENT
        arg = _argument(binder, function, given, distinct, at)
        if arg is not None and arg.type.kind is Kind.BOOLEAN and has_band(arg):
            arg = without_bands(arg)
    except Reported:
        failed = True
    except Refused as refused:
        binder.problems.append(refused)
        failed = True
    finally:
        binder.place = Place.HAVING
    if filtered is not None:
        try:
            binder.place = Place.FILTER
            condition = beside_events(binder.condition(filtered.expression.this))
        except Reported:
            failed = True
        except Refused as refused:
            binder.problems.append(refused)
            failed = True
        finally:
            binder.place = Place.HAVING
    if failed:
        raise Reported
    if isinstance(arg, tree.Literal) and arg.value is not None and function == "count" and not distinct:
        arg = None  # count(1) is count(*)
    if function == "every":
        function = "bool_and"  # PostgreSQL's other name for it
    if function in ("arg_min", "arg_max") and isinstance(arg, tree.Column) and arg.name == "event_time":
        function = function.removeprefix("arg_")  # the first time is the smallest
    if arg is not None and condition is None and _is_of_user(function, arg):
        return arg
    distinct = distinct and function in _DISTINCT
    if arg is not None and (same := aggregated(function, arg, condition, distinct, at)) is not None:
        return same
    return tree.Aggregate(function, arg, condition, _type(function, arg), distinct, at=at)


def _argument(
    binder: "Binder", function: str, given: list[exp.Expr], distinct: bool, at: Position
) -> tree.Expr | None:
    if function == "count" and len(given) == 1 and isinstance(given[0], exp.Star) and not distinct:
        return None
    wanted = 2 if function.startswith("arg_") else 1
    if distinct and len(given) > 1 and wanted == 1:
        remedy = "Count one column, or send the pair as a column of its own."
        raise Refused(place_of(given[1]), f"{function}(DISTINCT ...) takes one argument.", remedy)
    if len(given) != wanted:
        example = {1: f"{function}(x)", 2: f"{function}(x, event_time)"}[wanted]
        raise Refused(
            at,
            f"{function} takes {wanted} argument{'s' if wanted > 1 else ''}, not {len(given)}.",
            f"Write {'count(*) or ' if function == 'count' else ''}{example}.",
        )
    arg, *order = (binder.value(node) for node in given)
    if order and not (isinstance(order[0], tree.Column) and order[0].name == "event_time"):
        reason = f"{function} is supported only in the order of event_time."
        raise Refused(order[0].at, reason, f"Write {function}(x, event_time).")
    if distinct and (order or function == "mode"):
        raise Refused(at, f"{function} of distinct values is not supported.", "Leave DISTINCT out.")
    if _has_age(arg) and function not in _TRUTHS:
        reason = "now() in the argument of an aggregate is not supported."
        raise Refused(arg.at, reason, "Put it into FILTER (WHERE ...).")
    moving = next(iter(scalars_in(arg)), None)
    if moving is not None and function not in (*_TRUTHS, "count") and not _is_of_user(function, arg):
        raise Refused(
            moving.at, "An aggregate's argument has a value of the user in it: when it moves, every row changes.",
            "Aggregate first and compare then: max(event_time) - (SELECT ...).",
        )
    _check(function, arg, distinct)
    return arg


def _is_of_user(function: str, arg: tree.Expr) -> bool:
    """The smallest, or largest, of a value of the user beside each of his rows: the value."""
    return function in ("min", "max") and bool(scalars_in(arg)) and not any(
        isinstance(part, tree.Column) for part in walk(arg)
    )  # fmt: skip


def _has_age(node: tree.Expr) -> bool:
    match node:
        case tree.Age() | tree.Now():
            return True
        case tree.And() | tree.Or() | tree.Coalesce():
            return any(map(_has_age, node.args))
        case tree.Not() | tree.IsNull() | tree.IsTrue() | tree.In() | tree.Like() | tree.Lower() | tree.AtZone():
            return _has_age(node.arg)
        case tree.Trunc() | tree.Shift() | tree.Part():
            return _has_age(node.arg)
        case tree.Compare() | tree.Arithmetic():
            return _has_age(node.left) or _has_age(node.right)
    return False


def _check(function: str, arg: tree.Expr, distinct: bool) -> None:
    kind, at = arg.type.kind, arg.at
    if kind is Kind.NULL:
        raise Refused(at, f"{function} of a constant NULL is always the same.", "Name a column.")
    if function == "count" and not (distinct and kind is Kind.RATIO):
        return
    if kind is Kind.RATIO:
        raise Refused(
            at,
            f"{function} of a quotient is not supported: DuckDB rounds each quotient.",
            "Aggregate first and divide then: sum(a) / sum(b).",
        )
    if function in ("sum", "avg"):
        if kind is Kind.DOUBLE:
            raise Refused(
                at,
                f"{function} over double would depend on the order of the events.",
                "Declare the column as numeric(p,s) in schema.yml: numeric(18,6).",
            )
        if kind not in (Kind.BIGINT, Kind.NUMERIC):
            raise Refused(at, f"{function} needs numbers, and this is {WORDS[kind]}.", _instead(kind))
    elif kind is Kind.TIMESTAMP:
        raise Refused(at, f"{function} of a local time is not supported.", "Take event_time, and its zone outside.")
    elif function in ("min", "max") and kind not in _ORDERED:
        raise Refused(at, f"{function} of {WORDS[kind]} is not supported.", _instead(kind))
    elif function in _TRUTHS and kind is not Kind.BOOLEAN:
        reason = f"{function} needs a condition, and this is {WORDS[kind]}."
        raise Refused(at, reason, f"Write {function}(... > 0).")


def _instead(kind: Kind) -> str:
    if kind is Kind.BOOLEAN:
        return "Write count(*) FILTER (WHERE ...), bool_or(...) or bool_and(...)."
    return "Use count, min or max." if kind is not Kind.TEXT else "Use count, or a column of numbers."


def _type(function: str, arg: tree.Expr | None) -> Type:
    if arg is None or function == "count":
        return BIGINT
    if function == "avg":
        return RATIO
    if function == "sum":
        return BIGINT if arg.type.kind is Kind.BIGINT else numeric(DIGITS_MAX, arg.type.scale)
    return arg.type
