"""EXISTS about an event and those of the query inside: is there a later one, a larger one?

There is one inside with f > g, g being of the event outside, exactly where the largest f inside is > g. So such a
query becomes a comparison with a value, which is an aggregate over the user's own events. With two comparisons of
that kind, or with =, no single value decides.

Of a table with one row per user there is one row, or none. So what is asked of it together with the event outside is
asked beside it, with queries as values for its columns; and so is what is asked of the event outside alone.
"""

from collections.abc import Callable

from sqlglot import exp

from segmentation.compile.bind_from import columns_in, parts_of
from segmentation.compile.bind_shape import USER_ID, bare, conjuncts, folded, place_of

#: From what is inside to what is outside: which of the values inside decides.
_DECIDES: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.Max, exp.GTE: exp.Max, exp.LT: exp.Min, exp.LTE: exp.Min}
_FLIPPED: dict[type[exp.Expr], type[exp.Expr]] = {exp.GT: exp.LT, exp.GTE: exp.LTE, exp.LT: exp.GT, exp.LTE: exp.GTE}
_OTHERS = ("group", "having", "joins", "with_")


def as_comparison(node: exp.Exists) -> exp.Expr | None:
    """The comparison that is true exactly where something exists; None for a query of another kind."""
    select = bare(node.this).copy()
    if not isinstance(select, exp.Select) or any(select.args.get(part) for part in _OTHERS):
        return None
    table, where = select.args["from_"].this, select.args.get("where")
    if any(parts_of(select.expressions, exp.AggFunc)):
        return None  # it gives a row whatever WHERE says
    if where is None or not isinstance(table, exp.Table) or folded(table.this) != "events":
        return None  # of a table with one row per user its columns are values already
    alias = table.args.get("alias")
    name = folded(alias.this if alias is not None else table.this)
    parts = conjuncts(where.this)
    outside = [part for part in parts if any(not _is_of(name, column) for column in _values_in(part))]
    condition = bare(outside[0]) if len(outside) == 1 else None
    if condition is None or type(condition) not in _DECIDES:
        return None
    left, right = condition.this, condition.expression
    if _side(name, left) + _side(name, right) != 0 or not _side(name, left):
        return None
    inner, other, kind = (
        (left, right, type(condition)) if _side(name, left) > 0 else (right, left, _FLIPPED[type(condition)])
    )
    value = _placed(_DECIDES[kind](this=inner), inner)
    select.set("expressions", [value])
    select.set("distinct", None)
    rest = [part for part in parts if part is not outside[0]]
    if len(rest) > 1:
        both = exp.And(this=rest[0], expression=rest[1])  # only its parts are looked at
        both.meta["parts"] = rest
        where.set("this", both)
    else:
        select.set("where", exp.Where(this=rest[0]) if rest else None)
    compared = kind(this=_placed(exp.Subquery(this=select), node), expression=other)
    compared.meta.update(condition.meta)
    return compared


def with_outside(node: exp.Exists, of_row: Callable[[exp.Column], bool]) -> exp.Expr | None:
    """What is true exactly where something exists, without the columns of the event outside (`of_row`) in the query;
    None where there are none, or where rows of events inside are compared with them."""
    select = bare(node.this).copy()
    if not isinstance(select, exp.Select) or any(select.args.get(part) for part in ("group", "having", "with_")):
        return None
    where = select.args.get("where")
    tables = [select.args["from_"].this, *(join.this for join in select.args.get("joins") or ())]
    if where is None or any(parts_of(select.expressions, exp.AggFunc)):
        return None
    names = {_name_of(table) for table in tables}
    rows = any(isinstance(table, exp.Table) and folded(table.this) == "events" for table in tables)
    inside: list[tuple[exp.Expr, list[exp.Column]]] = []
    beside: list[tuple[exp.Expr, list[exp.Column]]] = []
    for part in conjuncts(where.this):
        values = _values_in(part)
        outer = [column for column in values if not _is_any_of(names, column) and of_row(column)]
        inner = [column for column in values if _is_any_of(names, column)]
        (beside if outer and not (rows and inner) else inside).append((part, inner))
    if not beside or not inside:
        return None
    ties = [part for part, inner in inside if not inner and isinstance(bare(part), exp.EQ)]
    if not ties:  # joined by nothing that says whose rows they are
        return None
    rest = _placed(exp.Exists(this=_only(select, [part for part, _ in inside])), node)
    return _all([rest, *(_with_values(part, names, _only(select, ties)) for part, _ in beside)], node)


def _with_values(node: exp.Expr, names: set[str], query: exp.Select) -> exp.Expr:
    """With queries as values in place of columns of the tables inside."""
    if isinstance(node, exp.Column):
        if folded(node.this) == USER_ID or not _is_any_of(names, node):
            return node
        one = query.copy()
        one.set("expressions", [node.copy()])
        one.set("distinct", None)
        return _placed(exp.Subquery(this=one), node)
    if isinstance(node, exp.Query):
        return node
    if "parts" in node.meta:  # only these are looked at
        node.meta["parts"] = [_with_values(part, names, query) for part in node.meta["parts"]]
        return node
    for name, value in list(node.args.items()):
        if isinstance(value, list):
            node.set(name, [_with_values(one, names, query) if isinstance(one, exp.Expr) else one for one in value])
        elif isinstance(value, exp.Expr):
            node.set(name, _with_values(value, names, query))
    return node


def _only(select: exp.Select, parts: list[exp.Expr]) -> exp.Select:
    """The query with these conditions alone."""
    other = select.copy()
    other.set("where", exp.Where(this=_all([part.copy() for part in parts], select)))
    return other


def _all(parts: list[exp.Expr], at: exp.Expr) -> exp.Expr:
    if len(parts) == 1:
        return parts[0]
    both = _placed(exp.And(this=parts[0], expression=parts[1]), at)  # only its parts are looked at
    both.meta["parts"] = parts
    return both


def _name_of(table: exp.Expr) -> str:
    alias = table.args.get("alias")
    return folded(alias.this if alias is not None else table.this) if alias or isinstance(table, exp.Table) else ""


def _is_any_of(names: set[str], column: exp.Column) -> bool:
    return any(_is_of(name, column) for name in names)


def _side(name: str, node: exp.Expr) -> int:
    """1: of the table inside alone, -1: of others alone, 0: neither."""
    found = {_is_of(name, column) for column in columns_in(node)}
    return 0 if len(found) != 1 else 1 if found == {True} else -1


def _is_of(name: str, column: exp.Column) -> bool:
    """What has no table's name before it means the table inside first."""
    qualifiers = column.parts[:-1]
    return not qualifiers or [folded(part) for part in qualifiers] == [name]


def _values_in(node: exp.Expr) -> list[exp.Column]:
    return [column for column in columns_in(node) if folded(column.this) != USER_ID]


def _placed(new: exp.Expr, old: exp.Expr) -> exp.Expr:
    new.meta["at"] = place_of(old)
    return new
