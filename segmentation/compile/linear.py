"""Which group expressions are linear in cells, and with what weights."""

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from segmentation.compile import tree
from segmentation.compile.cells import Cells, distinct_of, terms_of
from segmentation.compile.plan import Values
from segmentation.types import Kind


@dataclass(slots=True)
class Sum:
    """constant + the sum of weight * cell, divided by the count `divisor` where there is one.

    present: linear cells that must be at least 1 for the value not to be NULL; null: always NULL.
    """

    weights: dict[int, Fraction] = field(default_factory=dict)
    constant: Fraction = Fraction(0)
    present: frozenset[int] = frozenset()
    divisor: int | None = None
    null: bool = False

    @staticmethod
    def of(cell: int, weight: int) -> "Sum":
        return Sum({cell: Fraction(weight)})

    def times(self, factor: Fraction) -> "Sum":
        weights = {cell: weight * factor for cell, weight in self.weights.items()}
        return Sum(weights, self.constant * factor, self.present, self.divisor, self.null)

    def plus(self, other: "Sum") -> "Sum":
        weights = dict(self.weights)
        for cell, weight in other.weights.items():
            weights[cell] = weights.get(cell, Fraction(0)) + weight
        return Sum(weights, self.constant + other.constant, self.present | other.present, None, self.null or other.null)

    def minus(self, other: "Sum") -> "Sum":
        return self.plus(other.times(Fraction(-1)))

    def over_count(self, constant: Fraction) -> "Sum":
        """self / divisor compared with a constant is this compared with 0, where it is not NULL."""
        assert self.divisor is not None
        numerator = Sum(self.weights, self.constant, self.present | {self.divisor}, None, self.null)
        return numerator.minus(Sum({self.divisor: constant}))


def linear(node: tree.Expr, where: tree.Expr | None, cells: Cells) -> Sum | None:
    """The expression as a Sum, or None where it is not linear with exact weights."""
    match node:
        case tree.Literal(value):
            if value is None:
                return Sum(null=True)
            return Sum(constant=Fraction(value)) if isinstance(value, int | Decimal) else None
        case tree.Aggregate("count"):
            return _counted(node, where, cells)
        case tree.Aggregate("sum", arg):
            if arg is None or arg.type.kind not in (Kind.BIGINT, Kind.NUMERIC):
                return None
            counted = _counted(node, where, cells)
            if not counted.weights:
                return Sum(null=True)
            return Sum(_summed(node, where, cells).weights, present=frozenset(counted.weights))
        case tree.Aggregate("avg", arg):
            if arg is None or arg.type.kind not in (Kind.BIGINT, Kind.NUMERIC):
                return None
            counted = _counted(node, where, cells)
            if not counted.weights:
                return Sum(null=True)
            return Sum(_summed(node, where, cells).weights, divisor=next(iter(counted.weights)))
        case tree.Coalesce(args):
            return _coalesced(args, where, cells)
        case tree.Arithmetic(op, left, right):
            a, b = linear(left, where, cells), linear(right, where, cells)
            return None if a is None or b is None else _combined(op, a, b, cells)
    return None


def _counted(node: tree.Aggregate, where: tree.Expr | None, cells: Cells) -> Sum:
    if node.distinct:
        distinct = distinct_of(where, node)
        return Sum.of(cells.linear((), [Values(distinct, summed=False)]), 1) if distinct else Sum()
    terms = terms_of(where, node, argument=False)
    return Sum.of(cells.linear(terms), 1) if terms else Sum()


def _summed(node: tree.Aggregate, where: tree.Expr | None, cells: Cells) -> Sum:
    assert node.arg is not None
    unit = Fraction(1, 10**node.arg.type.scale)
    if node.distinct:
        distinct = distinct_of(where, node)
        return Sum({cells.linear((), [Values(distinct, summed=True)]): unit}) if distinct else Sum()
    terms = terms_of(where, node, argument=True)
    return Sum({cells.linear(terms): unit}) if terms else Sum()


def _coalesced(args: tuple[tree.Expr, ...], where: tree.Expr | None, cells: Cells) -> Sum | None:
    """coalesce(sum(x), 0) is the running sum, which is 0 over nothing."""
    first = linear(args[0], where, cells)
    if first is None or first.divisor is not None or first.null:
        return None
    if not first.present or len(args) == 1:
        return first
    single = isinstance(args[0], tree.Aggregate)
    zero = isinstance(args[1], tree.Literal) and isinstance(args[1].value, int | Decimal) and args[1].value == 0
    return Sum(first.weights, first.constant) if single and zero else None


def _combined(op: str, a: Sum, b: Sum, cells: Cells) -> Sum | None:
    if a.null or b.null:
        return Sum(null=True)
    if op in ("+", "-") and a.divisor is None and b.divisor is None:
        return a.plus(b) if op == "+" else a.minus(b)
    if op == "*":
        if a.weights or a.divisor is not None:
            a, b = b, a
        # 0 * NULL is NULL: a weight of 0 keeps its conditions.
        return None if a.weights or a.divisor is not None or a.present else b.times(a.constant)
    if op == "/" and a.divisor is None:
        if not b.weights and not b.present and b.divisor is None:
            return Sum(null=True) if b.constant == 0 else a.times(1 / b.constant)
        if len(b.weights) == 1 and not b.present and b.divisor is None and not b.constant:
            ((cell, weight),) = b.weights.items()
            if weight and cells.is_count(cell):
                return Sum(a.times(1 / weight).weights, a.constant / weight, a.present, cell)
    return None
