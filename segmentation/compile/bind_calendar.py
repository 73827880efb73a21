"""Local times: AT TIME ZONE, date_trunc, extract, and intervals added to a local time.

A local time (a timestamp) comes from an instant by AT TIME ZONE and goes back to one by another AT TIME ZONE.
The zone is always explicit. What depends on now is checked in `turning`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from sqlglot import exp

from segmentation.compile import bind_literals, tree
from segmentation.compile.bind_shape import bare, place_of
from segmentation.compile.bind_time import Operand, Span, settled
from segmentation.compile.bind_types import WORDS
from segmentation.compile.problems import Refused
from segmentation.compile.suggest import closest
from segmentation.local_time import PARTS, UNITS, truncated, with_months
from segmentation.types import BIGINT, DOUBLE, INTERVAL, TIMESTAMP, TIMESTAMPTZ, Kind
from segmentation.zones import names, zone

if TYPE_CHECKING:
    from segmentation.compile.bind_expr import Binder

_ZONED = "AT TIME ZONE 'Asia/Kolkata'"
_LENGTH = "Compare a length of time with an interval: now() - max(event_time) < INTERVAL '60 days'."


def binders(binder: "Binder") -> dict[type[exp.Expr], Callable[..., Operand]]:
    return {
        exp.AtTimeZone: lambda node: _at_time_zone(binder, node),
        exp.TimestampTrunc: lambda node: _trunc(binder, node),
        exp.Extract: lambda node: _extract(binder, node),
    }


def _at_time_zone(binder: "Binder", node: exp.AtTimeZone) -> tree.Expr:
    at = place_of(node)
    name = _zone(node.args["zone"])
    operand = binder.bind(node.this)
    if isinstance(operand, Span) and operand.now and operand.type == TIMESTAMPTZ:
        if operand.now != 1 or operand.plus or operand.minus:
            raise Refused(at, "now() stands beside another time.", f"Write now() {_ZONED}.")
        operand = tree.Now(operand.micros, at=operand.at)
    value = settled(operand)
    if value.type == TIMESTAMPTZ:
        if isinstance(value, tree.Literal):
            return tree.Literal(_one(zone(name).local(_many(value))), TIMESTAMP, at=at)
        return tree.AtZone(value, name, TIMESTAMP, at=at)
    if value.type == TIMESTAMP:
        if isinstance(value, tree.Literal):
            return tree.Literal(_one(zone(name).instants(_many(value))), TIMESTAMPTZ, at=at)
        return tree.AtZone(value, name, TIMESTAMPTZ, at=at)
    if value.type == INTERVAL:
        raise Refused(
            node.meta["op"], "AT TIME ZONE belongs to the interval before it.",
            f"Put parentheses around the whole time: (date_trunc(...) - INTERVAL '1 month') {_ZONED}.",
        )
    remedy = f"Write event_time {_ZONED}, or TIMESTAMP '2026-01-01 00:00:00' {_ZONED}."
    raise Refused(at, f"AT TIME ZONE needs a time, and this is {WORDS[value.type.kind]}.", remedy)


def _zone(node: exp.Expr) -> str:
    at = place_of(node)
    if not isinstance(node, exp.Literal) or not node.is_string:
        raise Refused(at, "The zone is not a constant text.", f"Write {_ZONED}.")
    name = str(node.this)
    try:
        zone(name)
    except KeyError:
        meant = next((known for known in names() if known.lower() == name.lower()), None) or closest(name, names())
        remedy = f"Did you mean '{meant}'?" if meant else "Write a name of the tz database: 'UTC'."
        raise Refused(at, f"There is no time zone '{name}'.", remedy) from None
    return name


def _trunc(binder: "Binder", node: exp.TimestampTrunc) -> tree.Expr:
    unit, at = node.meta["field"], place_of(node)
    value = _local(binder, node.this, "date_trunc", f"date_trunc('{unit}', ")
    if unit not in UNITS:
        raise _no_field(node, f"date_trunc has no unit {unit}.", tuple(UNITS))
    if isinstance(value, tree.Literal):
        return tree.Literal(_one(truncated(unit, _many(value))), TIMESTAMP, at=at)
    return tree.Trunc(unit, value, at=at)


def _extract(binder: "Binder", node: exp.Extract) -> tree.Expr:
    field, at = node.meta["field"], place_of(node)
    if field == "epoch":
        operand = binder.bind(node.expression)
        if operand.type in (TIMESTAMP, TIMESTAMPTZ) and not (isinstance(operand, Span) and operand.now):
            return tree.Part(field, settled(operand), DOUBLE, at=at)
        if isinstance(operand, Span) and operand.type == TIMESTAMPTZ:
            raise Refused(at, "The epoch of now() never stops changing.", "Compare now() with a TIMESTAMPTZ.")
        raise _not_local(operand, "extract", "extract(epoch FROM ")
    value = _local(binder, node.expression, "extract", f"extract({field} FROM ")
    if field not in PARTS:
        raise _no_field(node, f"extract has no field {field}.", (*PARTS, "epoch"))
    return tree.Part(field, value, BIGINT, at=at)


def _no_field(node: exp.Expr, reason: str, known: tuple[str, ...]) -> Refused:
    meant = closest(node.meta["field"], known)
    remedy = f"Did you mean {meant}?" if meant else f"There are {', '.join(known)}."
    return Refused(node.meta["field_at"], reason, remedy)


def _local(binder: "Binder", node: exp.Expr, function: str, call: str) -> tree.Expr:
    """An operand that is a local time."""
    operand = binder.bind(node)
    if operand.type != TIMESTAMP:
        raise _not_local(operand, function, call)
    return settled(operand)


def _not_local(operand: Operand, function: str, call: str) -> Refused:
    if operand.type == TIMESTAMPTZ:
        return Refused(
            operand.at, f"{function} of a time with zone depends on the session's zone.",
            f"Say in which zone: {call}... {_ZONED}).",
        )
    remedy = _LENGTH if operand.type == INTERVAL else f"Write {call}event_time {_ZONED})."
    return Refused(operand.at, f"{function} needs a local time, and this is {WORDS[operand.type.kind]}.", remedy)


# -- intervals ---------------------------------------------------------------------------------------


def is_local(node: exp.Expr) -> bool:
    """Whether the text is that of a local time, so that months may be added to it."""
    node = bare(node)
    match node:
        case exp.AtTimeZone():
            return not is_local(node.this)
        case exp.TimestampTrunc():
            return True
        case exp.Add():
            return is_local(node.this) or is_local(node.expression)
        case exp.Sub():
            return is_local(node.this)
        case exp.Cast():
            return node.meta.get("type", ("",))[0] in bind_literals.LOCAL
    return False


def moved(binder: "Binder", node: exp.Binary) -> tree.Expr | None:
    """A local time plus or minus an interval, of months too; None where `node` is something else."""
    if not isinstance(node, exp.Add | exp.Sub) or not is_local(node):
        return None
    local, length = (node.this, node.expression) if is_local(node.this) else (node.expression, node.this)
    months, micros, other = 0, 0, bare(length)
    value = settled(binder.bind(local))
    if isinstance(other, exp.Interval):
        months, micros = bind_literals.calendar_interval(other.meta["text"], other.meta["unit"], other.meta["op"])
    else:
        found = settled(binder.bind(length))
        if not isinstance(found, tree.Literal) or found.type != INTERVAL:
            raise Refused(
                node.meta["op"], f"A local time and {WORDS[found.type.kind]} do not go together.",
                "Add an interval: + INTERVAL '1 day'; or subtract instants: now() - event_time.",
            )
        assert isinstance(found.value, int)
        micros = found.value
    if value.type.kind is not Kind.TIMESTAMP:
        raise Refused(value.at, f"This is {WORDS[value.type.kind]}, not a local time.", f"Write event_time {_ZONED}.")
    if isinstance(node, exp.Sub):
        months, micros = -months, -micros
    at = place_of(node)
    if isinstance(value, tree.Literal):
        shifted = with_months(_many(value), months) + micros
        return tree.Literal(_one(shifted), TIMESTAMP, at=at)
    return tree.Shift(value, months, micros, at=at)


def _many(value: tree.Literal) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    assert isinstance(value.value, int)
    return np.array([value.value], np.int64)


def _one(values: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]") -> int:
    return int(values[0])
