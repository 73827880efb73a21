"""Expressions: from sqlglot's nodes (placed by `parse_places`) to `tree`, with names, types and sugar resolved.

Problems are collected, not thrown: the parts of a condition are bound each on its own, so that one
run shows all of them. A part that failed raises `Reported`, which says only that it has no result.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from sqlglot import exp

from segmentation.compile import bind_calendar, bind_literals, bind_mathematics, bind_time, tree
from segmentation.compile import bind_conditions as conditions
from segmentation.compile.bind_aggregates import aggregate
from segmentation.compile.bind_band_column import has_band, without_bands
from segmentation.compile.bind_columns import column, missing
from segmentation.compile.bind_exists import as_comparison, with_outside
from segmentation.compile.bind_functions import unsupported, unsupported_operator
from segmentation.compile.bind_seconds import as_intervals
from segmentation.compile.bind_shape import Place, Reported, place_of
from segmentation.compile.bind_tables import USER, Rows, Scope, only_users
from segmentation.compile.bind_time import Operand, Span, is_time, settled
from segmentation.compile.bind_types import WORDS, arithmetic, is_number
from segmentation.compile.parse_expressions import arguments_of, function_of
from segmentation.compile.parse_functions import MATHEMATICS
from segmentation.compile.problems import Position, Refused
from segmentation.text import simple_lower
from segmentation.types import BOOLEAN, NULL, TEXT, Kind

_COMPARISONS: dict[type[exp.Expr], str] = {
    exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">=",
}  # fmt: skip
_ARITHMETIC: dict[type[exp.Expr], str] = {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}


class Inner(Protocol):
    """Binds the queries inside expressions. All raise Reported."""

    def users(self, node: exp.Expr) -> tree.Relation: ...

    def exists(self, node: exp.Expr) -> tree.Relation: ...

    def value(self, node: exp.Expr) -> Operand: ...


class Binder:
    """Binds expressions over the columns of `scope`; `problems` grows."""

    def __init__(self, scope: Scope, problems: list[Refused], inner: Inner) -> None:
        self.scope, self.problems, self.inner = scope, problems, inner
        self.place = Place.WHERE
        self._binders: dict[type[exp.Expr], Callable[..., Operand]] = {
            exp.Paren: lambda node: self.bind(node.this),
            exp.Column: lambda node: column(self.scope, node, self.place),
            exp.Literal: self._literal,
            exp.Boolean: lambda node: tree.Literal(bool(node.this), BOOLEAN, at=place_of(node)),
            exp.Null: lambda node: tree.Literal(None, NULL, at=place_of(node)),
            exp.Star: self._star,
            exp.Neg: self._negative,
            exp.Not: lambda node: conditions.negation(self.condition(node.this), place_of(node)),
            exp.And: self._and,
            exp.Or: self._or,
            exp.Is: self._is,
            exp.In: self._in,
            exp.Between: self._between,
            exp.Like: self._like,
            exp.ILike: self._like,
            exp.Escape: self._like,
            exp.NullSafeEQ: self._distinct,
            exp.NullSafeNEQ: self._distinct,
            exp.Filter: lambda node: aggregate(self, node.this, node),
            exp.Cast: self._cast,
            exp.Interval: self._interval,
            exp.CurrentTimestamp: lambda node: bind_time.now(place_of(node)),
            exp.Lower: self._lower,
            exp.Coalesce: self._coalesce,
            exp.Case: self._case,
            exp.Subquery: lambda node: self.inner.value(node),
            **bind_calendar.binders(self),
            exp.Exists: self._exists,
            **dict.fromkeys(_COMPARISONS, self._compare),
            **dict.fromkeys(_ARITHMETIC, self._arithmetic),
        }

    def conditions(self, nodes: Iterable[exp.Expr], place: Place) -> tuple[tree.Expr, ...]:
        """Those of a WHERE or HAVING that all must hold. Raises Reported."""
        self.place = place
        return tuple(map(settled, self._each(nodes, self.condition)))

    def matched(self, operand: exp.Expr | None, when: exp.Expr, place: Place) -> tree.Expr:
        """The condition of a WHEN: itself, or that CASE's operand is equal to it. Raises Reported, Refused."""
        self.place = place
        if operand is None:
            return self.condition(when)
        left, right = self.all((operand, when))
        where = conditions.Where(place.rows, place_of(when), place_of(when))
        return self._without_bands(conditions.compare("=", left, right, where))

    def selected(self, node: exp.Expr, place: Place) -> Operand:
        """A column of a query. Raises Reported."""
        self.place = place
        return self.bind(node)

    # -- parts, each with its own problems ---------------------------------------------------------

    def bind(self, node: exp.Expr) -> Operand:
        """Raises Reported."""
        try:
            binder = self._binders.get(type(node))
            if "name" in node.meta:
                at = node.meta["op"]
                if isinstance(node, exp.Binary) and not node.meta["name"][0].isalpha():
                    self.all((node.this, node.expression))
                    raise unsupported_operator(node.meta["name"], at)
                raise unsupported(node.meta["name"], at)
            if binder:
                return binder(node)
            if (function := function_of(node)) in MATHEMATICS:
                args = self._each(arguments_of(node), self.value)
                return bind_mathematics.function(function, tuple(map(settled, args)), place_of(node))
            if function:
                return aggregate(self, node, None)
            if isinstance(node, exp.Distinct):
                raise Refused(place_of(node), "DISTINCT stands only in an aggregate.", "Write count(DISTINCT x).")
            raise Refused(place_of(node), "This is not supported here.", "Use a column, a constant or a function.")
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    def all(self, nodes: Iterable[exp.Expr]) -> tuple[Operand, ...]:
        return self._each(nodes, self.bind)

    def _each(
        self, nodes: Iterable[exp.Expr], bind: Callable[[exp.Expr], Operand]
    ) -> tuple[Operand, ...]:
        """Every part, even if the first has problems."""
        results: list[Operand] = []
        failed = False
        for node in nodes:
            try:
                results.append(bind(node))
            except Reported:
                failed = True
        if failed:
            raise Reported
        return tuple(results)

    def value(self, node: exp.Expr) -> tree.Expr:
        """An operand that is a tree, so without now()."""
        operand = self.bind(node)
        try:
            return settled(operand)
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    def condition(self, node: exp.Expr) -> tree.Expr:
        """An operand that is true, false or NULL."""
        operand = self.value(node)
        if operand.type.kind is not Kind.BOOLEAN:
            self.problems.append(conditions.not_a_condition(operand))
            raise Reported
        return self._without_bands(operand)

    def _without_bands(self, condition: tree.Expr) -> tree.Expr:
        try:
            return without_bands(condition) if has_band(condition) else condition
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    # -- leaves --------------------------------------------------------------------------------------

    def _literal(self, node: exp.Literal) -> tree.Expr:
        at = place_of(node)
        return tree.Literal(node.this, TEXT, at=at) if node.is_string else bind_literals.number(node.this, at)

    def _star(self, node: exp.Star) -> tree.Expr:
        raise Refused(place_of(node), "* stands only in count(*).", "Name one column.")

    def _interval(self, node: exp.Interval) -> tree.Expr:
        return bind_literals.interval(node.meta["text"], node.meta["unit"], node.meta["op"])

    def _cast(self, node: exp.Cast) -> tree.Expr:
        operand = self.bind(node.this)
        if not isinstance(operand, tree.Literal):
            raise Refused(
                node.meta["op"],
                "Only a constant can be cast.",
                "Declare the column with this type in schema.yml, or cast the constant on the other side.",
            )
        return bind_literals.cast(operand, node.meta["type"], node.meta["op"])

    # -- operations --------------------------------------------------------------------------------

    def _negative(self, node: exp.Neg) -> Operand:
        operand, at = self.bind(node.this), place_of(node)
        if is_time(operand):
            return bind_time.negated(operand, at)
        assert not isinstance(operand, Span)
        if not is_number(operand.type):
            raise Refused(at, f"{WORDS[operand.type.kind].capitalize()} has no minus.", "Use numbers.")
        if isinstance(operand, tree.Literal) and isinstance(operand.value, float):
            return tree.Literal(-operand.value, operand.type, at=at)
        zero = bind_literals.number("0", at)
        return arithmetic("-", zero, operand, at, at)

    def _arithmetic(self, node: exp.Binary) -> Operand:
        if (local := bind_calendar.moved(self, node)) is not None:
            return local
        left, right = self.all((node.this, node.expression))
        op, at, op_at = _ARITHMETIC[type(node)], place_of(node), node.meta["op"]
        if is_time(left) or is_time(right):
            return self._time_arithmetic(op, left, right, at, op_at)
        left, right = settled(left), settled(right)
        for each in (left, right):
            if not is_number(each.type):
                raise Refused(each.at, f"{op} needs numbers, and this is {WORDS[each.type.kind]}.", "Use numbers.")
        return arithmetic(op, left, right, at, op_at)

    def _time_arithmetic(self, op: str, left: Operand, right: Operand, at: Position, op_at: Position) -> Operand:
        for one, other in ((left, right), (right, left)):
            if is_time(one) and is_time(other):
                if op in "+-":
                    return bind_time.combined(op, left, right, at, op_at)
                break
            if op == "*" and isinstance(one, tree.Literal) and isinstance(one.value, int) and is_number(one.type):
                return bind_time.multiplied(other, one.value, at)
        text = next((each.value for each in (left, right) if isinstance(each, tree.Literal)), None)
        remedy = "Subtract two times, or add an interval: event_time + INTERVAL '7 days'."
        if isinstance(text, str):
            remedy = f"Write INTERVAL '{text}'."
        reason = f"{WORDS[left.type.kind]} {op} {WORDS[right.type.kind]} is not supported."
        raise Refused(op_at, reason[0].upper() + reason[1:], remedy)

    def _lower(self, node: exp.Lower) -> tree.Expr:
        arg, at = self.value(node.this), place_of(node)
        if arg.type.kind is not Kind.TEXT:
            raise Refused(arg.at, f"lower() needs a text, and this is {WORDS[arg.type.kind]}.", "Leave lower() out.")
        if isinstance(arg, tree.Literal) and isinstance(arg.value, str):
            return tree.Literal(simple_lower(arg.value), TEXT, at=at)
        return tree.Lower(arg, TEXT, at=at)

    def _coalesce(self, node: exp.Coalesce) -> tree.Expr:
        args = self._each((node.this, *node.expressions), self.value)
        return conditions.coalesce(tuple(map(settled, args)), place_of(node))

    # -- conditions --------------------------------------------------------------------------------

    def _and(self, node: exp.And) -> tree.Expr:
        parts = self._each(node.meta["parts"], self.condition)
        return conditions.conjunction(tuple(map(settled, parts)), place_of(node))

    def _or(self, node: exp.Or) -> tree.Expr:
        parts = self._each(node.meta["parts"], self.condition)
        return conditions.disjunction(tuple(map(settled, parts)), place_of(node))

    def _compare(self, node: exp.Binary) -> tree.Expr:
        sides = (node.this, node.expression)
        left, right = as_intervals(self, sides) or self.all(sides)
        where = conditions.Where(self.place.rows, place_of(node), node.meta["op"])
        return conditions.compare(_COMPARISONS[type(node)], left, right, where)

    def _exists(self, node: exp.Exists) -> tree.Expr:
        split = with_outside(node, self._of_row)
        if split is not None:
            return tree.IsTrue(self.condition(split), at=place_of(node))
        compared = as_comparison(node)
        if compared is None:
            return tree.Member(self.inner.exists(node.this), at=place_of(node))
        return tree.IsTrue(self.condition(compared), at=place_of(node))

    def _of_row(self, column: exp.Column) -> bool:
        found = self.scope.found(column)
        return found is not None and not found.is_user and isinstance(found.item.table, Rows)

    def _between(self, node: exp.Between) -> tree.Expr:
        sides = (node.this, node.args["low"], node.args["high"])
        what, low, high = as_intervals(self, sides) or self.all(sides)
        where = conditions.Where(self.place.rows, place_of(node), node.meta["op"])
        return conditions.conjunction(conditions.between(what, low, high, where), where.at)

    def _case(self, node: exp.Case) -> Operand:
        raise Refused(
            node.meta["op"], "CASE is supported only for bands: SELECT user_id, CASE ... END AS band.",
            "Use FILTER: sum(amount) FILTER (WHERE event_type = 'purchase').",
        )

    def _in(self, node: exp.In) -> tree.Expr:
        if node.args.get("query") is not None:
            return self._in_query(node)
        what, *values = self.all((node.this, *node.expressions))
        where = conditions.Where(self.place.rows, place_of(node), node.meta["op"])
        return conditions.inside(settled(what), [settled(value) for value in values], where)

    def _like(self, node: exp.Expr) -> tree.Expr:
        like, escape = (node.this, node.expression) if isinstance(node, exp.Escape) else (node, None)
        arg, pattern = self._each((like.this, like.args["expression"]), self.value)
        given = None if escape is None else self.value(escape)
        where = conditions.Where(self.place.rows, place_of(node), like.meta["op"])
        result = conditions.like(settled(arg), settled(pattern), given, isinstance(like, exp.ILike), where)
        return conditions.negation(result, where.at) if like.args.get("negate") else result

    def _in_query(self, node: exp.In) -> tree.Expr:
        def relation(query: exp.Expr) -> Operand:
            return tree.Member(self.inner.users(query), at=place_of(node))

        what, member = self._each((node.this, node.args["query"]), lambda part: (
            relation(part) if part is not node.this else self.bind(part)
        ))  # fmt: skip
        if what != USER:
            remedy = "Write user_id IN (SELECT user_id ...)."
            raise Refused(place_of(node.this), "Only user_id is looked for in another query.", remedy)
        return settled(member)

    def _is(self, node: exp.Is) -> tree.Expr:
        at, what = place_of(node), node.expression
        if isinstance(what, exp.Null) and (item := missing(self.scope, node.this)) is not None:
            found = tree.Member(only_users(item).relation, at=at)
            return found if node.args.get("negate") else conditions.negation(found, at)
        if isinstance(what, exp.Null):
            result = conditions.is_null(self.value(node.this), at)
            return conditions.negation(result, at) if node.args.get("negate") else result
        operand = self.condition(node.this)
        return conditions.is_true(operand if what.this else conditions.negation(operand, at), at)

    def _distinct(self, node: exp.Binary) -> tree.Expr:
        left, right = self._each((node.this, node.expression), self.value)
        where = conditions.Where(self.place.rows, place_of(node), node.meta["op"])
        same = conditions.not_distinct(settled(left), settled(right), where)
        return same if isinstance(node, exp.NullSafeEQ) else conditions.negation(same, where.at)
