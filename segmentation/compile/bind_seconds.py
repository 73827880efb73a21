"""Lengths of time in seconds: extract(epoch FROM max(event_time) - min(event_time)) > 3600.

Compared with a whole number of seconds, minutes or days this is the comparison of the interval with an interval, and
so exact, and with now() in it a window like any other.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from sqlglot import exp

from segmentation.compile import tree
from segmentation.compile.bind_shape import bare, place_of
from segmentation.compile.bind_time import Operand
from segmentation.compile.bind_types import is_number
from segmentation.compile.problems import Refused
from segmentation.types import INTERVAL, SECOND

if TYPE_CHECKING:
    from segmentation.compile.bind_expr import Binder

#: The doubles that databases make of intervals up to here, in seconds, are in the intervals' order.
_LONGEST = 1_000_000_000
_REMEDY = "Compare intervals: max(event_time) - min(event_time) > INTERVAL '1 hour'."


def as_intervals(binder: "Binder", nodes: tuple[exp.Expr, ...]) -> tuple[Operand, ...] | None:
    """The sides of a comparison, one of which is the seconds of an interval and the others constants, as intervals;
    None for any other. Raises Refused, or Reported."""
    lengths = [_length(node) for node in nodes]
    found = next((each for each in lengths if each is not None), None)
    if found is None:
        return None
    interval, unit = binder.bind(found[0].expression), found[1]
    if interval.type != INTERVAL:
        return None
    sides: list[Operand] = []
    for node, length in zip(nodes, lengths):
        if length is found:
            sides.append(interval)
            continue
        side = binder.value(node)
        constant = side.value if isinstance(side, tree.Literal) and is_number(side.type) else None
        whole = isinstance(constant, int | Decimal | float) and constant == constant // 1
        if not whole or not isinstance(constant, int | Decimal | float) or abs(int(constant)) * unit > _LONGEST:
            reason = "The seconds of an interval are compared with whole numbers only, up to 30 years."
            raise Refused(place_of(node), reason, _REMEDY)
        sides.append(tree.Literal(int(constant) * unit * SECOND, INTERVAL, at=side.at))
    return tuple(sides)


def _length(node: exp.Expr) -> tuple[exp.Extract, int] | None:
    """extract(epoch FROM ...), perhaps divided by a whole number, and that."""
    node = bare(node)
    divisors = 1
    while isinstance(node, exp.Div):
        by = bare(node.expression)
        if not isinstance(by, exp.Literal) or by.is_string or not by.this.isdecimal() or int(by.this) == 0:
            return None
        divisors, node = divisors * int(by.this), bare(node.this)
    return (node, divisors) if isinstance(node, exp.Extract) and node.meta.get("field") == "epoch" else None
