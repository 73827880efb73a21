"""Expressions of sqlglot's tree, walked along their words: see `parse_places`."""

from collections.abc import Callable, Sequence

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from segmentation.compile import parse_times
from segmentation.compile.parse_cursor import Cursor
from segmentation.compile.parse_functions import MATHEMATICS
from segmentation.compile.parse_guard import DEPTH_MAX, too_deep
from segmentation.compile.parse_tokens import Words, shown
from segmentation.compile.problems import Refused

_OPERATORS: dict[type[exp.Expr], tuple[tuple[str, ...], ...]] = {
    exp.EQ: (("=",),),
    exp.NEQ: (("<>",), ("!=",)),
    exp.LT: (("<",),),
    exp.LTE: (("<=",),),
    exp.GT: ((">",),),
    exp.GTE: ((">=",),),
    exp.Add: (("+",),),
    exp.Sub: (("-",),),
    exp.Mul: (("*",),),
    exp.Div: (("/",),),
    exp.NullSafeEQ: (("IS", "NOT", "DISTINCT", "FROM"),),
    exp.NullSafeNEQ: (("IS", "DISTINCT", "FROM"),),
}
#: What answers yes or no. As an operand of another it must be in parentheses: without them
#: PostgreSQL, DuckDB and sqlglot do not agree on what belongs together.
_CONDITIONS = (
    exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ, exp.Between, exp.In,
    exp.Like, exp.ILike, exp.Escape, exp.Is, exp.Not, exp.And, exp.Or,
)
FUNCTIONS: dict[type[exp.Expr], str] = {
    exp.Count: "count",
    exp.Sum: "sum",
    exp.Avg: "avg",
    exp.Min: "min",
    exp.Max: "max",
    exp.ArgMin: "arg_min",
    exp.ArgMax: "arg_max",
    exp.LogicalOr: "bool_or",
    exp.LogicalAnd: "bool_and",
    exp.Mode: "mode",
    exp.Lower: "lower",
    exp.Coalesce: "coalesce",
}
#: Functions that are parsed by their names alone: sqlglot has no class for them, or is not to count their arguments.
PLAIN_FUNCTIONS = ("every", *MATHEMATICS)
_GROUPING = "Put parentheses around the inner condition."
#: Functions that sqlglot reads as casts.
_CAST_CALLS = ("date", "time", "timestamp", "datetime", "uuid", "div")


def function_of(node: exp.Expr) -> str:
    """The name of a function that definitions have, "" for anything else."""
    if isinstance(node, exp.Anonymous):
        name = str(node.this).lower()
        return name if name in PLAIN_FUNCTIONS else ""
    return FUNCTIONS.get(type(node), "")


def arguments_of(node: exp.Expr) -> list[exp.Expr]:
    """What stands between the parentheses of a function, DISTINCT being one of them."""
    this = None if isinstance(node, exp.Anonymous) else node.args.get("this")
    return [each for each in (this, node.args.get("expression"), *node.expressions) if each is not None]


class Expressions(Cursor):
    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self.depth = 0
        self.placers: dict[type[exp.Expr], Callable[..., None]] = {
            exp.Paren: self.paren,
            exp.Column: self.column,
            exp.Literal: self.literal,
            exp.Boolean: self.boolean,
            exp.Null: self.null,
            exp.Star: self.star,
            exp.Neg: self.negative,
            exp.Not: self.negation,
            exp.And: self.connected,
            exp.Or: self.connected,
            exp.Is: self.is_,
            exp.In: self.in_,
            exp.Between: self.between,
            exp.Like: self.like,
            exp.ILike: self.like,
            exp.Escape: self.escape,
            exp.Filter: self.filter,
            exp.Cast: self.cast,
            **parse_times.placers(self),
        }

    def expression(self, node: exp.Expr | None) -> None:
        if node is None:
            raise self.unexpected()
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise too_deep(self.at)
        node.meta["at"] = self.at
        placer = self.placers.get(type(node))
        if placer:
            placer(node)
        elif (function := function_of(node)) and self.is_call(function):
            self.call(node)
        elif isinstance(node, exp.Binary) and not self.is_spelled_out(node):
            self.binary(node)
        else:
            self.unknown(node)
        self.depth -= 1

    def condition_operand(self, node: exp.Expr | None) -> None:
        """An operand of a comparison, which must not be a bare comparison itself."""
        inner = isinstance(node, _CONDITIONS)
        if inner and node is not None and "at" not in node.meta and not self.is_next("NOT"):
            self.expression(node)  # so that the place is that of the second operator
        if inner:
            raise Refused(self.at, "Two conditions in a row: it is not clear what belongs together.", _GROUPING)
        self.expression(node)

    def binary(self, node: exp.Expr) -> None:
        spellings = _OPERATORS.get(type(node))
        operand = self.condition_operand if isinstance(node, _CONDITIONS) else self.expression
        operand(node.this)
        node.meta["op"] = self.at
        if spellings is None:  # sqlglot knows the operator, definitions do not: bind says so
            node.meta["name"] = self.word.text
            self.index += 1
        else:
            spelling = next((each for each in spellings if self.is_next(*each)), None)
            if spelling is None:
                raise self.unexpected(" ".join(spellings[0]))
            self.take(*spelling)
        operand(node.expression)

    def paren(self, node: exp.Paren) -> None:
        if not self.is_next("("):
            raise Refused(self.at, "Two conditions in a row: it is not clear what belongs together.", _GROUPING)
        self.take("(")
        self.expression(node.this)
        self.take(")")

    def column(self, node: exp.Column) -> None:
        if isinstance(node.this, exp.Star):
            raise Refused(self.at, "All columns (*) are not supported here.", "Name one column.")
        for part in node.parts:
            if part is not node.parts[0]:
                self.take(".")
            self.identifier(part)

    def literal(self, node: exp.Literal) -> None:
        if node.is_string:
            if self.word.kind is not TokenType.STRING or self.word.text != node.this:
                raise self.unexpected()
            self.index += 1
            return
        written = self.word.text
        fraction = self.next.kind is TokenType.NUMBER and self.next.start == self.word.start + 1
        if self.word.kind is TokenType.DOT and fraction:
            self.index += 1
            written = "0." + self.word.text
        if self.word.kind is not TokenType.NUMBER or written != node.this:
            raise self.unexpected()
        self.index += 1

    def boolean(self, node: exp.Boolean) -> None:
        self.take("TRUE" if node.this else "FALSE")

    def null(self, _: exp.Null) -> None:
        self.take("NULL")

    def star(self, _: exp.Star) -> None:
        self.take("*")

    def negative(self, node: exp.Neg) -> None:
        node.meta["op"] = self.take("-")
        self.expression(node.this)

    def connected(self, node: exp.Expr) -> None:
        """AND and OR: a row of any length is one level."""
        parts: list[exp.Expr] = []
        left: exp.Expr = node
        while type(left) is type(node):
            parts.append(left.args["expression"])
            left = left.this
        parts.append(left)
        keyword = "AND" if isinstance(node, exp.And) else "OR"
        for index, part in enumerate(reversed(parts)):
            if index:
                self.take(keyword)
            if isinstance(part, exp.Or) or type(part) is type(node):
                raise Refused(self.at, "It is not clear what belongs together here.", _GROUPING)
            self.expression(part)
        node.meta["parts"] = tuple(reversed(parts))

    def negation(self, node: exp.Not) -> None:
        inner = node.this
        if self.is_next("NOT"):
            node.meta["op"] = self.take("NOT")
            if isinstance(inner, exp.And | exp.Or):
                raise Refused(self.at, "It is not clear what NOT belongs to.", _GROUPING)
            self.expression(inner)
        elif isinstance(inner, exp.In | exp.Between | exp.Is):  # x NOT IN (...)
            inner.meta["at"] = self.at
            self.placers[type(inner)](inner, negated=True)
        else:  # x !~ y
            self.expression(inner.this)
            raise Refused(self.at, f"The operator {self.word.text} is not supported.", "Use NOT, LIKE, IN or BETWEEN.")

    def is_(self, node: exp.Is, negated: bool = False) -> None:
        self.condition_operand(node.this)
        negated = negated or bool(node.args.get("negate"))
        node.meta["op"] = self.at
        what = node.expression
        if isinstance(what, exp.Null) and self.is_next("NOTNULL" if negated else "ISNULL"):
            self.index += 1
            return
        self.take("IS")
        if negated:
            self.take("NOT")
        if not isinstance(what, exp.Null | exp.Boolean) or self.word.upper not in ("NULL", "TRUE", "FALSE"):
            at, word = self.at, shown(self.word.text)
            raise Refused(at, f"IS {word} is not supported.", "Write IS NULL, IS TRUE, IS FALSE or IS DISTINCT FROM.")
        self.expression(what)

    def in_(self, node: exp.In, negated: bool = False) -> None:
        self.condition_operand(node.this)
        node.meta["op"] = self.at
        if negated:
            self.take("NOT")
        self.take("IN")
        if not self.is_next("("):
            raise Refused(self.at, "IN needs a list in parentheses.", "Write IN ('a', 'b').")
        self.arguments(node.expressions)

    def between(self, node: exp.Between, negated: bool = False) -> None:
        self.condition_operand(node.this)
        node.meta["op"] = self.at
        if negated:
            self.take("NOT")
        self.take("BETWEEN")
        if node.args.get("symmetric") is not None:
            raise Refused(self.at, f"{self.word.text} is not supported.", "Write BETWEEN smaller AND larger.")
        self.condition_operand(node.args.get("low"))
        self.take("AND")
        self.condition_operand(node.args.get("high"))

    def like(self, node: exp.Expr) -> None:
        self.condition_operand(node.this)
        node.meta["op"] = self.at
        if node.args.get("negate"):
            self.take("NOT")
        self.take("ILIKE" if isinstance(node, exp.ILike) else "LIKE")
        self.condition_operand(node.args["expression"])

    def escape(self, node: exp.Escape) -> None:
        self.expression(node.this)
        node.meta["op"] = self.take("ESCAPE")
        self.expression(node.expression)

    def filter(self, node: exp.Filter) -> None:
        self.expression(node.this)
        node.meta["op"] = self.take("FILTER")
        self.take("(")
        where = node.expression
        where.meta["at"] = self.take("WHERE")
        self.expression(where.this)
        self.take(")")

    # -- functions -------------------------------------------------------------------------------

    def is_call(self, name: str) -> bool:
        return self.is_next(name.upper(), "(")

    def is_spelled_out(self, node: exp.Expr) -> bool:
        """Whether an operator was written as a function: mod(a, b), pow(a, b)."""
        names = type(node).sql_names() if isinstance(node, exp.Func) else [type(node).__name__.upper()]
        return self.next.kind is TokenType.L_PAREN and self.word.text.upper() in names

    def call(self, node: exp.Expr) -> None:
        node.meta["op"] = self.at
        self.index += 1
        self.take("(")
        given = arguments_of(node)
        if given and isinstance(given[0], exp.Distinct):
            given[0].meta["at"] = self.take("DISTINCT")
            given[:1] = given[0].expressions
        self.listed(given)
        self.take(")")

    def arguments(self, nodes: Sequence[exp.Expr]) -> None:
        self.take("(")
        self.listed(nodes)
        self.take(")")

    def listed(self, nodes: Sequence[exp.Expr]) -> None:
        for index, each in enumerate(nodes):
            if index:
                self.take(",")
            self.expression(each)

    def unknown(self, node: exp.Expr) -> None:
        """A function that definitions do not have is passed over, for bind to refuse; the rest is refused now."""
        if not self.word.name or not isinstance(node, exp.Func | exp.Paren | exp.Cast | exp.Binary):
            raise self.unexpected()
        node.meta["op"] = self.at
        node.meta["name"] = self.word.text
        self.index += 1
        if not self.is_next("("):
            return
        depth = 0
        while self.word.kind is not None:
            if self.is_next("(") or self.is_next(")"):
                depth += 1 if self.is_next("(") else -1
            self.index += 1
            if not depth:
                return

    # -- constants with a type -------------------------------------------------------------------

    def cast(self, node: exp.Cast) -> None:
        if self.is_next("CAST", "("):
            self.take("CAST", "(")
            self.expression(node.this)
            self.take("AS")
            self.type(node)
            self.take(")")
        elif self.is_cast_call():
            self.unknown(node)
        elif self.word.name and isinstance(node.this, exp.Literal):  # numeric(10,2) '12.50'
            self.type(node)
            if not node.this.is_string:
                raise self.unexpected("a text in quotes")
            self.expression(node.this)
        else:
            self.expression(node.this)
            self.take("::")
            self.type(node)

    def is_cast_call(self) -> bool:
        in_parentheses = self.words.at_index(self.index + 2).kind
        return (
            self.word.text.lower() in _CAST_CALLS
            and self.next.kind is TokenType.L_PAREN
            and in_parentheses is not TokenType.NUMBER
        )

    def type(self, node: exp.Cast) -> None:
        """The words of a type, as written: sqlglot's own naming forgets which of two spellings it was."""
        node.meta["op"] = self.at
        if not self.word.name:
            raise self.unexpected("a type")
        names: list[str] = [self.word.text.lower()]
        numbers: list[str] = []
        self.index += 1
        if names[0] in ("double", "character") and self.word.upper in ("PRECISION", "VARYING"):
            names.append(self.word.text.lower())
            self.index += 1
        if self.is_next("("):
            self.take("(")
            while not numbers or not self.is_next(")"):
                if numbers:
                    self.take(",")
                if self.word.kind is not TokenType.NUMBER or not self.word.text.isdecimal():
                    raise self.unexpected("a number")
                numbers.append(self.word.text)
                self.index += 1
            self.take(")")
        for zone in ("WITH", "WITHOUT"):
            if self.is_next(zone, "TIME", "ZONE"):
                self.take(zone, "TIME", "ZONE")
                names += [zone.lower(), "time", "zone"]
        node.meta["type"] = (" ".join(names), *numbers)
