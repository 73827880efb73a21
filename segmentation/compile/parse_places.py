"""Walk sqlglot's tree along the words it was made of: places for the nodes, proof that nothing got lost.

After `place`, these nodes carry meta: "at" (Position, where its text begins) on every expression;
"op" (Position of the operator or of the name) on operators and functions; "name" (as written) on
functions that definitions do not have, their arguments skipped; "type" (words of the type in lower
case, then its numbers) on Cast; "text" and "unit" on Interval.
"""

from sqlglot import exp

from segmentation.compile.parse_expressions import Expressions
from segmentation.compile.parse_tokens import SHAPE, Words, shown
from segmentation.compile.problems import Refused
from segmentation.compile.suggest import closest

_SELECT_ARGS = {"expressions", "from_", "where", "group", "having", "distinct"}


def place(statement: exp.Expr | None, words: Words) -> exp.Select:
    """The same tree, with places. Raises Refused at the first word that tree and text do not agree on."""
    if not isinstance(statement, exp.Select):
        raise Refused(words.first(), "This is not a plain SELECT.", SHAPE)
    _Query(words).select(statement)
    return statement


class _Query(Expressions):
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
        node.meta["end"] = self.at
        if self.is_next(";"):
            self.take(";")
        if self.word.text:
            raise Refused(self.at, f"{shown(self.word.text)} is not expected here.", self.typo())
        odd = [name for name, value in node.args.items() if value and name not in _SELECT_ARGS]
        if odd:  # a part of the query whose words the walk has not seen: cannot be, hence refused
            raise Refused(self.words.first(), f"The query has a part that is not supported: {odd[0]}.", SHAPE)

    def typo(self) -> str:
        keyword = closest(self.word.text, ("WHERE", "GROUP BY", "HAVING"))
        return f"Did you mean {keyword}?" if keyword else SHAPE

    def projection(self, node: exp.Expr) -> None:
        if isinstance(node, exp.Alias):
            self.expression(node.this)
            raise Refused(self.at, "The result is always called user_id.", "Remove the alias: SELECT user_id.")
        self.expression(node)

    def table(self, node: exp.Expr) -> None:
        node.meta["at"] = self.at
        if not isinstance(node, exp.Table) or not isinstance(node.this, exp.Identifier):
            raise Refused(self.at, "Only the table events is supported yet.", "Write FROM events.")
        for part in node.parts:
            if part is not node.parts[0]:
                self.take(".")
            self.identifier(part)
        alias = node.args.get("alias")
        if alias is not None:
            if self.is_next("AS"):
                self.take("AS")
            name = alias.this
            keyword = closest(self.word.upper, ("WHERE", "GROUP BY", "HAVING")) if len(self.word.text) > 3 else None
            if keyword and not self.is_next(keyword):
                raise Refused(self.at, f"{shown(self.word.text)} is not expected here.", f"Did you mean {keyword}?")
            self.identifier(name)
        if self.is_next(","):
            raise Refused(self.at, "A second table is not supported yet.", "Write FROM events alone.")
