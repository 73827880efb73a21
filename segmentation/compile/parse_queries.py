"""Queries of sqlglot's tree, walked along their words: see `parse_places`."""

from sqlglot import exp
from sqlglot.tokenizer_core import TokenType

from segmentation.compile.parse_expressions import Expressions
from segmentation.compile.parse_tokens import SHAPE, Words, shown
from segmentation.compile.problems import Refused
from segmentation.compile.suggest import closest

#: By node: the parts that the walk sees. Any other part is refused, whatever it is.
_SEEN: dict[type[exp.Expr], set[str]] = {
    exp.Select: {"expressions", "from_", "joins", "where", "group", "having", "distinct", "with_"},
    exp.Subquery: {"this", "alias", "with_"},
    exp.Table: {"this", "db", "catalog", "alias"},
    exp.TableAlias: {"this"},
    exp.Join: {"this", "side", "kind", "on", "using"},
    exp.With: {"expressions"},
    exp.CTE: {"this", "alias"},
    exp.Exists: {"this"},
    exp.In: {"this", "expressions", "query"},
    exp.Case: {"this", "ifs", "default"},
    exp.If: {"this", "true"},
}
_LINK = {"this", "expression", "distinct", "with_"}
_SETS: dict[type[exp.Expr], str] = {exp.Union: "UNION", exp.Intersect: "INTERSECT", exp.Except: "EXCEPT"}
_CLAUSES = ("WHERE", "GROUP BY", "HAVING")
#: Joins that are not there, with what to write instead.
_JOINS = {
    "RIGHT": "Swap the two tables and write LEFT JOIN.",
    "FULL": "Write UNION of the two queries.",
    "NATURAL": "Write JOIN ... USING (user_id).",
    "SEMI": "Write WHERE user_id IN (SELECT user_id FROM ...).",
    "ANTI": "Write WHERE user_id NOT IN (SELECT user_id FROM ...).",
    "CROSS": "Write JOIN ... USING (user_id).",
    "ASOF": "Write an aggregate over the events, such as arg_max(x, event_time).",
}


class Queries(Expressions):
    """After `query`, set operations carry meta "operands" (queries, in the order of the text) and "operators" (their
    words, one less); aliased columns "as" (Position); joins "join": inner, left or comma."""

    def __init__(self, words: Words) -> None:
        super().__init__(words)
        self.odd: Refused | None = None
        self.placers |= {exp.Exists: self.exists, exp.Subquery: self.scalar, exp.Case: self.case}

    def query(self, node: exp.Expr | None) -> None:
        """[WITH ...] SELECT ..., set operations, or one of them in parentheses."""
        if node is None:
            raise self.unexpected()
        node.meta["at"] = self.at
        if node.args.get("with_") is not None:
            self.common_tables(node.args["with_"])
        if isinstance(node, exp.SetOperation):
            self.set_operations(node)
        else:
            self.operand(node)

    def operand(self, node: exp.Expr) -> None:
        node.meta["at"] = self.at
        self.only_seen(node)
        if isinstance(node, exp.Subquery):
            if node.args.get("alias") is not None:
                raise self.unexpected("a query without a name")
            self.take("(")
            self.query(node.this)
            self.take(")")
        elif isinstance(node, exp.Select):
            self.select(node)
        else:
            raise Refused(self.at, "This is not a plain SELECT.", SHAPE)

    def set_operations(self, node: exp.SetOperation) -> None:
        """As the words have them, without sqlglot's grouping: bind groups by what binds closer."""
        operands: list[exp.Expr] = []
        operators: list[tuple[str, bool]] = []
        self.chain(node, operands, operators)
        node.meta["operands"], node.meta["operators"] = tuple(operands), tuple(operators)

    def chain(self, node: exp.SetOperation, operands: list[exp.Expr], operators: list[tuple[str, bool]]) -> None:
        links: list[exp.SetOperation] = []
        first: exp.Expr = node
        while isinstance(first, exp.SetOperation):
            links.append(first)
            first = first.this
        self.chained(first, operands)
        for link in reversed(links):
            operators.append(self.operator(link))
            right = link.args["expression"]
            inner = right.this if isinstance(right, exp.Subquery) else right
            if isinstance(inner, exp.SetOperation) and (inner is right or not self.is_in_parentheses()):
                self.chain(inner, operands, operators)
            else:
                self.chained(right, operands)

    def chained(self, node: exp.Expr, operands: list[exp.Expr]) -> None:
        if node.args.get("with_") is not None:
            raise Refused(self.at, "WITH stands inside a set operation.", "Put it before the whole query.")
        self.operand(node)
        operands.append(node)

    def operator(self, link: exp.SetOperation) -> tuple[str, bool]:
        """Its word, and whether ALL stands behind it."""
        word = _SETS[type(link)]
        link.meta["op"] = self.take(word)
        every = self.passed("ALL")
        if not every:
            self.passed("DISTINCT")
        if every == bool(link.args.get("distinct")):
            raise self.unexpected("SELECT")
        self.only_seen(link)
        return word, every

    def is_in_parentheses(self) -> bool:
        """Whether the operand to come is: sqlglot puts parentheses round INTERSECT behind UNION and EXCEPT."""
        if not self.is_next("("):
            return False
        depth, index = 0, self.index
        while (word := self.words.at_index(index)).kind is not None:
            depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(word.kind, 0) if word.kind else 0
            index += 1
            if not depth:
                break
        return self.words.at_index(index).upper != "INTERSECT"

    def select(self, node: exp.Select) -> None:
        self.take("SELECT")
        if node.args.get("distinct"):
            self.take("DISTINCT")
        for index, item in enumerate(node.expressions):
            if index:
                self.take(",")
            self.projection(item)
        source = node.args.get("from_")
        if source is None:
            raise Refused(self.at, "The query has no FROM.", SHAPE)
        self.take("FROM")
        self.table(source.this)
        for join in node.args.get("joins") or ():
            self.join(join)
        where, group, having = (node.args.get(name) for name in ("where", "group", "having"))
        if where is not None:
            where.meta["at"] = self.take("WHERE")
            self.expression(where.this)
        if group is not None:
            group.meta["at"] = self.take("GROUP", "BY")
            for index, item in enumerate(group.expressions):
                if index:
                    self.take(",")
                self.expression(item)
        if having is not None:
            having.meta["at"] = self.take("HAVING")
            self.expression(having.this)

    def projection(self, node: exp.Expr) -> None:
        node.meta["at"] = self.at
        if isinstance(node, exp.Alias):
            self.expression(node.this)
            node.meta["as"] = self.at
            if self.is_next("AS"):
                self.take("AS")
            self.identifier(node.args["alias"])
        elif isinstance(node, exp.Column) and isinstance(node.this, exp.Star):
            for part in node.parts[:-1]:
                self.identifier(part)
                self.take(".")
            self.take("*")
        else:
            self.expression(node)

    # -- tables ------------------------------------------------------------------------------------

    def table(self, node: exp.Expr) -> None:
        node.meta["at"] = self.at
        self.only_seen(node)
        if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Query):
            self.take("(")
            self.query(node.this)
            self.take(")")
        elif isinstance(node, exp.Table) and isinstance(node.this, exp.Identifier):
            for part in node.parts:
                if part is not node.parts[0]:
                    self.take(".")
                self.identifier(part)
        else:
            raise Refused(self.at, "This is not a table.", "Write FROM events, or a query in parentheses.")
        alias = node.args.get("alias")
        if alias is None:
            return
        if self.is_next("AS"):
            self.take("AS")
        keyword = closest(self.word.upper, _CLAUSES) if len(self.word.text) > 3 else None
        if keyword and not self.is_next(keyword):
            raise Refused(self.at, f"{shown(self.word.text)} is not expected here.", f"Did you mean {keyword}?")
        self.identifier(alias.this)
        self.name_alone(alias)

    def name_alone(self, alias: exp.Expr) -> None:
        if alias.args.get("columns"):
            raise Refused(
                self.at, "Column names behind a table's name are not supported.",
                "Name the columns inside: SELECT user_id, count(*) AS n.",
            )
        self.only_seen(alias)

    def join(self, node: exp.Join) -> None:
        node.meta["at"] = self.at
        side, kind = (node.args.get(name) or "" for name in ("side", "kind"))
        on, using = node.args.get("on"), node.args.get("using")
        if self.is_next(","):
            self.take(",")
            node.meta["join"] = "comma"
            wanted = ("", "", None, None)
        elif self.word.upper in _JOINS:
            raise Refused(self.at, f"{self.word.upper} JOIN is not supported.", _JOINS[self.word.upper])
        else:
            left = self.passed("LEFT")
            # Words that do not belong together are left where they stand, and JOIN is missed there.
            outer, inner = left and self.passed("OUTER"), not left and self.passed("INNER")
            self.take("JOIN")
            node.meta["join"] = "left" if left else "inner"
            wanted = ("LEFT" if left else "", "OUTER" if outer else "INNER" if inner else "", on, using)
        if (side, kind, on, using) != wanted:
            raise Refused(node.meta["at"], "This join is not supported.", "Write JOIN or LEFT JOIN.")
        self.only_seen(node)
        self.table(node.this)
        if on is not None:
            self.take("ON")
            self.expression(on)
        elif using:
            self.take("USING", "(")
            for index, name in enumerate(using):
                if index:
                    self.take(",")
                name.meta["at"] = self.at
                self.identifier(name)
            self.take(")")

    def passed(self, word: str) -> bool:
        found = self.is_next(word)
        self.index += found
        return found

    def common_tables(self, node: exp.With) -> None:
        node.meta["at"] = self.take("WITH")
        if self.is_next("RECURSIVE"):
            raise Refused(self.at, "A recursive query is not supported.", "Write the queries one after the other.")
        self.only_seen(node)
        for index, common in enumerate(node.expressions):
            if index:
                self.take(",")
            common.meta["at"] = self.at
            alias = common.args["alias"]
            self.identifier(alias.this)
            self.name_alone(alias)
            self.take("AS")
            for word in ("NOT", "MATERIALIZED"):
                if self.is_next(word):
                    raise Refused(self.at, f"{word} says how a database computes it.", "Remove it: WITH name AS (...).")
            self.only_seen(common)
            self.take("(")
            self.query(common.this)
            self.take(")")

    # -- queries in conditions -----------------------------------------------------------------------

    def in_(self, node: exp.In, negated: bool = False) -> None:
        query = node.args.get("query")
        if query is None:
            super().in_(node, negated)
            return
        self.condition_operand(node.this)
        node.meta["op"] = self.at
        if negated:
            self.take("NOT")
        self.take("IN")
        self.only_seen(node)
        self.query(query)

    def exists(self, node: exp.Exists) -> None:
        node.meta["op"] = self.take("EXISTS")
        self.only_seen(node)
        self.take("(")
        self.query(node.this)
        self.take(")")

    def scalar(self, node: exp.Expr) -> None:
        """A query as a value."""
        self.operand(node)

    def case(self, node: exp.Case) -> None:
        node.meta["op"] = self.take("CASE")
        self.only_seen(node)
        if node.args.get("this") is not None:
            self.expression(node.this)
        for branch in node.args["ifs"]:
            branch.meta["at"] = self.take("WHEN")
            self.only_seen(branch)
            self.expression(branch.this)
            self.take("THEN")
            self.expression(branch.args.get("true"))
        if node.args.get("default") is not None:
            self.take("ELSE")
            self.expression(node.args["default"])
        self.take("END")

    def only_seen(self, node: exp.Expr) -> None:
        """A part whose words the walk does not see cannot be: `place` refuses it, if no word does first."""
        seen = _LINK if isinstance(node, exp.SetOperation) else _SEEN.get(type(node), set())
        odd = [name for name, value in node.args.items() if value and name not in seen]
        if odd and self.odd is None:
            self.odd = Refused(self.at, f"The query has a part that is not supported: {odd[0].strip('_')}.", SHAPE)
