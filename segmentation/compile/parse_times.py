"""Words about time, walked along like all others: see `parse_places`."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from segmentation.compile.problems import Refused

if TYPE_CHECKING:
    from segmentation.compile.parse_expressions import Expressions


def placers(walk: "Expressions") -> dict[type[exp.Expr], Callable[..., None]]:
    return {
        exp.CurrentTimestamp: lambda node: _now(walk, node),
        exp.Interval: lambda node: _interval(walk, node),
        exp.AtTimeZone: lambda node: _at_time_zone(walk, node),
        exp.TimestampTrunc: lambda node: _trunc(walk, node),
        exp.Extract: lambda node: _extract(walk, node),
    }


def _now(walk: "Expressions", node: exp.CurrentTimestamp) -> None:
    node.meta["op"] = walk.at
    if node.this is not None:
        raise Refused(walk.at, "The current time is taken as it is, in microseconds.", "Write now().")
    if walk.is_next("CURRENT_TIMESTAMP"):
        walk.take("CURRENT_TIMESTAMP")
        if walk.is_next("("):
            raise Refused(walk.at, "The current time is taken as it is, in microseconds.", "Write now().")
    else:
        walk.take("NOW", "(", ")")


def _interval(walk: "Expressions", node: exp.Interval) -> None:
    walk.take("INTERVAL")
    if walk.word.kind is not TokenType.STRING:
        raise Refused(walk.at, "The length of an INTERVAL is written in quotes.", "Write INTERVAL '7 days'.")
    node.meta["op"] = walk.at
    node.meta["text"] = walk.word.text
    walk.index += 1
    node.meta["unit"] = ""
    unit = walk.word
    if unit.name and unit.kind is TokenType.VAR and not walk.is_next("AT", "TIME", "ZONE"):
        node.meta["unit"] = unit.text
        walk.index += 1


def _at_time_zone(walk: "Expressions", node: exp.AtTimeZone) -> None:
    walk.expression(node.this)
    node.meta["op"] = walk.take("AT", "TIME", "ZONE")
    walk.expression(node.args.get("zone"))


def _trunc(walk: "Expressions", node: exp.TimestampTrunc) -> None:
    """Meta: "field", the unit in lower case, and "field_at"."""
    if not walk.is_next("DATE_TRUNC", "(") or node.args.get("zone") is not None:
        walk.unknown(node)
        return
    node.meta["op"] = walk.take("DATE_TRUNC", "(")
    _field(walk, node, node.args.get("unit"))
    walk.take(",")
    walk.expression(node.this)
    walk.take(")")


def _extract(walk: "Expressions", node: exp.Extract) -> None:
    """Meta: "field" in lower case, and "field_at"."""
    if walk.is_next("EXTRACT", "("):
        node.meta["op"] = walk.take("EXTRACT", "(")
        _field(walk, node, node.this)
        walk.take("FROM")
    elif walk.is_next("DATE_PART", "("):
        node.meta["op"] = walk.take("DATE_PART", "(")
        _field(walk, node, node.this)
        walk.take(",")
    else:
        walk.unknown(node)
        return
    walk.expression(node.expression)
    walk.take(")")


def _field(walk: "Expressions", node: exp.Expr, field: exp.Expr | None) -> None:
    """A word or a text, and nothing else, that sqlglot has read as `field`."""
    word = walk.word
    plain = word.kind is TokenType.STRING or word.name
    if not plain or not isinstance(field, exp.Var | exp.Literal):
        raise Refused(walk.at, "The field is not a constant.", "Write it in quotes: 'month'.")
    node.meta["field"], node.meta["field_at"] = word.text.lower(), walk.at
    walk.index += 1
