"""The tables of a query, and which of them a column is of.

A table here is one of two. `Rows` are events: many rows per user, each with its own values. `Users` are
rows that stand for users: derived tables that are grouped, set operations, segments. Their columns are
values of the user, so conditions on them are conditions on groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlglot import exp

from segmentation.compile import tree
from segmentation.compile.bind_shape import USER_ID, folded, place_of
from segmentation.compile.bind_time import Operand
from segmentation.compile.problems import Position, Refused
from segmentation.compile.suggest import closest, listed
from segmentation.types import TEXT

USER = tree.Column(USER_ID, TEXT)


@dataclass(frozen=True, slots=True)
class Rows:
    """The events for which `where` is true; `columns` by name."""

    where: tree.Expr | None
    columns: Mapping[str, Operand]


@dataclass(frozen=True, slots=True)
class Users:
    """The users in `relation`, in one row each if `single`; `columns` are over all events of the user."""

    relation: tree.Relation
    columns: Mapping[str, Operand]
    single: bool


Table = Rows | Users


@dataclass(slots=True, eq=False)
class Item:
    """A table in FROM. `join`: inner, left or comma; a left one may be missing for a user, its columns NULL."""

    name: str  # empty: a query without a name
    table: Table
    join: str
    at: Position
    declared: bool = False  # a table of schema.yml
    on: list[exp.Expr] = field(default_factory=list)  # of a left one: what ON says of its rows besides user_id


def only_users(item: Item) -> Users:
    """Rows of events taken for the users that they are of."""
    table = item.table
    if isinstance(table, Users):
        return table
    users = {name: operand for name, operand in table.columns.items() if operand == USER}
    return Users(tree.Select(table.where, None, at=item.at), users, single=False)


@dataclass(frozen=True, slots=True)
class Found:
    """A column: of an item, or of an `outer` query's."""

    item: Item
    name: str
    operand: Operand
    outer: bool = False

    @property
    def is_user(self) -> bool:
        return self.operand == USER


@dataclass(slots=True)
class Scope:
    """What names mean inside one SELECT.

    merged: user_id is one column of all tables (USING). grouped: by user_id, and by the values of the user
    in grouped_by. tied: the user of the query outside is the one here. optional: the events that the groups are
    of, where a LEFT JOIN may find none.
    """

    items: list[Item] = field(default_factory=list)
    outer: "Scope | None" = None
    merged: bool = True
    grouped: bool = False
    tied: bool = False
    grouped_by: list[Operand] = field(default_factory=list)
    optional: Item | None = None

    def find(self, node: exp.Column) -> Found:
        """Raises Refused for a name that means nothing, or several things."""
        name, qualifiers = folded(node.this), [folded(part) for part in node.parts[:-1]]
        found = self._find(node, name, qualifiers)
        outer = self.outer
        while found is None and outer is not None:
            found = outer._find(node, name, qualifiers)
            found = found and replace(found, outer=True)
            outer = outer.outer
        if found is None:
            raise self._unknown(node, name, qualifiers)
        if isinstance(found.operand, tree.Column | tree.UserColumn | tree.Band):
            return replace(found, operand=replace(found.operand, at=place_of(node)))
        return found

    def found(self, node: exp.Expr) -> Found | None:
        """None for what is no column, or is refused where it is bound."""
        if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
            return None
        try:
            return self.find(node)
        except Refused:
            return None

    def _find(self, node: exp.Column, name: str, qualifiers: list[str]) -> Found | None:
        here = self.items if not qualifiers else [item for item in self.items if [item.name] == qualifiers]
        found = [(item, spelled) for item in here for spelled in _spelled(item, name, node)]
        if not found:
            return None
        if len({item.name for item, _ in found}) < len(found):
            names = listed(spelled for _, spelled in found)
            reason = f"{name} may be any of {names}."
            raise Refused(place_of(node), reason, "Put the one that is meant into double quotes.")
        item, spelled = found[0]
        if len(found) > 1 and not (self.merged and spelled == USER_ID):
            names = " and ".join(item.name for item, _ in found)
            remedy = f"Write {item.name}.{spelled}." if item.name else "Give the tables names."
            raise Refused(place_of(node), f"{spelled} may be a column of {names}.", remedy)
        return Found(item, spelled, item.table.columns[spelled])

    def _unknown(self, node: exp.Column, name: str, qualifiers: list[str]) -> Refused:
        at, names = place_of(node), [item.name for item in self.items if item.name]
        here = [item for item in self.items if not qualifiers or [item.name] == qualifiers]
        if qualifiers and not here:
            remedy = f"Write {names[0]}.{name} or {name}." if len(names) == 1 else f"There are {listed(names)}."
            return Refused(at, f"There is no table {'.'.join(qualifiers)} here.", remedy)
        known = {column for item in here for column in item.table.columns}
        quoted = bool(node.this.args.get("quoted"))
        meant = next((each for each in known if each.casefold() == name.casefold()), None) or closest(name, known)
        if meant:
            remedy = f"Did you mean {meant}?"
        elif quoted:
            remedy = f"A text stands in single quotes: '{node.name}'."
        elif any(item.declared for item in here):
            remedy = f"Declare it in schema.yml. Known: {listed(known)}."
        elif known == {USER_ID}:
            remedy = "There is user_id alone."
        else:
            remedy = f"Select it inside the query in FROM. Known: {listed(known)}."
        return Refused(at, f"Unknown column {node.name}.", remedy)


def _spelled(item: Item, name: str, node: exp.Column) -> list[str]:
    """The item's columns that may be meant: DuckDB ignores case."""
    columns = item.table.columns
    if name in columns:
        return [name]
    if node.this.args.get("quoted"):
        return []
    return [each for each in columns if each.casefold() == name.casefold()]
