"""Queries: from sqlglot's nodes (placed by `parse_places`) to tables, and so to relations over users.

A SELECT alone is `bind_select`'s; here is what holds queries together: WITH, parentheses, UNION,
INTERSECT and EXCEPT, and the tables that names in FROM stand for.
"""

from collections.abc import Mapping
from functools import partial

from sqlglot import exp

from segmentation.compile import bind_band_column, tree
from segmentation.compile.bind_bands import has_bands
from segmentation.compile.bind_projection import DEFINITION, IN, OPERAND
from segmentation.compile.bind_segments import Segments
from segmentation.compile.bind_select import SelectBinder
from segmentation.compile.bind_shape import USER_ID, Reported, folded, place_of
from segmentation.compile.bind_tables import USER, Rows, Scope, Table, Users
from segmentation.compile.bind_time import Operand
from segmentation.compile.bind_users import users_table
from segmentation.compile.problems import Refused
from segmentation.compile.rebuild import size
from segmentation.compile.suggest import closest
from segmentation.events.schema import Schema

#: The tables that WITH has named so far; None for one that has problems of its own.
Common = Mapping[str, Table | None]

#: Nodes of a definition once every name is replaced by its query; a file alone cannot hold as many.
_SIZE_MAX = 100_000
_TAKEN = ("events", "users", "segments")


class Queries:
    """Binds the queries of one definition; `problems` grows."""

    def __init__(self, schema: Schema, problems: list[Refused], segments: Segments) -> None:
        self.problems, self._segments, self._users_columns = problems, segments, schema.users
        self._events = Rows(None, {name: tree.Column(name, column.type) for name, column in schema.events.items()})

    def root(self, node: exp.Query) -> dict[str, tree.Relation]:
        """The whole query of a definition: who is in it, by band, "" where it has none. Empty if it has problems."""
        try:
            found = self._bands(node) if has_bands(node) else {"": self.users(node, {}, None, DEFINITION)}
        except Reported:
            return {}
        if size(tuple(found.values())) > _SIZE_MAX:
            reason = "Queries that use others twice, and those others, add up."
            self.problems.append(Refused(place_of(node), reason, "Split it into several definitions."))
        return found

    def _bands(self, node: exp.Query) -> dict[str, tree.Relation]:
        assert isinstance(node, exp.Select)
        try:
            return dict(self._select(node, self._common(node, {}), None).bands())
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    def users(self, node: exp.Expr, common: Common, outer: Scope | None, noun: str) -> tree.Relation:
        """Who is returned by a query that must return user_id alone. Raises Reported."""
        return self._users_of(self._table(node, common, outer, noun), node)

    def exists(self, node: exp.Expr, common: Common, outer: Scope) -> tree.Relation:
        """The users for whom the query inside EXISTS returns something. Raises Reported."""
        try:
            common = self._common(node, common)
            if isinstance(node, exp.Subquery):
                return self.exists(node.this, common, outer)
            if not isinstance(node, exp.Select):
                raise Refused(
                    place_of(node), "EXISTS of a set operation is not supported.",
                    "Write EXISTS (...) OR EXISTS (...), or user_id IN (...).",
                )
            return self._users_of(self._select(node, common, outer).any_row(), node)
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    def value(self, node: exp.Expr, common: Common, outer: Scope) -> Operand:
        """What a query as a value gives beside the events of its user. Raises Reported."""
        try:
            common = self._common(node, common)
            if isinstance(node, exp.Subquery):
                return self.value(node.this, common, outer)
            if not isinstance(node, exp.Select):
                remedy = "Write user_id IN (SELECT user_id ...)."
                raise Refused(place_of(node), "A set operation gives users, not a value.", remedy)
            return self._select(node, common, outer).single()
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    def _users_of(self, table: Table, node: exp.Expr) -> tree.Relation:
        return table.relation if isinstance(table, Users) else tree.Select(table.where, None, at=place_of(node))

    def _table(self, node: exp.Expr, common: Common, outer: Scope | None, noun: str) -> Table:
        """`noun`: of a query that returns user_id alone; empty for one in FROM. Raises Reported."""
        try:
            common = self._common(node, common)
            if isinstance(node, exp.Subquery):
                return self._table(node.this, common, outer, noun)
            if isinstance(node, exp.SetOperation):
                return self._set_operation(node, common, outer)
            assert isinstance(node, exp.Select)
            return self._select(node, common, outer).table(noun)
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    def _select(self, node: exp.Select, common: Common, outer: Scope | None) -> SelectBinder:
        return SelectBinder(
            node, outer, self.problems, partial(self._source, common=common),
            lambda inner, scope: self.users(inner, common, scope, IN),
            lambda inner, scope: self.exists(inner, common, scope),
            lambda inner, scope: self.value(inner, common, scope),
        )

    # -- tables by name ------------------------------------------------------------------------------

    def _source(self, node: exp.Expr, common: Common) -> tuple[str, Table, bool]:
        """What stands in FROM: its name, the table, and whether schema.yml declares it. Raises Refused, Reported."""
        alias = node.args.get("alias")
        name = folded(alias.this) if alias is not None else ""
        if isinstance(node, exp.Subquery):
            # A query in FROM does not see the tables beside it, nor those outside.
            return name, self._table(node.this, common, None, ""), False
        assert isinstance(node, exp.Table)
        names = [folded(part) for part in node.parts]
        name = name or names[-1]
        if len(names) == 1 and names[0] in common:
            table = common[names[0]]
            if table is None:
                raise Reported
            return name, table, False
        if names == ["events"]:
            return name, self._events, True
        if names == ["users"]:
            return name, users_table(self._users_columns, place_of(node)), True
        if len(names) == 2 and names[0] == "segments":
            at = place_of(node)
            if bands := self._segments.bands(names[1], at):
                band = bind_band_column.column(names[1], bands)
                columns: Mapping[str, Operand] = {USER_ID: USER, bind_band_column.BAND: band}
                return name, Users(bind_band_column.relation(band, at), columns, single=True), False
            return name, Users(self._segments.relation(names[1], at), {USER_ID: USER}, single=True), False
        raise _no_table(names, node, common)

    def _common(self, node: exp.Expr, common: Common) -> Common:
        """With the tables that the query's own WITH names."""
        with_ = node.args.get("with_")
        if with_ is None:
            return common
        here: dict[str, Table | None] = dict(common)
        mine: set[str] = set()
        for each in with_.expressions:
            name = folded(each.args["alias"].this)
            try:
                if name in _TAKEN:
                    raise Refused(place_of(each), f"{name} is a table already.", "Give the query another name.")
                if name in mine:
                    raise Refused(place_of(each), f"{name} is defined twice in WITH.", "Give one another name.")
                here[name] = self._table(each.this, here, None, "")
            except Refused as refused:
                self.problems.append(refused)
                here[name] = None
            except Reported:
                here[name] = None
            mine.add(name)
        return here

    # -- set operations ------------------------------------------------------------------------------

    def _set_operation(self, node: exp.Expr, common: Common, outer: Scope | None) -> Users:
        operands, operators = node.meta["operands"], node.meta["operators"]
        tables: list[Table] = []
        failed = False
        for operand in operands:
            try:
                tables.append(self._table(operand, common, outer, OPERAND))
            except Reported:
                failed = True
        if failed:
            raise Reported
        result = [self._as_users(tables[0], operands[0])]
        pending: list[tuple[str, bool]] = []
        for (word, every), table, operand in zip(operators, tables[1:], operands[1:]):
            right = self._as_users(table, operand)
            if word == "INTERSECT":  # binds closer than the others
                result.append(_combined(word, every, result.pop(), right, operand))
            else:
                pending.append((word, every))
                result.append(right)
        whole = result[0]
        for (word, every), right in zip(pending, result[1:]):
            whole = _combined(word, every, whole, right, node)
        return whole

    def _as_users(self, table: Table, node: exp.Expr) -> Users:
        columns = {USER_ID: USER}
        if isinstance(table, Users):
            return Users(table.relation, columns, table.single)
        return Users(self._users_of(table, node), columns, single=False)


def _combined(word: str, every: bool, left: Users, right: Users, at: exp.Expr) -> Users:
    if word == "EXCEPT" and every and not left.single:
        raise Refused(
            place_of(at), "EXCEPT ALL takes away row by row, and before it a user may have many.",
            "Write EXCEPT, or SELECT DISTINCT user_id before it.",
        )
    op = word.lower()
    first = left.relation.args if isinstance(left.relation, tree.SetOp) and left.relation.op == op else (left.relation,)
    relation = tree.SetOp(op, (*first, right.relation), at=left.relation.at)
    single = {"UNION": False, "INTERSECT": left.single or right.single, "EXCEPT": left.single}[word]
    return Users(relation, left.columns, single or not every)


def _no_table(names: list[str], node: exp.Expr, common: Common) -> Refused:
    at = place_of(node)
    if names == ["segments"]:
        return Refused(at, "There is no table segments.", "Name one segment: FROM segments.high_value.")
    meant = closest(names[-1], ("events", "users", *common)) if len(names) == 1 else None
    remedy = f"Did you mean {meant}?" if meant else "Write FROM events, or FROM users."
    return Refused(at, f"There is no table {'.'.join(names)}.", remedy)
