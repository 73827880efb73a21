"""The column `band` of a segment's table: a text of the user, who is in one band at most, NULL in none.

A condition on it is one of the bands: where he is in this one, what the condition is of its name. So nothing is left of
the column in a checked tree.
"""

from collections.abc import Iterator
from functools import partial
from itertools import product
from math import prod

from segmentation.compile import bind_conditions as conditions
from segmentation.compile import tree
from segmentation.compile.bind_users import of_truths
from segmentation.compile.plan import walk
from segmentation.compile.problems import Position, Refused
from segmentation.compile.rebuild import mapped
from segmentation.compile.suggest import did_you_mean, listed
from segmentation.evaluate.environments import NoEvents
from segmentation.evaluate.vector import evaluate
from segmentation.types import BOOLEAN, TEXT

BAND = "band"
#: How many combinations of bands one comparison may have.
_CASES_MAX = 2_000
_MOVING = tree.Column | tree.UserColumn | tree.Age | tree.Now | tree.Aggregate | tree.Member | tree.Scalar


def column(name: str, found: list[tuple[str, tree.Segment]]) -> tree.Band:
    """The column of the segment `name`, whose bands are `found`."""
    members = tuple(tree.Member(segment, at=segment.at) for _, segment in found)
    return tree.Band(name, tuple(value for value, _ in found), members)


def relation(band: tree.Band, at: Position) -> tree.Relation:
    """Whoever is in one of the bands."""
    parts = tuple(member.relation for member in band.members)
    return parts[0] if len(parts) == 1 else tree.SetOp("union", parts, at=at)


def has_band(node: tree.Expr) -> bool:
    return any(isinstance(part, tree.Band) for part in walk(node))


def without_bands(node: tree.Expr) -> tree.Expr:
    """A condition without the columns: membership in the bands in their place. Raises Refused."""

    def exchange(part: tree.Expr) -> tree.Expr | None:
        if not isinstance(part, tree.Expr) or not has_band(part):
            return part
        return None if of_truths(part) else _by_band(part)

    result: tree.Expr = mapped(node, exchange)
    return result


def _by_band(atom: tree.Expr) -> tree.Expr:
    _check_names(atom)
    bands = list(dict.fromkeys(part for part in walk(atom) if isinstance(part, tree.Band)))
    if prod(len(band.values) + 1 for band in bands) > _CASES_MAX:
        raise Refused(atom.at, "This comparison has too many combinations of bands.", "Compare each with constants.")
    ways: list[tree.Expr] = []
    for cases in product(*map(_cases, bands)):
        texts = {band: tree.Literal(value, TEXT, at=atom.at) for band, (value, _) in zip(bands, cases)}
        here = _settled(mapped(atom, partial(_text, texts)))
        ways.append(conditions.conjunction((*(member for _, member in cases), here), atom.at))
    return conditions.disjunction(tuple(ways), atom.at)


def _text(texts: dict[tree.Band, tree.Literal], part: object) -> tree.Literal | None:
    return texts[part] if isinstance(part, tree.Band) else None


def _cases(band: tree.Band) -> Iterator[tuple[str | None, tree.Expr]]:
    """Each value of the column, and when it has it."""
    yield from zip(band.values, band.members)
    if band.certain:
        return
    others = tuple(conditions.negation(member, member.at) for member in band.members)
    yield None, conditions.conjunction(others, band.at)


def _settled(condition: tree.Expr) -> tree.Expr:
    """A condition without anything that differs between rows or users: its truth."""
    if any(isinstance(part, _MOVING) for part in walk(condition)):
        return condition
    value = evaluate(condition, NoEvents())
    known = value.valid is None or bool(value.valid.all())
    return tree.Literal(bool(value.truth(1)[0]) if known else None, BOOLEAN, at=condition.at)


def _check_names(atom: tree.Expr) -> None:
    """Refuses a text that is none of the bands."""
    match atom:
        case tree.Compare("=" | "<>", tree.Band() as band, tree.Literal() as one):
            texts: tuple[tree.Literal, ...] = (one,)
        case tree.In(tree.Band() as band, values):
            texts = values
        case _:
            return
    for text in texts:
        if isinstance(text.value, str) and text.value not in band.values:
            remedy = did_you_mean(text.value, band.values, f"There are {listed(band.values)}.")
            raise Refused(text.at, f"The segment {band.segment} has no band {text.value}.", remedy)
