"""The only ways in which a definition that DuckDB judges may differ from its file.

- `now()` becomes the instant asked about;
- `arg_min`, `arg_max` order by (event_time, event_id), so that ties have one answer, and pass over rows without
  a time as before;
- `mode` is worked out of the list of values in that order: the most frequent one, of several the
  one that occurs first;
- `every` is spelled `bool_and`, as DuckDB spells it;
- a comparison with `avg` or a quotient of exact numbers, which DuckDB would round to double, is
  cross-multiplied with the divisor's sign, and so exact;
- a zero has no sign, so `atan2` gets its arguments plus 0;
- a segment as a table is a table of the judge's, with the same rows.

Each is tested by itself on small tables in test_rewrites.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import sqlglot
from sqlglot import exp

from segmentation.types import Kind, Type

NOW = "__NOW__"  # stands for the instant in a rewritten text

COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}

#: What DuckDB works out in double, whatever it is of.
_OF_DOUBLES = (
    exp.Sin, exp.Cos, exp.Tan, exp.Asin, exp.Acos, exp.Atan, exp.Atan2, exp.Sqrt, exp.Radians, exp.Degrees,
    exp.Pow, exp.Pi,
)  # fmt: skip


def for_judge(sql: str, columns: Mapping[str, Type]) -> str:
    """The definition as DuckDB runs it, with NOW in place of the instant."""
    tree = parse(sql)
    for rewrite in (_instant, _tie, _every, _mode, _zero, _segment):
        tree = tree.transform(rewrite, copy=False)
    deepest_first = reversed(list(tree.find_all(exp.Between, exp.In, *COMPARISONS)))
    for node in deepest_first:
        node.replace(exact(node, columns))
    return tree.sql("duckdb")


def parse(sql: str) -> exp.Expr:
    return sqlglot.parse_one(sql, read="duckdb")


def _instant(node: exp.Expr) -> exp.Expr:
    now = isinstance(node, exp.CurrentTimestamp) or (isinstance(node, exp.Anonymous) and node.name.lower() == "now")
    return exp.to_identifier(NOW) if now else node


def _tie(node: exp.Expr) -> exp.Expr:
    if isinstance(node, exp.ArgMax | exp.ArgMin):
        assert isinstance(node.expression, exp.Column) and node.expression.name == "event_time", node
        order = parse("CASE WHEN event_time IS NOT NULL THEN (event_time, event_id) END")
        return type(node)(this=node.this, expression=order)
    return node


def _every(node: exp.Expr) -> exp.Expr:
    every = isinstance(node, exp.Anonymous) and node.name.lower() == "every"
    return exp.LogicalAnd(this=node.expressions[0]) if every else node


def _mode(node: exp.Expr) -> exp.Expr:
    bare = isinstance(node, exp.Mode) and not isinstance(node.parent, exp.Filter)
    if not bare and not (isinstance(node, exp.Filter) and isinstance(node.this, exp.Mode)):
        return node
    value = (node.this if bare else node.this.this).sql("duckdb")
    condition = "" if bare else f" AND ({node.expression.this.sql('duckdb')})"
    every = f"list({value} ORDER BY event_time, event_id) FILTER (WHERE ({value}) IS NOT NULL{condition})"
    each = f"lambda v: {{'n': -len(list_filter({every}, lambda w: w = v)), 'p': list_position({every}, v), 'v': v}}"
    return parse(f"list_sort(list_transform({every}, {each}))[1].v")


def _zero(node: exp.Expr) -> exp.Expr:
    if not isinstance(node, exp.Atan2):
        return node
    y, x = (parse(f"({arg.sql('duckdb')}) + 0e0") for arg in (node.this, node.expression))
    return exp.Atan2(this=y, expression=x)


def _segment(node: exp.Expr) -> exp.Expr:
    if not isinstance(node, exp.Table) or node.db != "segments":
        return node
    table = exp.to_table(f'"{segment_table(node.name)}"')
    table.set("alias", node.args.get("alias") or exp.TableAlias(this=exp.to_identifier(node.name, quoted=True)))
    return table


def segment_table(name: str) -> str:
    return f"segment {name}"


@cache
def segments_read(sql: str) -> list[str]:
    """The names of the segments that a definition reads as tables."""
    if "segments" not in sql:  # most read none
        return []
    return [table.name for table in parse(sql).find_all(exp.Table) if table.db == "segments"]


def exact(node: exp.Expr, columns: Mapping[str, Type]) -> exp.Expr:
    """A comparison without rounding, where the file's would round; `node` itself elsewhere."""
    asks = isinstance(node, exp.In) and node.args.get("query") is not None
    if asks or not _rounds(node) or _double(node, columns):
        return node
    match node:
        case exp.Between():
            low, high = _compare("<=", node.args["low"], node.this), _compare("<=", node.this, node.args["high"])
            return parse(f"({low} AND {high})")
        case exp.In():
            return parse("(" + " OR ".join(_compare("=", node.this, value) for value in node.expressions) + ")")
    return parse(_compare(COMPARISONS[type(node)], node.this, node.expression))


def _rounds(node: exp.Expr) -> bool:
    return any(isinstance(part, exp.Div | exp.Avg) for part in _outside_conditions(node))


def _double(node: exp.Expr, columns: Mapping[str, Type]) -> bool:
    """Whether the comparison is in double anyway: then it is DuckDB's as it stands."""
    for part in _outside_conditions(node):
        if isinstance(part, _OF_DOUBLES) or part.name == "great_circle_distance":
            return True
        if isinstance(part, exp.Column) and part.name in columns and columns[part.name].kind is Kind.DOUBLE:
            return True
        if isinstance(part, exp.Literal) and not part.is_string and "e" in part.name.lower():
            return True
    return False


def _outside_conditions(node: exp.Expr) -> list[exp.Expr]:
    """All parts but the conditions within, which have comparisons of their own."""
    conditions = (exp.Where, exp.Predicate, exp.Connector, exp.Not)
    return list(node.walk(prune=lambda part: part is not node and isinstance(part, conditions)))


@dataclass(frozen=True)
class Quotient:
    """SQL of numerator and divisor; all of `divisors` must not be 0, or the whole is NULL."""

    above: str
    below: str = "1"
    divisors: tuple[str, ...] = ()


def _compare(op: str, left: exp.Expr, right: exp.Expr) -> str:
    a, b = _quotient(left), _quotient(right)
    divisors = a.divisors + b.divisors
    if not divisors:
        return f"({a.above} {op} {b.above})"
    usable = " AND ".join(f"{divisor} <> 0" for divisor in divisors)
    x, y, sign = _times(a.above, b.below), _times(b.above, a.below), _times(a.below, b.below)
    return f"(CASE WHEN {usable} AND {sign} > 0 THEN {x} {op} {y} WHEN {usable} AND {sign} < 0 THEN {y} {op} {x} END)"


def _quotient(node: exp.Expr) -> Quotient:
    match node:
        case exp.Paren():
            return _quotient(node.this)
        case exp.Neg():
            a = _quotient(node.this)
            return Quotient(f"(-{a.above})", a.below, a.divisors)
        case exp.Div():
            a, b = _quotient(node.this), _quotient(node.expression)
            divisors = (*a.divisors, *b.divisors, b.above)
            return Quotient(_times(a.above, b.below), _times(a.below, b.above), divisors)
        case exp.Mul():
            a, b = _quotient(node.this), _quotient(node.expression)
            return Quotient(_times(a.above, b.above), _times(a.below, b.below), a.divisors + b.divisors)
        case exp.Add() | exp.Sub():
            sign = "+" if isinstance(node, exp.Add) else "-"
            a, b = _quotient(node.this), _quotient(node.expression)
            above = f"({_times(a.above, b.below)} {sign} {_times(b.above, a.below)})"
            return Quotient(above, _times(a.below, b.below), a.divisors + b.divisors)
        case exp.Avg() | exp.Filter(this=exp.Avg()):
            return _average(node)
        case exp.Subquery(this=exp.Select()):
            return _selected(node)
        case exp.Coalesce():
            return _coalesced([_quotient(part) for part in (node.this, *node.expressions)])
    assert not _rounds(node), f"cannot be made exact: {node.sql()}"
    return Quotient(f"({node.sql('duckdb')})")


def _times(a: str, b: str) -> str:
    return b if a == "1" else a if b == "1" else f"({a} * {b})"


def _average(node: exp.Expr) -> Quotient:
    inner = node.this if isinstance(node, exp.Filter) else node
    total, count = (f"{name}({inner.this.sql('duckdb')})" for name in ("sum", "count"))
    if isinstance(node, exp.Filter):
        condition = f" FILTER ({node.expression.sql('duckdb').strip()})"
        total, count = total + condition, count + condition
    return Quotient(total, count, (count,))


def _selected(node: exp.Expr) -> Quotient:
    """A query as a value: one query each for what is above and below."""
    inner = _quotient(node.this.expressions[0])

    def query(text: str) -> str:
        value = parse(text)
        if value.find(exp.AggFunc) is None:  # a constant, which without an aggregate would come once for each row
            return text
        other = node.copy()
        other.this.set("expressions", [value])
        return other.sql("duckdb")

    if not inner.divisors:
        return Quotient(query(inner.above))
    return Quotient(query(inner.above), query(inner.below), tuple(map(query, inner.divisors)))


def _coalesced(parts: list[Quotient]) -> Quotient:
    """Whichever part is usable first; its divisor is then not 0."""
    usable = [" AND ".join([f"{p.above} IS NOT NULL", *(f"{d} <> 0" for d in p.divisors)]) for p in parts]
    if not any(part.divisors for part in parts):
        return Quotient("coalesce(" + ", ".join(part.above for part in parts) + ")")
    above = " ".join(f"WHEN {u} THEN {part.above}" for u, part in zip(usable, parts))
    below = " ".join(f"WHEN {u} THEN {part.below}" for u, part in zip(usable, parts))
    below = f"(CASE {below} END)"
    return Quotient(f"(CASE {above} END)", below, (below,))
