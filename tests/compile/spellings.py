"""Other spellings of a definition: the same condition in another order, negated twice, with its sides swapped."""

import re
from collections.abc import Callable

import sqlglot
from hypothesis import strategies as st
from sqlglot import exp

_Kinds = dict[type[exp.Expr], type[exp.Expr]]
_SWAPPED: _Kinds = {
    exp.LT: exp.GT, exp.GT: exp.LT, exp.LTE: exp.GTE, exp.GTE: exp.LTE, exp.EQ: exp.EQ, exp.NEQ: exp.NEQ,
}  # fmt: skip
_OPPOSITE: _Kinds = {
    exp.LT: exp.GTE, exp.GTE: exp.LT, exp.GT: exp.LTE, exp.LTE: exp.GT, exp.EQ: exp.NEQ, exp.NEQ: exp.EQ,
}  # fmt: skip
Rewrite = Callable[[exp.Expr], exp.Expr | None]


def _wrapped(node: exp.Expr) -> exp.Expr:
    return node.copy() if isinstance(node, exp.Paren) else exp.Paren(this=node.copy())


def swapped_sides(node: exp.Expr) -> exp.Expr | None:
    kind = _SWAPPED.get(type(node))
    return kind(this=_wrapped(node.expression), expression=_wrapped(node.this)) if kind else None


def opposite(node: exp.Expr) -> exp.Expr | None:
    """a < b is NOT (a >= b), also where one is NULL."""
    kind = _OPPOSITE.get(type(node))
    if kind is None:
        return None
    return _wrapped(exp.Not(this=_wrapped(kind(this=node.this.copy(), expression=node.expression.copy()))))


def other_order(node: exp.Expr) -> exp.Expr | None:
    if not isinstance(node, exp.And | exp.Or):
        return None
    return _wrapped(type(node)(this=_wrapped(node.expression), expression=_wrapped(node.this)))


def de_morgan(node: exp.Expr) -> exp.Expr | None:
    if not isinstance(node, exp.And | exp.Or):
        return None
    left, right = (exp.Not(this=_wrapped(part)) for part in (node.this, node.expression))
    other = exp.Or if isinstance(node, exp.And) else exp.And
    return _wrapped(exp.Not(this=_wrapped(other(this=left, expression=right))))


def not_not(node: exp.Expr) -> exp.Expr | None:
    if not isinstance(node, exp.Predicate | exp.And | exp.Or) or isinstance(node.parent, exp.Escape | exp.Not):
        return None
    return _wrapped(exp.Not(this=_wrapped(exp.Not(this=_wrapped(node)))))


def two_comparisons(node: exp.Expr) -> exp.Expr | None:
    if not isinstance(node, exp.Between):
        return None
    low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
    high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
    return _wrapped(exp.And(this=low, expression=high))


def other_list(node: exp.Expr) -> exp.Expr | None:
    if not isinstance(node, exp.In) or node.args.get("query") is not None:
        return None
    values = [each.copy() for each in (*reversed(node.expressions), node.expressions[0])]
    return exp.In(this=node.this.copy(), expressions=values)


def arithmetic(node: exp.Expr) -> exp.Expr | None:
    """5 is 2 + 3, and two days are three days less one."""
    if isinstance(node, exp.Interval):
        number, _, unit = str(node.this.name).partition(" ")
        unit = unit or str(node.args["unit"])
        return sqlglot.parse_one(f"(INTERVAL '{int(number) + 1} {unit}' - INTERVAL '1 {unit}')", read="postgres")
    if isinstance(node, exp.Literal) and not node.is_string and isinstance(node.parent, exp.Predicate):
        return sqlglot.parse_one(f"({node.name} - 7 + 2 * 3.5)", read="postgres")
    return None


REWRITES: list[Rewrite] = [
    swapped_sides, opposite, other_order, de_morgan, not_not, two_comparisons, other_list, arithmetic,
]  # fmt: skip


@st.composite
def respelled(draw: st.DrawFn, sql: str) -> str:
    """The same definition, differently spelled in one to four places."""
    tree = sqlglot.parse_one(sql, read="postgres")
    for _ in range(draw(st.integers(1, 4))):
        rewrite = draw(st.sampled_from(REWRITES))
        places = [node for node in tree.walk() if node.parent is not None and rewrite(node) is not None]
        if places:
            node = draw(st.sampled_from(places))
            new = rewrite(node)
            assert new is not None
            node.replace(new)
    return re.sub(r"\s+", " ", tree.sql("postgres"))
