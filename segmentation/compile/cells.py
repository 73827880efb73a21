"""Aggregates as cells: which terms a count, a sum or a register is made of."""

from collections.abc import Sequence
from dataclasses import replace

from segmentation.compile import tree
from segmentation.compile.anchors import beside_values
from segmentation.compile.forms import FALSE, TRUE, canonical, conjunction, form, two_valued
from segmentation.compile.plan import Bag, Distinct, Linear, Plan, Register, Term, Values, walk
from segmentation.compile.problems import Refused
from segmentation.compile.split import by_time
from segmentation.edges import Edge
from segmentation.types import FOREVER, TEXT, Kind

#: Columns that every accepted event has.
REQUIRED = frozenset({"user_id", "event_id", "event_type", "event_time"})
_CODES_MAX = 4096


class Cells:
    """Collects the cells of a plan; equal ones get one number. new: terms of cells that nobody has looked at yet."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.new: list[Term] = []
        self._linear: dict[Linear, int] = {}
        self._register: dict[Register, int] = {}
        self._bag: dict[Bag, int] = {}

    def linear(self, terms: Sequence[Term], values: Sequence[Values] = ()) -> int:
        cell = Linear(tuple(sorted(terms, key=repr)), tuple(sorted(values, key=repr)))
        if cell not in self._linear:
            self._linear[cell] = len(self._plan.linears)
            self._plan.linears.append(cell)
            self.new += [*cell.terms, *(term for each in cell.values for term in each.of.terms)]
        return self._linear[cell]

    def combined(self, parts: Sequence[tuple[int, int]]) -> int:
        """The sum of cells, each times a factor."""
        linears = [(self._plan.linears[number], factor) for number, factor in parts]
        return self.linear(
            [replace(term, coefficient=term.coefficient * f) for cell, f in linears for term in cell.terms],
            [replace(values, coefficient=values.coefficient * f) for cell, f in linears for values in cell.values],
        )

    def is_count(self, cell: int) -> bool:
        """Never negative: the cell only counts rows, or different values."""
        linear = self._plan.linears[cell]
        rows = all(term.arg is None and term.coefficient > 0 for term in linear.terms)
        return rows and all(not values.summed and values.coefficient > 0 for values in linear.values)

    def bag(self, bag: Bag) -> int:
        if bag not in self._bag:
            self._bag[bag] = len(self._plan.bags)
            self._plan.bags.append(bag)
            self.new += bag.terms
        return self._bag[bag]

    def register(self, register: Register) -> int:
        if register not in self._register:
            self._register[register] = len(self._plan.registers)
            self._plan.registers.append(register)
            self.new += register.terms
        return self._register[register]


def terms_of(
    where: tree.Expr | None, aggregate: tree.Aggregate, *, argument: bool, also: tree.Expr | None = None
) -> list[Term]:
    """The rows that the aggregate sees, as terms: those with a non-NULL argument.

    argument: the terms weigh the argument (sum); else they count. `also` narrows the rows further.
    """
    parts = [two_valued(part) for part in (where, aggregate.filter, also) if part is not None]
    arg = aggregate.arg
    if arg is not None and not argument and not _never_null(arg):
        parts.append(form(tree.Not(tree.IsNull(arg))))
    terms = []
    for rest, start, end in by_time(conjunction(parts)):
        terms.append(_term(canonical(arg) if argument and arg is not None else None, rest, start, end))
    return terms


def _never_null(arg: tree.Expr) -> bool:
    if isinstance(arg, tree.Literal):
        return arg.value is not None
    return isinstance(arg, tree.Column) and arg.name in REQUIRED


def distinct_of(where: tree.Expr | None, aggregate: tree.Aggregate) -> Distinct | None:
    """The different values that the aggregate sees; None where it never sees any."""
    terms = valued_terms(where, aggregate)
    assert aggregate.arg is not None
    return Distinct(tuple(terms), aggregate.arg.type) if terms else None


def valued_terms(where: tree.Expr | None, aggregate: tree.Aggregate) -> list[Term]:
    """The rows that the aggregate sees, with its argument; those where it is NULL are left to evaluation."""
    parts = by_time(conjunction([two_valued(part) for part in (where, aggregate.filter) if part is not None]))
    arg = None if aggregate.arg is None else canonical(aggregate.arg)
    return sorted((_term(arg, rest, start, end) for rest, start, end in parts), key=repr)


def register_terms(where: tree.Expr | None, aggregate: tree.Aggregate) -> tuple[list[Term], bool] | None:
    """The terms of a register over all time, and whether it is valid only while a window holds rows.

    The last event of a trailing window is the last event of all while the window is not empty,
    so a trailing window only decides about NULL. Any other window needs the rows themselves: None.
    So do rows that stand beside a value that moves.
    """
    terms = valued_terms(where, aggregate)
    if any(term.beside is not None for term in terms):
        return None
    lasting = all(term.start == 0 and term.end == FOREVER for term in terms)
    last = aggregate.function == "arg_max" or (aggregate.function == "max" and _is_event_time(aggregate.arg))
    trailing = len(terms) == 1 and terms[0].start == 0 and isinstance(terms[0].end, int)
    if not lasting and not (last and trailing):
        return None
    return [replace(term, start=0, end=FOREVER) for term in terms], not lasting


def _is_event_time(arg: tree.Expr | None) -> bool:
    return isinstance(arg, tree.Column) and arg.name == "event_time"


def _term(arg: tree.Expr | None, rest: tree.Expr, start: Edge, end: Edge) -> Term:
    """Of a two-valued condition without ages."""
    alone, beside = beside_values(rest)
    if arg is not None and (moving := next((part for part in walk(arg) if isinstance(part, tree.Scalar)), None)):
        raise Refused(
            moving.at, "An aggregate's argument has a value of the user in it: when it moves, every row changes.",
            "Aggregate first and compare then: max(event_time) - (SELECT ...).",
        )
    return Term(arg, *_indexed(alone), start, end, beside=beside)


def _indexed(rest: tree.Expr) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], tree.Expr | None]:
    """Top-level equalities of text columns with constants, and what else must hold."""
    codes: dict[str, set[str]] = {}
    others = []
    for piece in rest.args if isinstance(rest, tree.And) else (rest,):
        values = _equal_to(piece)
        if values is None:
            others.append(piece)
        else:
            name, texts = values
            codes[name] = codes[name] & texts if name in codes else texts
    residual = conjunction(others)
    if any(not texts for texts in codes.values()):
        return (("event_type", ()),), None
    return (
        tuple((name, tuple(sorted(texts))) for name, texts in sorted(codes.items())),
        None if residual == TRUE else residual,
    )


def _equal_to(piece: tree.Expr) -> tuple[str, set[str]] | None:
    match piece:
        case tree.Compare("=", tree.Column(name, kind), tree.Literal(str() as value)) if kind.kind is Kind.TEXT:
            return None if name in ("user_id", "event_id") else (name, {value})
        case tree.In(tree.Column(name, kind), values) if kind.kind is Kind.TEXT and name not in ("user_id", "event_id"):
            texts = {value.value for value in values if isinstance(value.value, str)}
            return name, texts
    return None


def index_codes(plan: Plan) -> None:
    """Chooses the columns of the predicate index; equalities of other columns become residuals.

    The index has a row per combination of the columns' values, so its size is bounded: columns are
    taken by how many terms compare them, while the product stays small.
    """
    values: dict[str, set[str]] = {}
    uses: dict[str, int] = {}
    for term in _terms(plan):
        for name, texts in term.codes:
            values.setdefault(name, set()).update(texts)
            uses[name] = uses.get(name, 0) + 1
    size = 1
    for name in sorted(uses, key=lambda name: (name != "event_type", -uses[name], name)):
        if size * (len(values[name]) + 1) <= _CODES_MAX:
            size *= len(values[name]) + 1
            plan.code_columns[name] = tuple(sorted(values[name]))
    plan.linears[:] = [
        Linear(
            _all_outside(cell.terms, plan),
            tuple(replace(each, of=Distinct(_all_outside(each.of.terms, plan), each.of.type)) for each in cell.values),
        )
        for cell in plan.linears
    ]
    plan.registers[:] = [replace(cell, terms=_all_outside(cell.terms, plan)) for cell in plan.registers]
    plan.bags[:] = [replace(cell, terms=_all_outside(cell.terms, plan)) for cell in plan.bags]
    for term in _terms(plan):
        for node in [*walk(term.arg or FALSE), *walk(term.residual or FALSE), *walk(term.beside or FALSE)]:
            if isinstance(node, tree.Column):
                plan.columns[node.name] = node.type
    plan.columns = {name: plan.columns[name] for name in sorted(plan.columns)}


def _terms(plan: Plan) -> list[Term]:
    return [term for cell in plan.cells for term in cell.terms]


def _all_outside(terms: tuple[Term, ...], plan: Plan) -> tuple[Term, ...]:
    return tuple(_outside(term, plan) for term in terms)


def _outside(term: Term, plan: Plan) -> Term:
    """The term with the equalities that the index does not cover moved to its residual."""
    kept = tuple((name, texts) for name, texts in term.codes if name in plan.code_columns)
    if len(kept) == len(term.codes):
        return term
    moved: list[tree.Expr] = [
        tree.In(tree.Column(name, TEXT), tuple(tree.Literal(text, TEXT) for text in texts))
        for name, texts in term.codes if name not in plan.code_columns
    ]
    residual = conjunction([*moved, *([term.residual] if term.residual is not None else [])])
    return replace(term, codes=kept, residual=residual)
