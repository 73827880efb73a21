"""Conditions, aggregates and values in words, for people who do not read SQL. What has no words is written as SQL."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from segmentation.compile import tree, written
from segmentation.types import Kind, Type

_COMPARED = {
    "=": "is", "<>": "is not", "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least",
}  # fmt: skip
_AGES = {
    "<": "more than {} ago", "<=": "at least {} ago", ">": "less than {} ago", ">=": "at most {} ago",
    "=": "exactly {} ago", "<>": "not exactly {} ago",
}  # fmt: skip
_FUNCTIONS = {
    "sum": "the sum of {}", "avg": "the average of {}", "min": "the smallest {}", "max": "the largest {}",
    "arg_min": "the first {}", "arg_max": "the last {}", "mode": "the most frequent {}",
    "bool_or": "whether {} for any", "bool_and": "whether {} for all",
}  # fmt: skip
_TIMES = {"min": "the time of the first event", "max": "the time of the last event"}


def condition(node: tree.Expr) -> str:
    match node:
        case tree.Age():
            ago = _AGES[node.op].format(_length(abs(node.micros)))
            return f"it was {ago if node.micros >= 0 else ago.replace(' ago', ' ahead')}"
        case tree.And():
            return " and ".join(map(_within, node.args))
        case tree.Or():
            return " or ".join(map(_within, node.args))
        case tree.Not(tree.IsNull(arg)):
            return f"{value(arg)} is given"
        case tree.Not(tree.Compare(op="=", left=left, right=right)):
            return f"{value(left)} is not {value(right)}"
        case tree.Not(arg):
            return f"not ({condition(arg)})"
        case tree.IsNull(arg):
            return f"{value(arg)} is missing"
        case tree.Compare(op=op, left=left, right=right):
            return f"{value(left)} {_COMPARED[op]} {value(right)}"
        case tree.In(arg, values):
            return f"{value(arg)} is one of {', '.join(map(written.literal, values))}"
        case tree.Like(arg, pattern):
            return f"{value(arg)} is like {written.text(pattern)}{' in any case' if node.insensitive else ''}"
    return value(node)


def value(node: tree.Expr) -> str:
    match node:
        case tree.Aggregate():
            return aggregate(node)
        case tree.Scalar():
            return f"({value(node.value)})"
        case tree.UserColumn():
            return f"the profile's {node.name}"
        case tree.Now() if not node.offset:
            return "now"
        case tree.Now():
            return f"{_length(abs(node.offset))} {'ago' if node.offset < 0 else 'ahead'}"
        case tree.Arithmetic():
            return f"({value(node.left)} {node.op} {value(node.right)})"
        case tree.Coalesce(args=(first, tree.Literal() as other)):
            return f"{value(first)} (or {written.literal(other)} if there is none)"
        case tree.Literal() if node.type.kind is Kind.INTERVAL and isinstance(node.value, int):
            return _length(node.value)
        case tree.Literal():
            return shown(node.value, node.type)
    return written.bare(written.expression(node))


def aggregate(node: tree.Aggregate) -> str:
    where = "" if node.filter is None else f" where {condition(node.filter)}"
    if node.arg is None:
        return f"the number of events{where}"
    what = condition(node.arg) if node.arg.type.kind is Kind.BOOLEAN else value(node.arg)
    if node.function == "count":
        return f"the number of {'different values of' if node.distinct else 'events with'} {what}{where}"
    if node.arg == tree.Column("event_time", node.arg.type) and node.function in _TIMES:
        return f"{_TIMES[node.function]}{where}"
    text = _FUNCTIONS[node.function].format(f"the different values of {what}" if node.distinct else what)
    return f"{text}{where}"


def _within(node: tree.Expr) -> str:
    return f"({condition(node)})" if isinstance(node, tree.And | tree.Or) else condition(node)


def shown(value: Any, type_: Type) -> str:
    """A value as `segmentation.reference_eval` has it: exact where it has an end, else with ten digits."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return written.text(value)
    if type_.kind is Kind.INTERVAL:
        return duration(int(value))
    if type_.kind in (Kind.TIMESTAMPTZ, Kind.TIMESTAMP):
        return _time(int(value), type_.kind is Kind.TIMESTAMPTZ)
    if isinstance(value, float):
        return repr(value)
    return number(Fraction(value))


def _length(micros: int) -> str:
    text = written.duration(micros)
    return text.removesuffix("s") if text.startswith("1 ") else text


def number(exact: Fraction) -> str:
    digits, rest = 0, exact.denominator
    for factor in (2, 5):
        times = 0
        while rest % factor == 0:
            rest, times = rest // factor, times + 1
        digits = max(digits, times)
    if rest == 1:
        return f"{Decimal(exact.numerator * 10**digits // exact.denominator).scaleb(-digits):f}"
    return f"{float(exact):.10g} ({exact.numerator}/{exact.denominator})"


def duration(micros: int) -> str:
    """`3 days 04:05:06.5`."""
    sign, rest = ("-" if micros < 0 else ""), abs(micros)
    days, rest = divmod(rest, 86_400_000_000)
    seconds, fraction = divmod(rest, 1_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    clock += f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{sign}{days} day{'s' * (days != 1)} {clock}" if days else f"{sign}{clock}"


def _time(micros: int, zoned: bool) -> str:
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
    except OverflowError:
        return f"{micros} µs"
    return moment.replace(tzinfo=None).isoformat(sep=" ") + ("Z" if zoned else "")
