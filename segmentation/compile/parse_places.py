"""Walk sqlglot's tree along the words it was made of: places for the nodes, proof that nothing got lost.

After `place`, these nodes carry meta: "at" (Position, where its text begins) on every expression;
"op" (Position of the operator or of the name) on operators and functions; "name" (as written) on
functions that definitions do not have, their arguments skipped; "type" (words of the type in lower
case, then its numbers) on Cast; "text" and "unit" on Interval.
"""

from sqlglot import exp

from segmentation.compile.parse_queries import Queries
from segmentation.compile.parse_tokens import SHAPE, Words, shown
from segmentation.compile.problems import Refused
from segmentation.compile.suggest import closest


def place(statement: exp.Expr | None, words: Words) -> exp.Query:
    """The same tree, with places. Raises Refused at the first word that tree and text do not agree on."""
    if not isinstance(statement, exp.Query):
        raise Refused(words.first(), "This is not a plain SELECT.", SHAPE)
    walk = Queries(words)
    walk.query(statement)
    if walk.is_next(";"):
        walk.take(";")
    if walk.word.kind is not None:
        keyword = closest(walk.word.text, ("WHERE", "GROUP BY", "HAVING"))
        remedy = f"Did you mean {keyword}?" if keyword else SHAPE
        raise Refused(walk.at, f"{shown(walk.word.text)} is not expected here.", remedy)
    if walk.odd is not None:
        raise walk.odd
    return statement
