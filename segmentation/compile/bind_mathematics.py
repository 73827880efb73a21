"""Functions of numbers: what they take, and of which type they are."""

from math import pi

from segmentation.compile import tree
from segmentation.compile.bind_types import (
    DIGITS_MAX,
    WORDS,
    as_double,
    check_one_scale,
    common,
    digits,
    is_number,
    numbers,
)
from segmentation.compile.parse_functions import MATHEMATICS
from segmentation.compile.problems import Position, Refused
from segmentation.mathematics import calculated
from segmentation.types import DOUBLE, Kind, Type, numeric

_SAME = {"pow": "power", "ceiling": "ceil"}
#: Where the function of a constant would always be NULL.
_DOMAINS = {
    "asin": ("asin is of numbers from -1 to 1.", "Where rounding may lead out of them: asin(least(1.0, x))."),
    "acos": ("acos is of numbers from -1 to 1.", "Where rounding may lead out of them: acos(least(1.0, x))."),
    "sqrt": ("A negative number has no square root.", "Use abs(x), or greatest(0, x)."),
    "power": ("This power is no finite number.", "Use smaller numbers; a negative one only with a whole exponent."),
    "great_circle_distance": (
        "A latitude is from -90 to 90, a longitude from -180 to 180.",
        "The order is great_circle_distance(lat1, lon1, lat2, lon2), in degrees.",
    ),
}


def function(name: str, args: tuple[tree.Expr, ...], at: Position) -> tree.Expr:
    """Raises Refused."""
    least, most, example = MATHEMATICS[name]
    if not least <= len(args) <= (len(args) if most is None else most):
        wanted = f"{least} or more arguments" if most is None else f"{least or 'no'} argument{'s' * (least != 1)}"
        raise Refused(at, f"{name} takes {wanted}, not {len(args)}.", f"Write {example}.")
    for arg in args:
        if not is_number(arg.type) and arg.type.kind is not Kind.NULL:
            raise Refused(arg.at, f"{name} needs numbers, and this is {WORDS[arg.type.kind]}.", f"Write {example}.")
        if arg.type.kind is Kind.RATIO:
            raise Refused(
                arg.at, f"{name} of an exact quotient (from avg or /) is not supported.",
                "Divide afterwards, or declare the columns as double in schema.yml.",
            )
    name = _SAME.get(name, name)
    if name == "pi":
        return tree.Literal(pi, DOUBLE, at=at)
    if name in ("least", "greatest"):
        return _extreme(name, args, at)
    null = next((arg for arg in args if arg.type.kind is Kind.NULL), None)
    if null is not None:
        raise Refused(null.at, f"{name} of NULL is always NULL.", "Name a column.")
    if name in ("abs", "floor", "ceil", "round"):
        return tree.Function(name, args, _of_one(name, args[0]), at=at)
    args = tuple(map(as_double, args))
    _check_domain(name, args, at)
    return tree.Function(name, args, DOUBLE, at=at)


def _extreme(name: str, args: tuple[tree.Expr, ...], at: Position) -> tree.Expr:
    kept = tuple(arg for arg in args if arg.type.kind is not Kind.NULL)  # it passes over NULLs
    if not kept:
        raise Refused(at, f"{name} has only NULLs.", "Name a column or an aggregate.")
    kept = numbers(kept, at)
    type = common(kept)
    if type.kind is Kind.NUMERIC:
        check_one_scale(name, kept, at)
    return tree.Function(name, kept, type, at=at) if len(kept) > 1 else kept[0]


def _of_one(name: str, arg: tree.Expr) -> Type:
    kind = arg.type.kind
    if name == "abs" or (kind is Kind.DOUBLE and name != "round"):
        return arg.type
    if kind is Kind.DOUBLE:
        raise Refused(
            arg.at, "round of a double is not supported: PostgreSQL and DuckDB round halves differently.",
            "Write floor(x + 0.5), or declare the column as numeric(p,s) in schema.yml.",
        )
    if kind is Kind.BIGINT:
        raise Refused(arg.at, f"{name} of a whole number is that number.", f"Leave {name}() out.")
    return numeric(min(DIGITS_MAX, digits(arg.type)[0] + 1), 0)


def _check_domain(name: str, args: tuple[tree.Expr, ...], at: Position) -> None:
    """Refuses what is NULL whatever the events are."""
    if name == "great_circle_distance":  # each place by itself, the other being one that exists
        known = [arg.value if isinstance(arg, tree.Literal) else 0.0 for arg in args]
    elif all(isinstance(arg, tree.Literal) for arg in args):
        known = [arg.value for arg in args if isinstance(arg, tree.Literal)]
    else:
        return
    if calculated(name, known) is None:
        raise Refused(at, *_DOMAINS.get(name, ("This is no finite number.", "Use smaller numbers.")))
