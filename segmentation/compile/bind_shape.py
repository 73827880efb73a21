"""SELECT user_id FROM events [WHERE ...] [GROUP BY user_id] [HAVING ...]: is the query of this shape?"""

from dataclasses import dataclass
from enum import Enum

from sqlglot import exp

from segmentation.compile.parse_tokens import SHAPE, shown
from segmentation.compile.problems import Position, Refused
from segmentation.compile.suggest import closest

USER_ID = "user_id"


class Reported(Exception):
    """This part has no result, and its problem is in the list already."""


class Place(Enum):
    """Where an expression stands: what it may contain depends on it."""

    WHERE = "WHERE"
    FILTER = "FILTER"
    ARGUMENT = "an aggregate"
    HAVING = "HAVING"

    @property
    def rows(self) -> bool:
        return self is not Place.HAVING


@dataclass(frozen=True, slots=True)
class Shape:
    """`table`: the name by which columns may be qualified."""

    table: str
    where: exp.Expr | None
    having: exp.Expr | None


def place_of(node: exp.Expr) -> Position:
    at = node.meta.get("at")
    return at if isinstance(at, Position) else Position()


def folded(identifier: exp.Expr) -> str:
    """A name as PostgreSQL takes it: lower case unless quoted."""
    name = identifier.name
    return name if identifier.args.get("quoted") else name.lower()


def check(query: exp.Select) -> tuple[Shape, list[Refused]]:
    problems: list[Refused] = []
    table = _table(query.args["from_"].this, problems)
    where, group, having = (query.args.get(name) for name in ("where", "group", "having"))
    _projection(query, table, problems)
    _group(group, having, table, problems)
    return Shape(table, where and where.this, having and having.this), problems


def is_user_id(node: exp.Expr, table: str) -> bool:
    return (
        isinstance(node, exp.Column)
        and folded(node.this) == USER_ID
        and all(folded(part) == table for part in node.parts[:-1])
    )


def _table(node: exp.Table, problems: list[Refused]) -> str:
    at = place_of(node)
    names = [folded(part) for part in node.parts]
    written = ".".join(names)
    alias = node.args.get("alias")
    if names != ["events"]:
        if names[0] == "segments" and len(names) > 1:
            remedy = f"Copy the conditions of {names[1]} into this definition."
            problems.append(Refused(at, "A segment as a table is not supported yet.", remedy))
        elif names == ["users"]:
            problems.append(
                Refused(at, "The table users is not supported yet.", "Use the columns of events: FROM events.")
            )
        else:
            meant = closest(names[-1], ("events",))
            remedy = "Did you mean events?" if meant and len(names) == 1 else "Write FROM events."
            problems.append(Refused(at, f"There is no table {written}.", remedy))
    return folded(alias.this) if alias is not None else names[-1]


def _projection(query: exp.Select, table: str, problems: list[Refused]) -> None:
    items = query.expressions
    if not items:
        problems.append(Refused(place_of(query.args["from_"].this), "Nothing is selected.", SHAPE))
    for item in items:
        if is_user_id(item, table):
            continue
        at = place_of(item)
        if isinstance(item, exp.Star):
            problems.append(Refused(at, "A definition selects user_id, not all columns.", "Write SELECT user_id."))
        else:
            what = shown(item.sql("postgres"))
            remedy = "Did you mean user_id?" if closest(item.name, (USER_ID,)) else "Write SELECT user_id."
            problems.append(Refused(at, f"A definition selects user_id alone, not {what}.", remedy))
    if len(items) > 1 and all(is_user_id(item, table) for item in items):
        problems.append(Refused(place_of(items[1]), "user_id is selected twice.", "Write SELECT user_id."))


def _group(
    group: exp.Expr | None, having: exp.Expr | None, table: str, problems: list[Refused]
) -> None:
    if group is None:
        if having is not None:
            at = place_of(having)
            problems.append(Refused(at, "HAVING needs GROUP BY user_id before it.", "Add GROUP BY user_id."))
        return
    items = group.expressions
    if not items:
        problems.append(Refused(place_of(group), "GROUP BY names no column.", "Write GROUP BY user_id."))
    for item in items:
        if not is_user_id(item, table):
            what = shown(item.sql("postgres"))
            reason = f"A definition groups by user_id alone, not by {what}."
            problems.append(Refused(place_of(item), reason, "Write GROUP BY user_id."))
