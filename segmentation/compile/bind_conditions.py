"""Conditions: comparisons, IN, LIKE, IS and what joins them; both sides of one family, or refused."""

from dataclasses import dataclass, replace

from segmentation.compile import bind_literals, bind_time, tree
from segmentation.compile.bind_time import FLIPPED, Operand, Span, is_time, settled
from segmentation.compile.bind_types import (
    WORDS,
    as_double,
    check_one_scale,
    common,
    double_constant,
    is_number,
    numbers,
)
from segmentation.compile.problems import Position, Refused
from segmentation.compile.turning import checked
from segmentation.text import like as like_matcher
from segmentation.types import BOOLEAN, TIMESTAMP, TIMESTAMPTZ, Kind, Type

IN_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Where:
    """rows: below WHERE or FILTER; `at`: of the whole condition; `op_at`: of its operator."""

    rows: bool
    at: Position
    op_at: Position


def not_a_condition(operand: tree.Expr) -> Refused:
    kind = operand.type.kind
    example = {
        Kind.TEXT: "Compare it: ... = 'text'.",
        Kind.TIMESTAMPTZ: "Compare it: ... > now() - INTERVAL '7 days'.",
        Kind.INTERVAL: "Compare it: ... > INTERVAL '7 days'.",
        Kind.NULL: "Write IS NULL.",
    }.get(kind, "Compare it: ... > 0.")
    return Refused(operand.at, f"A condition is needed here, and this is {WORDS[kind]}.", example)


# -- joining -----------------------------------------------------------------------------------------


def conjunction(parts: tuple[tree.Expr, ...], at: Position) -> tree.Expr:
    return _joined(parts, at, True)


def disjunction(parts: tuple[tree.Expr, ...], at: Position) -> tree.Expr:
    return _joined(parts, at, False)


def _joined(parts: tuple[tree.Expr, ...], at: Position, all_of: bool) -> tree.Expr:
    """One level for nested ANDs, constants taken out."""
    kind: type[tree.And] | type[tree.Or] = tree.And if all_of else tree.Or
    flat: list[tree.Expr] = []
    for part in parts:
        flat.extend(part.args if isinstance(part, tree.And | tree.Or) and isinstance(part, kind) else (part,))
    kept = [part for part in flat if not (isinstance(part, tree.Literal) and part.value is all_of)]
    for part in kept:
        if isinstance(part, tree.Literal) and part.value is (not all_of):
            return replace(part, at=at)
    if not kept:
        return tree.Literal(all_of, BOOLEAN, at=at)
    return kept[0] if len(kept) == 1 else kind(tuple(kept), at=at)


def negation(arg: tree.Expr, at: Position) -> tree.Expr:
    if isinstance(arg, tree.Literal) and isinstance(arg.value, bool):
        return tree.Literal(not arg.value, BOOLEAN, at=at)
    return arg.arg if isinstance(arg, tree.Not) else tree.Not(arg, at=at)


def is_null(arg: tree.Expr, at: Position) -> tree.Expr:
    if isinstance(arg, tree.Literal):
        return tree.Literal(arg.value is None, BOOLEAN, at=at)
    if isinstance(arg, tree.Member):
        return tree.Literal(False, BOOLEAN, at=at)
    return tree.IsNull(arg, at=at)


def is_true(arg: tree.Expr, at: Position) -> tree.Expr:
    if isinstance(arg, tree.Literal):
        return tree.Literal(arg.value is True, BOOLEAN, at=at)
    return tree.IsTrue(arg, at=at)


# -- comparing ---------------------------------------------------------------------------------------


def compare(op: str, left: Operand, right: Operand, where: Where) -> tree.Expr:
    return checked(_compare(op, left, right, where))


def _compare(op: str, left: Operand, right: Operand, where: Where) -> tree.Expr:
    for one in (left, right):
        if one.type.kind is Kind.NULL:
            raise Refused(place(one), "A comparison with NULL is never true.", "Write IS NULL or IS NOT NULL.")
    left, right = _instants(left, right), _instants(right, left)
    if is_time(left) and is_time(right) and left.type == right.type:
        return bind_time.compared(op, left, right, where.rows, where.at, where.op_at)
    if isinstance(left, Span) or isinstance(right, Span):
        raise _mismatch(left, right, where.op_at)
    a, b = _family((left, right), where.op_at)
    if a.type.kind is Kind.BOOLEAN and op not in ("=", "<>"):
        raise Refused(where.op_at, "True and false have no order.", "Use = or <>, or the condition itself.")
    if isinstance(a, tree.Literal) and isinstance(b, tree.Literal):
        return tree.Literal(_constant(op, a.value, b.value), BOOLEAN, at=where.at)
    if isinstance(a, tree.Literal):
        a, b, op = b, a, FLIPPED[op]
    return tree.Compare(op, a, b, at=where.at)


def place(operand: Operand) -> Position:
    return operand.at


def _instants(one: Operand, other: Operand) -> Operand:
    """A text beside a time is an instant, as it is in PostgreSQL, if it has its zone."""
    if isinstance(one, tree.Literal) and isinstance(one.value, str) and other.type == TIMESTAMPTZ:
        return bind_literals.timestamp(one.value, one.at)
    if isinstance(one, tree.Literal) and isinstance(one.value, str) and other.type == TIMESTAMP:
        return bind_literals.local(one.value, one.at)
    return one


def _family(nodes: tuple[tree.Expr, ...], at: Position) -> tuple[tree.Expr, ...]:
    first = nodes[0]
    if all(is_number(node.type) for node in nodes):
        return numbers(nodes, at)
    for node in nodes[1:]:
        if node.type.kind is not first.type.kind:
            raise _mismatch(first, node, at)
    return nodes


def _mismatch(left: Operand, right: Operand, at: Position) -> Refused:
    kinds = (left.type.kind, right.type.kind)
    reason = f"{WORDS[kinds[0]]} does not compare with {WORDS[kinds[1]]}."
    if set(kinds) == {Kind.TIMESTAMP, Kind.TIMESTAMPTZ}:
        return _zoneless(left if left.type.kind is Kind.TIMESTAMP else right)
    culprit = right if isinstance(right, tree.Literal) else left if isinstance(left, tree.Literal) else None
    return Refused(at if culprit is None else culprit.at, reason[0].upper() + reason[1:], _remedy(left, right, culprit))


def _zoneless(local: Operand) -> Refused:
    """A local time beside an instant."""
    if isinstance(local, tree.Literal):
        reason = "A timestamp has no zone, so it cannot be compared exactly."
        return Refused(local.at, reason, "Write TIMESTAMPTZ '2026-01-01 00:00:00+00'.")
    remedy = "Put AT TIME ZONE behind it: date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'."
    return Refused(local.at, "A local time does not compare with a time that has a zone.", remedy)


def _remedy(left: Operand, right: Operand, culprit: tree.Literal | None) -> str:
    other = left if culprit is right else right
    if culprit is None:
        return "Compare values of one type; column types are in schema.yml."
    if isinstance(culprit.value, str):
        if is_number(other.type):
            return "Write the number without quotes."
        return {
            Kind.BOOLEAN: "Write TRUE or FALSE without quotes.",
            Kind.INTERVAL: f"Write INTERVAL '{culprit.value}'.",
        }.get(other.type.kind, "Compare values of one type.")
    if other.type.kind is Kind.TEXT and is_number(culprit.type):
        return f"Put it in quotes: '{culprit.value}'."
    if other.type.kind is Kind.TIMESTAMP:
        return "Write TIMESTAMP '2026-01-01 00:00:00'."
    if other.type.kind is Kind.TIMESTAMPTZ:
        return "Write TIMESTAMPTZ '2026-01-01 00:00:00+00', or now() - INTERVAL '7 days'."
    if other.type.kind is Kind.INTERVAL:
        return "Write INTERVAL '7 days'."
    return "Compare values of one type; column types are in schema.yml."


def _constant(op: str, a: tree.Value, b: tree.Value) -> bool:
    if op in ("=", "<>"):
        return (a == b) == (op == "=")
    # Both are of one family, and neither is NULL.
    less, equal = a < b, a == b  # type: ignore[operator]
    return {"<": less, "<=": less or equal, ">": not (less or equal), ">=": not less}[op]


def not_distinct(left: tree.Expr, right: tree.Expr, where: Where) -> tree.Expr:
    """Equal, or both NULL; never NULL itself."""
    if left.type.kind is Kind.NULL:
        return is_null(right, where.at)
    if right.type.kind is Kind.NULL:
        return is_null(left, where.at)
    equal = is_true(compare("=", left, right, where), where.at)
    both = conjunction((is_null(left, where.at), is_null(right, where.at)), where.at)
    return disjunction((equal, both), where.at)


# -- lists, patterns, coalesce -----------------------------------------------------------------------


def inside(what: tree.Expr, values: list[tree.Expr], where: Where) -> tree.Expr:
    if not values:
        raise Refused(where.op_at, "The list of IN is empty.", "Write at least one value.")
    if len(values) > IN_MAX:
        remedy = "Send the property that these have in common with the events."
        raise Refused(where.op_at, f"The list of IN has more than {IN_MAX} values.", remedy)
    if what.type.kind is Kind.NULL:
        raise Refused(what.at, "A comparison with NULL is never true.", "Write IS NULL or IS NOT NULL.")
    constants: list[tree.Literal] = []
    for value in values:
        if not isinstance(value, tree.Literal):
            raise Refused(value.at, "The list of IN holds constants only.", "Compare with = and join with OR.")
        if value.value is None:
            constants.append(value)
            continue
        fitting = settled(_instants(value, what))
        _family((what, fitting), value.at)
        constants.append(fitting if isinstance(fitting, tree.Literal) else value)
    if isinstance(what, tree.Literal):
        raise Refused(what.at, "A constant is in the list, or it is not.", "Put a column before IN.")
    if any(one.type.kind is Kind.DOUBLE for one in (what, *constants)):
        # One double makes DuckDB compare all of them as doubles.
        constants = [double_constant(constant) for constant in constants]
    return checked(tree.In(what, tuple(constants), at=where.at))


def between(what: Operand, low: Operand, high: Operand, where: Where) -> tuple[tree.Expr, tree.Expr]:
    """The two comparisons; DuckDB makes all three of one type first, so a double among exact numbers is refused."""
    three = (what, low, high)
    kinds = {one.type.kind for one in three if not isinstance(one, tree.Literal)}
    if any(one.type.kind is Kind.DOUBLE for one in three) and kinds & {Kind.BIGINT, Kind.NUMERIC, Kind.RATIO}:
        remedy = "Write two comparisons: x >= a AND x <= b."
        raise Refused(where.op_at, "BETWEEN mixes double and exact numbers.", remedy)
    return compare(">=", what, low, where), compare("<=", what, high, where)


def like(
    arg: tree.Expr, pattern: tree.Expr, escape: tree.Expr | None, insensitive: bool, where: Where
) -> tree.Expr:
    name = "ILIKE" if insensitive else "LIKE"
    if arg.type.kind is not Kind.TEXT:
        reason = f"{name} needs a text, and this is {WORDS[arg.type.kind]}."
        raise Refused(arg.at, reason, "Compare with = < > instead.")
    text = _constant_text(pattern)
    if text is None:
        raise Refused(pattern.at, f"The pattern of {name} is not a constant text.", "Write it in quotes: 'test%'.")
    if escape is None:
        if "\\" in text:
            raise Refused(
                pattern.at,
                "A backslash in a pattern means different things in PostgreSQL and DuckDB.",
                r"Say what it is: LIKE 'a!%b' ESCAPE '!', or LIKE 'a\\b' ESCAPE '\'.",
            )
        return tree.Like(arg, text, "", insensitive, at=where.at)
    sign = _constant_text(escape)
    if sign is None or len(sign) != 1 or not sign.isascii() or sign.isalnum() or sign in "%_":
        raise Refused(escape.at, "ESCAPE needs one sign.", "Write for example ESCAPE '!'.")
    try:
        like_matcher(text, sign, insensitive)
    except ValueError as error:
        raise Refused(pattern.at, f"In the pattern of {name}: {error}.", f"Write {sign}{sign} for the sign.") from None
    return tree.Like(arg, text, sign, insensitive, at=where.at)


def _constant_text(node: tree.Expr) -> str | None:
    return node.value if isinstance(node, tree.Literal) and isinstance(node.value, str) else None


def coalesce(args: tuple[tree.Expr, ...], at: Position) -> tree.Expr:
    kept = tuple(arg for arg in args if arg.type.kind is not Kind.NULL)
    if not kept:
        raise Refused(at, "coalesce has only NULLs.", "Name a column or an aggregate.")
    kept = tuple(settled(_instants(arg, kept[0])) for arg in kept)
    first = kept[0]
    if all(is_number(arg.type) for arg in kept):
        return tree.Coalesce(*_coalesced_numbers(kept, at), at=at) if len(kept) > 1 else first
    for arg in kept[1:]:
        if arg.type.kind is not first.type.kind:
            raise Refused(
                arg.at,
                f"coalesce of {WORDS[first.type.kind]} and {WORDS[arg.type.kind]}.",
                "Use values of one type.",
            )
    return tree.Coalesce(kept, first.type, at=at) if len(kept) > 1 else first


def _coalesced_numbers(args: tuple[tree.Expr, ...], at: Position) -> tuple[tuple[tree.Expr, ...], Type]:
    doubles = [arg for arg in args if arg.type.kind is Kind.DOUBLE]
    exact = [arg for arg in args if arg.type.exact and not isinstance(arg, tree.Literal)]
    if doubles and exact:
        raise Refused(at, "coalesce of a double and an exact number.", "Declare both as numeric(p,s) in schema.yml.")
    if doubles:
        args = tuple(as_double(arg) for arg in args)
    elif all(arg.type.kind in (Kind.BIGINT, Kind.NUMERIC) for arg in args):
        check_one_scale("coalesce", args, at)
    return args, common(args)
