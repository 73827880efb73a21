"""What an aggregate inside a formula is made of: linear cells, a register, or a bag."""

from segmentation.compile import tree
from segmentation.compile.anchors import over_all, own, scalars_in
from segmentation.compile.cells import Cells, register_terms, terms_of, valued_terms
from segmentation.compile.lower_users import value_of, with_latest
from segmentation.compile.plan import Anchor, Bag, Distinct, Plan, Register, Source, Values
from segmentation.types import Kind


def add_anchors(plan: Plan, cells: Cells) -> None:
    """Makes the cells of the values that new terms stand beside, and of those that these stand beside in turn."""
    while cells.new:
        for scalar in scalars_in(cells.new.pop().beside):
            if scalar not in plan.anchors:
                plan.anchors[scalar] = _anchor(over_all(scalar.value, None), cells)


def _anchor(value: tree.Expr, cells: Cells) -> Anchor:
    sources: dict[tree.Aggregate, Source] = {}
    columns: dict[tree.UserColumn, tree.Aggregate] = {}
    for part in own(value):
        if isinstance(part, tree.UserColumn) and part not in columns:
            columns[part], source = value_of(part, cells)
            sources[columns[part]] = source
        elif isinstance(part, tree.Aggregate) and part not in sources:
            sources[part] = source_of(part, None, cells)

    return Anchor(with_latest(value, columns), tuple(sources.items()))


def source_of(aggregate: tree.Aggregate, where: tree.Expr | None, cells: Cells) -> Source:
    """The cells of the aggregate over the rows for which `where` is true, made where there are none."""
    function, arg = aggregate.function, aggregate.arg
    if function in ("count", "sum", "avg"):
        return _added(aggregate, where, cells)
    assert arg is not None
    # A register compares numbers alone, and its rows never leave.
    kept = None
    if function != "mode" and not (arg.type.kind is Kind.TEXT and function in ("min", "max")):
        kept = register_terms(where, aggregate)
    if kept is None:
        return Source(bag=cells.bag(Bag(function, tuple(valued_terms(where, aggregate)), arg.type)))
    terms, windowed = kept
    present = cells.linear(terms_of(where, aggregate, argument=False)) if windowed else -1
    return Source(register=cells.register(Register(function, tuple(terms), arg.type)), present=present)


def _added(aggregate: tree.Aggregate, where: tree.Expr | None, cells: Cells) -> Source:
    """count, sum and avg, of rows or of different values."""
    arg = aggregate.arg
    if aggregate.distinct:
        assert arg is not None
        values = Distinct(tuple(valued_terms(where, aggregate)), arg.type)
        counted, summed = (cells.linear((), [Values(values, summed)]) for summed in (False, True))
    else:
        counted = cells.linear(terms_of(where, aggregate, argument=False))
        summed = cells.linear(terms_of(where, aggregate, argument=True)) if aggregate.function != "count" else -1
    if aggregate.function == "count":
        return Source(linear=counted)
    assert arg is not None
    return Source(linear=summed, present=counted, scale=arg.type.scale)
