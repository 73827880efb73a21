"""EXISTS about an event and those of the query inside: is there a later one, a larger one?

There is one inside with f > g, g being of the event outside, exactly where the largest f inside is > g. So such a
query becomes a comparison with a value, which is an aggregate over the user's own events. With two comparisons of
that kind, or with =, no single value decides.
"""

from sqlglot import exp

from segmentation.compile.bind_from import columns_in
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
