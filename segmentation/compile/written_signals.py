"""Signals of a plan as SQL conditions on a user's events: what a leaf of a gate tree holds for.

The plan has lost the spelling of the definition: `max(x) > 5` is the count of rows with x > 5, `avg(x) > 5` the
difference of a sum and five times a count. Each text here says exactly what is counted, thresholds in the units of
the columns. A sum that is NULL over nothing runs from 0, so it is written with coalesce.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from math import gcd
from typing import Any, assert_never

from segmentation.compile import tree, written, written_edges
from segmentation.compile.lower_users import LATEST
from segmentation.compile.plan import (
    Clock,
    Formula,
    Gate,
    Known,
    LatestSource,
    Linear,
    Met,
    Plan,
    ProfileTerm,
    Reach,
    Signal,
    Source,
    Term,
)
from segmentation.compile.rebuild import mapped
from segmentation.types import FOREVER


def signal(plan: Plan, one: Signal, negated: bool) -> str:
    """The condition under which a signal that is no gate holds, or does not hold."""
    match one:
        case Known():
            return "count(*) = 0" if negated else "count(*) >= 1"
        case Met():
            return "user_id IS NULL" if negated else "user_id IS NOT NULL"
        case Clock(condition):
            return _is(written.expression(condition), negated)
        case Reach(cell, threshold):
            return _reach(plan.linears[cell], threshold, negated)
        case Formula(condition):
            texts = aggregates(plan, one)
            return _is(written.expression(mapped(condition, lambda part: _named(part, texts))), negated)
        case Gate():
            raise ValueError("a gate is made of others")
    assert_never(one)


def aggregates(plan: Plan, formula: Formula) -> dict[tree.Aggregate, str]:
    """What it is made of, as SQL."""
    return {aggregate: _aggregate(plan, aggregate, source) for aggregate, source in formula.sources}


def _is(condition: str, negated: bool) -> str:
    """A negated signal holds where the condition is false or NULL."""
    return f"{condition} IS NOT TRUE" if negated else written.bare(condition)


def _named(part: Any, texts: dict[tree.Aggregate, str]) -> tree.Expr | None:
    """A column that is called like the aggregate's text: that is how it is written then."""
    return tree.Column(texts[part], part.type) if isinstance(part, tree.Aggregate) and part in texts else None


def _reach(cell: Linear, threshold: int, negated: bool) -> str:
    if any(isinstance(term, ProfileTerm) for term in cell.terms):
        # Events and versions of profiles of a user, counted for a condition on user_id, the same for all of them.
        only = cell.terms[0].residual
        return "user_id IS NOT NULL" if only is None else _is(written.expression(only), negated)
    parts = _parts(cell)
    if not parts:
        return str((threshold <= 0) != negated).upper()
    common, odd = _units(parts, threshold)
    bound = Fraction(threshold, common)
    text = ""
    for what, weight in parts:
        size = abs(weight) * odd // common
        sign = ("-" if not text else " - ") if weight < 0 else ("" if not text else " + ")
        text += f"{sign}{'' if size == 1 else f'{size} * '}{what}"
    if negated and threshold == 1 and all(term.arg is None and term.coefficient > 0 for term in cell.terms) and (
        not any(values.summed or values.coefficient < 0 for values in cell.values)
    ):
        return f"{text} = 0"  # it only counts
    return f"{text} {'<' if negated else '>='} {_decimal(bound * odd)}"


def _units(parts: Sequence[tuple[str, int]], threshold: int) -> tuple[int, int]:
    """(what the weights are divided by, what they are then multiplied with) to be written."""
    common = gcd(*(weight for _, weight in parts))
    odd = Fraction(threshold, common).denominator  # what of it no number of digits divides: then it stays on the left
    for factor in (2, 5):
        while odd % factor == 0:
            odd //= factor
    return common, odd


def left_side(cell: Linear, threshold: int, running: int) -> Fraction | None:
    """What the left side of a Reach, as `signal` writes it, comes to where the cell holds `running`; None where it has
    no left side."""
    if any(isinstance(term, ProfileTerm) for term in cell.terms) or not (parts := _parts(cell)):
        return None
    common, odd = _units(parts, threshold)
    return Fraction(running, common) * odd


def _parts(cell: Linear) -> list[tuple[str, int]]:
    """What is added up, as SQL, and how often: in units of the running number."""
    weights: dict[Term, int] = {}
    for term in cell.terms:
        alone = replace(term, coefficient=1)
        # The running number is in units of the argument's last digit.
        scale = 0 if term.arg is None else term.arg.type.scale
        weights[alone] = weights.get(alone, 0) + term.coefficient * 10**scale
    # Where a boundary of the calendar is crossed again and again, each stretch has a term, and one text says them all.
    once = {(replace(term, start=0, end=FOREVER), _added(term)): weight for term, weight in weights.items()}
    found = [(text, weight) for (_, text), weight in once.items()]
    for values in cell.values:
        scale = values.of.type.scale if values.summed else 0
        text = f"{'sum' if values.summed else 'count'}(DISTINCT {_argument(values.of.terms)}){_filter(values.of.terms)}"
        found.append((f"coalesce({text}, 0)" if values.summed else text, values.coefficient * 10**scale))
    return [(text, weight) for text, weight in found if weight]


def _added(term: Term) -> str:
    if term.arg is None:
        return f"count(*){_filter((term,))}"
    return f"coalesce(sum({written.bare(written.expression(term.arg))}){_filter((term,))}, 0)"


def _argument(terms: Sequence[Term]) -> str:
    arg = terms[0].arg if terms else None
    return "*" if arg is None else written.bare(written.expression(arg))


def _aggregate(plan: Plan, aggregate: tree.Aggregate, source: Source) -> str:
    """An aggregate of a formula, over the rows that its cells count."""
    if aggregate.function == LATEST or isinstance(source, LatestSource):
        assert aggregate.arg is not None
        return written.expression(aggregate.arg)
    if source.bag >= 0:
        terms = plan.bags[source.bag].terms
    elif source.register >= 0:  # over a window it is that of all time while there are rows in the window
        here = plan.linears[source.present] if source.present >= 0 else plan.registers[source.register]
        terms = here.terms
    else:
        cell = plan.linears[source.linear]
        terms = cell.values[0].of.terms if cell.values else cell.terms
    return written.aggregate(replace(aggregate, filter=None)) + (_filter(terms) if terms else " FILTER (WHERE FALSE)")


def _filter(terms: Sequence[Term]) -> str:
    """The rows of any of them, which never overlap."""
    rows = list(dict.fromkeys(map(_rows, terms)))
    if not all(rows):
        return ""
    if len(rows) == 1:
        return f" FILTER (WHERE {' AND '.join(rows[0]) if len(rows[0]) > 1 else written.bare(rows[0][0])})"
    return f" FILTER (WHERE {' OR '.join('(' + ' AND '.join(one) + ')' for one in rows)})"


def _rows(term: Term) -> tuple[str, ...]:
    """Of which all must be true of a row; none where every row counts."""
    found = []
    for name, values in term.codes:
        if not values:
            return ("FALSE",)
        among = f"= {written.text(values[0])}" if len(values) == 1 else f"IN ({', '.join(map(written.text, values))})"
        found.append(f"{name} {among}")
    for condition in (term.residual, term.beside):
        if condition is not None:
            pieces: Iterable[tree.Expr] = condition.args if isinstance(condition, tree.And) else (condition,)
            found += [
                text if isinstance(piece, tree.Or) else written.bare(text)
                for piece in pieces for text in (written.expression(piece),)
            ]  # fmt: skip
    return tuple(dict.fromkeys([*found, *written_edges.conditions(term.start, term.end)]))


def _decimal(value: Fraction) -> str:
    """A fraction of which the denominator divides a power of ten, with all digits."""
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    whole = str(abs(int(value * 10**digits))).rjust(digits + 1, "0")
    sign = "-" if value < 0 else ""
    return f"{sign}{whole[: len(whole) - digits]}.{whole[len(whole) - digits :]}" if digits else f"{sign}{whole}"
