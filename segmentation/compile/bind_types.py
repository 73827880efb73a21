"""What types go together, and what comes out: the rules of `tree` about families.

Exact numbers stay exact: sums, products and quotients carry the digits that they need, and a form
whose digits DuckDB could not carry (more than 38) is refused. A double is only ever combined with
a constant or another number in double arithmetic, and never with an exact quotient, which has no
double of its own that both engines agree on.
"""

from dataclasses import replace
from decimal import Context, Decimal

from segmentation.compile import tree
from segmentation.compile.problems import Position, Refused
from segmentation.types import BIGINT, DOUBLE, RATIO, Kind, Type, numeric

DIGITS_MAX = 38
#: Decimal constants of up to 15 digits have one double, however they are converted.
DOUBLE_DIGITS_MAX = 15
DOUBLE_SCALE_MAX = 22
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
EXACT = Context(prec=200)

NUMBERS = (Kind.BIGINT, Kind.NUMERIC, Kind.RATIO, Kind.DOUBLE)
WORDS = {
    Kind.TEXT: "a text",
    Kind.BIGINT: "a number",
    Kind.NUMERIC: "a number",
    Kind.RATIO: "a number",
    Kind.DOUBLE: "a number",
    Kind.BOOLEAN: "true or false",
    Kind.TIMESTAMPTZ: "a time",
    Kind.TIMESTAMP: "a local time",
    Kind.INTERVAL: "an interval",
    Kind.NULL: "NULL",
}


def is_number(type: Type) -> bool:
    return type.kind in NUMBERS


def digits(type: Type) -> tuple[int, int]:
    """(digits before the point, digits after it) that a value of an exact, not quotient type may have."""
    return (19, 0) if type.kind is Kind.BIGINT else (type.precision - type.scale, type.scale)


def literal_number(value: Decimal, at: Position) -> tree.Literal:
    """A whole number that fits is a bigint, any other number numeric, as short as it was written."""
    _, figures, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    scale = max(0, -exponent)
    precision = max(len(figures) + max(0, exponent), scale, 1)
    if precision > DIGITS_MAX:
        raise Refused(at, f"The number has more than {DIGITS_MAX} digits.", "Write it with fewer.")
    if scale == 0 and INT64_MIN <= value <= INT64_MAX:
        return tree.Literal(int(value), BIGINT, at=at)
    return tree.Literal(value, numeric(precision, scale), at=at)


def as_double(node: tree.Expr) -> tree.Expr:
    """A constant in double; anything else as it is (the evaluator casts it)."""
    return double_constant(node) if isinstance(node, tree.Literal) else node


def double_constant(node: tree.Literal) -> tree.Literal:
    if node.type.kind is Kind.DOUBLE or node.value is None:
        return node
    number = Decimal(str(node.value))
    _, figures, exponent = number.normalize().as_tuple()
    assert isinstance(exponent, int)
    if len(figures) > DOUBLE_DIGITS_MAX or -exponent > DOUBLE_SCALE_MAX:
        raise Refused(
            node.at,
            f"A double holds only {DOUBLE_DIGITS_MAX} digits safely, and this number has more.",
            "Write fewer digits, or declare the column as numeric(p,s) in schema.yml.",
        )
    return replace(node, value=float(number), type=DOUBLE)


def numbers(nodes: tuple[tree.Expr, ...], at: Position) -> tuple[tree.Expr, ...]:
    """The operands of one numeric operation or comparison, all numbers: constants converted, mixtures checked."""
    if not any(node.type.kind is Kind.DOUBLE for node in nodes):
        return nodes
    if any(node.type.kind is Kind.RATIO for node in nodes):
        raise Refused(
            at,
            "An exact quotient (from avg or /) does not go together with a double.",
            "Declare the double column as numeric(p,s) in schema.yml.",
        )
    return tuple(as_double(node) for node in nodes)


def common(nodes: tuple[tree.Expr, ...]) -> Type:
    """The type that holds any of these numbers."""
    kinds = {node.type.kind for node in nodes}
    for kind, type in ((Kind.DOUBLE, DOUBLE), (Kind.RATIO, RATIO)):
        if kind in kinds:
            return type
    if kinds == {Kind.BIGINT}:
        return BIGINT
    whole = max(digits(node.type)[0] for node in nodes)
    scale = max(digits(node.type)[1] for node in nodes)
    return numeric(min(DIGITS_MAX, whole + scale), scale)


def check_one_scale(function: str, args: tuple[tree.Expr, ...], at: Position) -> None:
    """Where one numeric(38,s) cannot hold them all, DuckDB rounds to fewer decimals."""
    whole, scale = (max(digits(arg.type)[part] for arg in args) for part in (0, 1))
    if whole + scale > DIGITS_MAX:
        least = min(arg.type.scale for arg in args if digits(arg.type)[0] == whole)
        raise Refused(
            at,
            f"{function} would round: one value has {scale} decimals, another up to {whole} digits before the point.",
            f"Use at most {max(least, DIGITS_MAX - whole)} decimals.",
        )


def arithmetic(op: str, left: tree.Expr, right: tree.Expr, at: Position, op_at: Position) -> tree.Expr:
    """`left op right` for two numbers; + - * of two exact constants is worked out."""
    left, right = numbers((left, right), op_at)
    if isinstance(left, tree.Literal) and isinstance(right, tree.Literal) and op != "/" and left.type.exact:
        return literal_number(_calculated(op, left, right), at)
    return tree.Arithmetic(op, left, right, _result(op, left, right, op_at), at=at)


def _calculated(op: str, left: tree.Literal, right: tree.Literal) -> Decimal:
    # As integers times a power of ten: no context of the decimal module can round it.
    scale_left, scale_right = left.type.scale, right.type.scale
    a, b = (int(Decimal(str(each.value)).scaleb(each.type.scale, EXACT)) for each in (left, right))
    if op == "*":
        return Decimal(a * b).scaleb(-scale_left - scale_right, EXACT)
    scale = max(scale_left, scale_right)
    a, b = a * 10 ** (scale - scale_left), b * 10 ** (scale - scale_right)
    return Decimal(a + b if op == "+" else a - b).scaleb(-scale, EXACT)


def _result(op: str, left: tree.Expr, right: tree.Expr, at: Position) -> Type:
    type = common((left, right))
    if type.kind is Kind.DOUBLE:
        return DOUBLE
    if op == "/" or type.kind is Kind.RATIO:
        return RATIO
    if type.kind is Kind.BIGINT:
        return BIGINT
    (whole_left, scale_left), (whole_right, scale_right) = digits(left.type), digits(right.type)
    if op == "*":
        whole, scale = whole_left + whole_right, scale_left + scale_right
    else:
        whole, scale = max(whole_left, whole_right) + 1, max(scale_left, scale_right)
    if scale > DIGITS_MAX:
        raise Refused(at, f"The result would have more than {DIGITS_MAX} decimal places.", "Multiply fewer of them.")
    return numeric(min(DIGITS_MAX, whole + scale), scale)
