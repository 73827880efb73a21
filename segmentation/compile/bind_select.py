"""One SELECT, as a table: its tables, its conditions, and what it selects.

With events among its tables it is about their rows: the other tables only say whose rows count, and
GROUP BY user_id makes users of them. Without, each row is a user already, and the conditions are
conditions on the user.
"""

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from typing import Any

from sqlglot import exp

from segmentation.compile import bind_bands, bind_values, tree
from segmentation.compile import bind_conditions as conditions
from segmentation.compile import bind_projection as projection
from segmentation.compile.bind_expr import Binder
from segmentation.compile.bind_from import Tables, columns_in, parts_of
from segmentation.compile.bind_outer import with_missing
from segmentation.compile.bind_shape import USER_ID, Place, Reported, bare, conjuncts, place_of
from segmentation.compile.bind_tables import USER, Item, Rows, Scope, Table, Users, only_users
from segmentation.compile.bind_time import Operand, Span
from segmentation.compile.bind_users import beside_events, is_everyone, per_user
from segmentation.compile.problems import Position, Refused
from segmentation.compile.rebuild import has_profile, mapped

Source = Callable[[exp.Expr], tuple[str, Table, bool]]
Relation = Callable[[exp.Expr, Scope], tree.Relation]
Value = Callable[[exp.Expr, Scope], Operand]


class SelectBinder:
    """Raises Refused or Reported, as its methods do."""

    def __init__(
        self, node: exp.Select, outer: Scope | None, problems: list[Refused],
        source: Source, users: Relation, exists: Relation, value: Value,
    ) -> None:
        self.node, self.problems = node, problems
        self._users, self._exists, self._value = users, exists, value
        self.tables = Tables(node, source, outer)
        self.scope = self.tables.scope
        self._binder = Binder(self.scope, problems, self)
        self._rows = self._choose_rows()
        for item in self.scope.items:
            if item.on:
                item.table = self._narrowed(item)
            if item is not self._rows and item.join != "left":
                item.table = only_users(item)
        # The user of a query in IN is the one outside, whose user_id is looked for.
        self.scope.tied = outer is not None
        self.scope.grouped = node.args.get("group") is not None
        self.scope.grouped_by = projection.grouped_by(node, self.scope)
        self.scope.optional = self._optional()

    def users(self, node: exp.Expr) -> tree.Relation:
        return self._users(node, self.scope)

    def exists(self, node: exp.Expr) -> tree.Relation:
        return self._exists(node, self.scope)

    def value(self, node: exp.Expr) -> Operand:
        return self._value(node, self.scope)

    def table(self, noun: str) -> Table:
        """The result. `noun`: what this query is if it must select user_id alone; empty for any columns."""
        columns: Mapping[str, Operand] | None = {}
        failed = False
        if noun:
            found = projection.user_alone(self.node, self.scope, noun)
            self.problems.extend(found)
            columns, failed = {USER_ID: USER}, bool(found)
        else:
            try:
                columns = projection.columns(self.node, self._binder, self._selecting())
            except Reported:
                failed = True
        where, having = self._conditions(failed)
        assert columns is not None
        return self._assembled(columns, where, having)

    def any_row(self) -> Table:
        """The result for EXISTS, whatever it selects."""
        self.scope.tied = self.tables.tied_outside
        if not self.scope.tied:
            raise Refused(
                place_of(self.node), "EXISTS asks about all users, not about the one outside.",
                "Tie it to the query outside: WHERE e.user_id = outer_table.user_id, with two different table names.",
            )
        failed = False
        try:
            projection.ignored(self.node, self._binder, self._selecting())
        except Reported:
            failed = True
        return self._assembled({USER_ID: USER}, *self._conditions(failed))

    def single(self) -> Operand:
        """Of a query as a value: what it gives beside the events of its user."""
        self.scope.tied = self.tables.tied_outside
        bind_values.check_tied(self.node, self.scope.tied)
        item, at = bind_values.selected(self.node), place_of(self.node)
        failed = False
        operand: Operand = USER
        try:
            if self._rows is not None and isinstance(bare(item), exp.Column):
                raise bind_values.several(item)
            operand = self._binder.selected(item, Place.USERS if self._rows is None else Place.HAVING)
        except Reported:
            failed = True
        where, _ = self._conditions(failed)
        columns = {"": operand}
        if self._rows is None:
            table = self._of_users(columns, where)
            if not table.single:
                raise bind_values.several(item)
            value = bind_values.or_null(operand, table, at, bind_values.may_lack_events(self.scope.outer))
            return value if per_user(value) else bind_values.beside(value, at)
        bind_values.check_aggregate(item, operand)
        self.scope.grouped = True
        table_ = self._of_rows(self._rows, columns, where, (), grouped=True)
        assert isinstance(table_, Users)
        return bind_values.beside(table_.columns[""], at)

    def bands(self) -> list[tuple[str, tree.Relation]]:
        """Of a definition with bands: each with those who are in it."""
        case = bind_bands.case_of(self.node, self.scope)
        branches: list[bind_bands.Branch] = []
        failed = False
        try:
            branches = bind_bands.branches(case, self._binder, self._selecting())
        except Reported:
            failed = True
        where, having = self._conditions(failed)
        found: list[tuple[str, tree.Relation]] = []
        for value in bind_bands.values(branches):
            table = self._assembled({USER_ID: USER}, where, (*having, bind_bands.condition(branches, value)))
            assert isinstance(table, Users)
            found.append((value, table.relation))
        return found

    def _selecting(self) -> Place:
        if self._rows is None and self.scope.optional is None:
            return Place.USERS
        return Place.HAVING if self.scope.grouped else Place.SELECT

    # -- which table the rows are of ------------------------------------------------------------------

    def _choose_rows(self) -> Item | None:
        """The table of events whose rows the SELECT is about. Of others it must not need more than the user."""
        args = self.node.args
        joins = [join.args.get("on") for join in args.get("joins") or ()]
        parts = [*self.node.expressions, args.get("where"), args.get("group"), args.get("having"), *joins]
        named = [column for column in columns_in(*parts)]
        needed: list[Item] = []
        for column in named:
            if isinstance(column.this, exp.Star):
                needed += [item for item in self.scope.items if not column.table or item.name == column.table]
                continue
            try:
                found = self.scope.find(column)
            except Refused:
                continue  # reported where it is bound
            if not found.is_user and not found.outer and not per_user(found.operand):
                needed.append(found.item)
        rows = [item for item in self.scope.items if isinstance(item.table, Rows) and item.join != "left"]
        wanted = [item for item in rows if any(item is other for other in needed)]
        if len(wanted) > 1:
            name = wanted[1].name or "b"
            raise Refused(
                wanted[1].at, "Rows of events are not compared with each other, and this is a second table of them.",
                f"Make one row per user of it: JOIN (SELECT user_id, ... GROUP BY user_id) {name} USING (user_id).",
            )
        if wanted:
            return wanted[0]
        # Where values of users are needed it is a query of users.
        values = any(isinstance(item.table, Users) and item.join != "left" for item in needed)
        selecting = (*self.node.expressions, args.get("having"))
        counted = args.get("group") is not None and any(parts_of(selecting, exp.AggFunc))
        return rows[0] if rows and (counted or not values) else None

    def _optional(self) -> Item | None:
        """The table of events of a LEFT JOIN that aggregates are over, a user without such events being one row."""
        left = [item for item in self.scope.items if isinstance(item.table, Rows) and item.join == "left"]
        if self._rows is not None or not left or not self.scope.grouped:
            return None
        selecting = (*self.node.expressions, self.node.args.get("having"))
        named = [self.scope.found(column) for column in columns_in(*selecting)]
        asked = any(found is not None and any(found.item is item for item in left) for found in named)
        if not asked and not any(parts_of(selecting, exp.AggFunc)):
            return None
        several = next((item for item in self.scope.items if item is not left[0] and _several(item)), None)
        if several is not None:
            raise Refused(
                several.at, f"{several.name or 'This query'} may have many rows per user: each event counts for each.",
                f"Make one row per user of it: JOIN (SELECT user_id, ... GROUP BY user_id) {several.name or 'b'} "
                "USING (user_id).",
            )
        return left[0]

    def _narrowed(self, item: Item) -> Table:
        """A table of a LEFT JOIN with the conditions on it in ON: the rows that are there to be found."""
        there = replace(item, join="inner")  # a row that is looked at is there
        inside = copy(self)  # for queries in ON
        inside.scope = replace(self.scope, items=[there if one is item else one for one in self.scope.items])
        if isinstance(item.table, Rows):
            scope, place = replace(inside.scope, tied=self.scope.tied), Place.WHERE
        else:
            scope, place = Scope([there], self.scope.outer, tied=self.scope.tied), Place.USERS
        conditions_ = self._beside(Binder(scope, self.problems, inside).conditions(item.on, place), place)
        if isinstance(item.table, Rows):
            own = () if item.table.where is None else (item.table.where,)
            return replace(item.table, where=self._all((*own, *conditions_)))
        member = tree.Member(item.table.relation, at=item.at)
        return replace(item.table, relation=self._those((member, *conditions_), item.at))

    # -- conditions ----------------------------------------------------------------------------------

    def _conditions(self, failed: bool) -> tuple[tuple[tree.Expr, ...], tuple[tree.Expr, ...]]:
        """Of WHERE and of HAVING. `failed`: something else has problems already."""
        args = self.node.args
        self.problems.extend(found := projection.grouping(self.node, self.scope))
        failed = failed or bool(found)
        parts: dict[str, tuple[tree.Expr, ...]] = {}
        of_user = [node for node in self.tables.conditions if self._rows and self._is_of_user(node)]
        of_rows = [node for node in self.tables.conditions if node not in of_user]
        having = args.get("having")
        of_groups = Place.USERS if self._rows is None and self.scope.optional is None else Place.HAVING
        for name, nodes, place in (
            ("where", of_rows, Place.WHERE if self._rows else Place.USERS),
            ("of_user", of_user, Place.USERS),
            ("having", [] if having is None else conjuncts(having.this), of_groups),
        ):
            self.scope.grouped = name == "having"
            try:
                parts[name] = self._beside(self._binder.conditions(nodes, place), place)
            except Reported:
                failed = True
        if failed:
            raise Reported
        members = (tree.Member(tree.Select(None, part, at=part.at), at=part.at) for part in parts["of_user"])
        return (*parts["where"], *members), parts["having"]

    def _is_of_user(self, node: exp.Expr) -> bool:
        """Whether a condition beside events is on values of the user alone, so that it may compare them with now()."""
        found = [projection.value_of(column, self.scope) for column in columns_in(node)]
        values = isinstance(bare(node), exp.Predicate) and any(parts_of((node,), exp.Subquery))
        values = values or not all(each is None or per_user(each) for each in found)
        return None not in found and values and not any(parts_of((node,), exp.In))

    def _beside(self, found: tuple[tree.Expr, ...], place: Place) -> tuple[tree.Expr, ...]:
        try:
            return tuple(beside_events(each, place.rows) for each in found)
        except Refused as refused:
            self.problems.append(refused)
            raise Reported from None

    def _assembled(
        self, columns: Mapping[str, Operand], where: tuple[tree.Expr, ...], having: tuple[tree.Expr, ...]
    ) -> Table:
        if self.scope.optional is not None:
            table = self.scope.optional.table
            assert isinstance(table, Rows)
            having = with_missing(having, table.where)
            columns = {name: _exchanged(each, lambda part: with_missing(part, table.where))
                       for name, each in columns.items()}
        if self._rows is None:
            return self._of_users(columns, where + having)
        return self._of_rows(self._rows, columns, where, having, self.node.args.get("group") is not None)

    def _of_rows(
        self, item: Item, columns: Mapping[str, Operand], where: tuple[tree.Expr, ...], having: tuple[tree.Expr, ...],
        grouped: bool,
    ) -> Table:
        assert isinstance(item.table, Rows)
        own = () if item.table.where is None else (item.table.where,)
        condition = self._all((*own, *self._joined(), *where))
        several = next((each for each in self.scope.items if each is not item and _several(each)), None)
        at = place_of(self.node)
        if not grouped and self.node.args.get("distinct"):
            grouped = projection.distinct(self.node, columns)
        if several is not None and (having or any(operand != USER for operand in columns.values())):
            raise Refused(
                several.at, f"{several.name or 'This query'} may have many rows per user: each event counts for each.",
                "Write SELECT DISTINCT user_id in it.",
            )
        if grouped:
            query = tree.Select(condition, self._all(having), at=at)
            return Users(query, {name: _filtered(operand, condition) for name, operand in columns.items()}, True)
        if several is not None:
            return Users(tree.Select(condition, None, at=at), columns, single=False)
        return Rows(condition, columns)

    def _of_users(self, columns: Mapping[str, Operand], conditions_: tuple[tree.Expr, ...]) -> Users:
        joined = self._joined()
        condition = self._all(conditions_)
        args = self.node.args
        single = all(not _several(item) for item in self.scope.items)
        single = single or args.get("group") is not None or bool(args.get("distinct"))
        at = place_of(self.node)
        if condition is not None:
            all_of = self._those((*joined, condition), at) if joined else tree.Everyone(condition, at=at)
            return Users(all_of, columns, single)
        relations = tuple(member.relation for member in joined) or (tree.Everyone(None, at=at),)
        relation = relations[0] if len(relations) == 1 else tree.SetOp("intersect", relations, at=at)
        return Users(relation, columns, single)

    def _joined(self) -> tuple[tree.Member, ...]:
        """What the tables that have users for rows say: the user must be in them."""
        found = []
        for item in self.scope.items:
            if item is not self._rows and item.join != "left" and not is_everyone(item.table):
                assert isinstance(item.table, Users)
                found.append(tree.Member(item.table.relation, at=item.at))
        return tuple(found)

    def _those(self, conditions_: tuple[tree.Expr, ...], at: Position) -> tree.Relation:
        """The users of whom these are true; among them members of a relation."""
        condition = self._all(conditions_)
        return tree.Everyone(condition, at=at) if has_profile(condition) else tree.Select(None, condition, at=at)

    def _all(self, parts: tuple[tree.Expr, ...]) -> tree.Expr | None:
        return conditions.conjunction(parts, parts[0].at) if parts else None


def _several(item: Item) -> bool:
    """Whether the table may have several rows for a user, although its rows are taken for users."""
    return isinstance(item.table, Rows) or not item.table.single


def _filtered(operand: Operand, where: tree.Expr | None) -> Operand:
    """The value over all events of the user, where it was one over those that pass `where`."""
    if where is None:
        return operand

    def narrowed(node: tree.Expr) -> tree.Expr | None:
        if isinstance(node, tree.Scalar):
            return node
        if not isinstance(node, tree.Aggregate):
            return None
        both = where if node.filter is None else conditions.conjunction((where, node.filter), node.filter.at)
        return replace(node, filter=both)

    return _exchanged(operand, lambda part: mapped(part, narrowed))


def _exchanged(operand: Operand, exchange: Callable[[Any], Any]) -> Operand:
    if isinstance(operand, Span):
        return replace(operand, plus=exchange(operand.plus), minus=exchange(operand.minus))
    result: tree.Expr = exchange(operand)
    return result
