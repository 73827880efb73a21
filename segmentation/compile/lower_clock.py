"""Conditions on the clock as truths of their own: a SELECT that asks the clock is taken apart.

Such a condition is the same for all rows and users. So the SELECT is one with TRUE in its place, while the
clock says so, and another with FALSE at all other times.
"""

from typing import Protocol

from segmentation.compile import tree
from segmentation.compile.forms import OPPOSITE, TRUE, canonical, form
from segmentation.compile.lower_sets import Truth, negated
from segmentation.compile.plan import walk
from segmentation.compile.problems import Refused
from segmentation.compile.rebuild import mapped
from segmentation.compile.turning import of_clock
from segmentation.types import BOOLEAN, Kind

#: Each doubles the number of parts.
_ASKED_MAX = 6


class Gates(Protocol):
    """What is lowered with: see `lower`."""

    def gate(self, all_: bool, inputs: list[Truth]) -> Truth: ...

    def clock(self, condition: tree.Expr) -> Truth: ...

    def clockless(self, query: tree.Select | tree.Everyone) -> Truth: ...


def by_clock(query: tree.Select | tree.Everyone, gates: Gates, asked: int = 0) -> Truth:
    """Raises Refused."""
    where = query.where if isinstance(query, tree.Select) else None
    condition = _asked(where) or _asked(query.having)
    if condition is None:
        return gates.clockless(query)
    if asked == _ASKED_MAX:
        remedy = "Split the definition, and combine the segments."
        raise Refused(condition.at, f"The query has more than {_ASKED_MAX} conditions on now() alone.", remedy)
    base, _ = _base(condition)
    on, off = (by_clock(_with(query, base, truth), gates, asked + 1) for truth in (True, False))
    clock = gates.clock(base)
    return gates.gate(False, [gates.gate(True, [clock, on]), gates.gate(True, [negated(clock), off])])


def _asked(node: tree.Expr | None) -> tree.Expr | None:
    """A condition on the clock, the smallest around its now(), wherever it stands; the same in all spellings."""
    asked: list[tree.Expr] = []

    def look(part: object) -> None:
        if isinstance(part, tree.Compare | tree.In | tree.IsNull) and of_clock(part) and _smallest(part):
            asked.append(part)

    mapped(node, look)
    return min(asked, key=lambda part: repr(_base(part)[0])) if asked else None


def _smallest(node: tree.Expr) -> bool:
    """Not made of other conditions."""
    return not any(part.type.kind is Kind.BOOLEAN for part in walk(node) if part is not node)


def _base(condition: tree.Expr) -> tuple[tree.Expr, bool]:
    """One for all spellings, of a comparison and its opposite too, and whether it says what the condition does."""
    condition = canonical(condition)
    if isinstance(condition, tree.Compare) and condition.op in ("<", "<=", "<>"):
        return tree.Compare(OPPOSITE[condition.op], condition.left, condition.right, at=condition.at), False
    return condition, True


def _with(query: tree.Select | tree.Everyone, base: tree.Expr, truth: bool) -> tree.Select | tree.Everyone:
    def exchange(part: object) -> tree.Expr | None:
        if isinstance(part, tree.Compare | tree.In | tree.IsNull) and of_clock(part):
            found, same = _base(part)
            if found == base:
                return tree.Literal(truth == same, BOOLEAN, at=part.at)
        return None

    having = mapped(query.having, exchange)
    if isinstance(query, tree.Everyone):
        return tree.Everyone(having, at=query.at)
    where = None if query.where is None else form(mapped(query.where, exchange))
    return tree.Select(None if where == TRUE else where, having, at=query.at)
