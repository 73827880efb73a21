"""Bands: SELECT user_id, CASE WHEN ... THEN '30-60' ... END AS band. Each value is a segment, name/value.

The first WHEN that is true decides, so nobody is in two bands at once; without ELSE one may be in none.
"""

from dataclasses import dataclass

from sqlglot import exp

from segmentation.compile import bind_conditions as conditions
from segmentation.compile import tree
from segmentation.compile.bind_expr import Binder
from segmentation.compile.bind_shape import Place, Reported, bare, folded, place_of
from segmentation.compile.bind_tables import Scope
from segmentation.compile.parse_tokens import shown
from segmentation.compile.problems import Refused

BANDS_MAX = 100
VALUE_CHARS_MAX = 63
_SHAPE = "Write SELECT user_id, CASE WHEN ... THEN '0-4' WHEN ... THEN '5-13' END AS band."


@dataclass(frozen=True, slots=True)
class Branch:
    """WHEN condition THEN value; of ELSE the condition is None. value None: no band."""

    condition: tree.Expr | None
    value: str | None


def has_bands(query: exp.Query) -> bool:
    """Whether a definition's query is meant to have bands."""
    if not isinstance(query, exp.Select):
        return False
    return any(map(_is_case, query.expressions))


def _is_case(item: exp.Expr) -> bool:
    return isinstance(bare(item.this if isinstance(item, exp.Alias) else item), exp.Case)


def case_of(query: exp.Select, scope: Scope) -> exp.Case:
    """The CASE of a query that has bands. Raises Refused for any other list of columns."""
    items = query.expressions
    band = next(filter(_is_case, items))
    if not isinstance(band, exp.Alias) or folded(band.args["alias"]) != "band":
        at = band.meta["as"] if isinstance(band, exp.Alias) else place_of(band)
        raise Refused(at, "The column of the bands is called band.", "Write CASE ... END AS band.")
    others = [item for item in items if item is not band]
    for item in others:
        found = scope.find(item) if isinstance(item, exp.Column) and not isinstance(item.this, exp.Star) else None
        if found is None or not found.is_user or found.outer or found.item.join == "left":
            reason = f"A definition with bands selects user_id and band, not {shown(item.sql('postgres'))}."
            raise Refused(place_of(item), reason, _SHAPE)
    if len(others) != 1:
        raise Refused(place_of(band), "A definition with bands selects user_id and band, once each.", _SHAPE)
    case = bare(band.this)
    assert isinstance(case, exp.Case)
    return case


def branches(case: exp.Case, binder: Binder, place: Place) -> list[Branch]:
    """Raises Reported, with all its problems in the binder's list; Refused."""
    if place is Place.SELECT:
        raise Refused(
            place_of(case), "A user has many events, and each might be of another band.", "Add GROUP BY user_id."
        )
    found: list[Branch] = []
    failed = False
    for when in case.args["ifs"]:
        try:
            condition = binder.matched(case.this, when.this, place)
            found.append(Branch(condition, _value(when.args["true"])))
        except Refused as refused:
            binder.problems.append(refused)
            failed = True
        except Reported:
            failed = True
    default = case.args.get("default")
    if default is not None:
        found.append(Branch(None, _value(default)))
    if failed:
        raise Reported
    if len(values(found)) > BANDS_MAX:
        raise Refused(place_of(case), f"There are more than {BANDS_MAX} bands.", "Make several definitions of them.")
    if not values(found):
        raise Refused(place_of(case), "There is no band.", _SHAPE)
    return found


def values(found: list[Branch]) -> list[str]:
    """The bands, in the order of the text."""
    return list(dict.fromkeys(branch.value for branch in found if branch.value is not None))


def condition(found: list[Branch], value: str) -> tree.Expr:
    """Whether `value` is the band: one of its branches is true and none before that has another value."""
    ways: list[tree.Expr] = []
    others: list[tree.Expr] = []  # earlier branches that lead elsewhere
    at = next(branch.condition.at for branch in found if branch.condition is not None)
    for branch in found:
        mine = () if branch.condition is None else (conditions.is_true(branch.condition, branch.condition.at),)
        if branch.value == value:
            none_before = (conditions.negation(other, other.at) for other in others)
            ways.append(conditions.conjunction((*none_before, *mine), at))
        else:
            others.extend(mine)
    return conditions.disjunction(tuple(ways), at)


def _value(node: exp.Expr) -> str | None:
    inner, at = bare(node), place_of(node)
    if isinstance(inner, exp.Null):
        return None
    if not isinstance(inner, exp.Literal) or not inner.is_string:
        raise Refused(at, "A band is a constant text.", "Write THEN '30-60'.")
    text: str = inner.this
    odd = next((char for char in text if not char.isprintable() or char in "/\\\"',;"), None)
    if not text or text != text.strip() or len(text) > VALUE_CHARS_MAX or odd is not None:
        what = f"{shown(odd)} in it" if odd is not None and odd.isprintable() else "this text"
        raise Refused(
            at, f"A band's name is part of the segment's, and {what} does not fit there.",
            f"Use 1 to {VALUE_CHARS_MAX} characters without / \\ quotes , ; and without spaces around.",
        )
    return text
