"""FROM: the tables of one SELECT, tied to each other by user_id.

Rows of different users never meet in a definition: tables are joined on user_id, a query in a condition
is tied to the user around it. The ties are equalities of user_id among the conditions that all must hold,
in ON and in WHERE; they are taken out here.
"""

from collections.abc import Callable, Iterable, Iterator

from sqlglot import exp

from segmentation.compile.bind_shape import USER_ID, Reported, bare, conjuncts, folded, place_of
from segmentation.compile.bind_tables import USER, Item, Rows, Scope, Table, Users
from segmentation.compile.bind_users import is_everyone
from segmentation.compile.problems import Refused

_TIE = "Write JOIN ... USING (user_id), or ON a.user_id = b.user_id."
_OUTSIDE = -1


class Tables:
    """The items of a SELECT's FROM, and the conditions of its WHERE and ON that are no ties.

    Raises Refused; Reported where a table has problems of its own, which are in the list.
    """

    def __init__(self, select: exp.Select, table: Callable[[exp.Expr], tuple[str, Table, bool]], outer: Scope | None):
        self.scope = Scope(outer=outer)
        self.conditions: list[exp.Expr] = []
        joins = select.args.get("joins") or []
        failed = False
        for node in [select.args["from_"], *joins]:
            try:
                self._add(node, *table(node.this))
            except Reported:
                failed = True
        if failed:
            raise Reported
        self.tied_outside = False
        self._group = list(range(len(self.scope.items)))
        for item, join in zip(self.scope.items[1:], joins):
            self._join(item, join)
        where = select.args.get("where")
        if where is not None:
            self._split(conjuncts(where.this))
        if len(set(self._group)) > 1:
            lonely = next(i for i, group in enumerate(self._group) if group != self._group[0])
            raise Refused(self.scope.items[lonely].at, "The tables are not joined on user_id.", _TIE)

    def _add(self, node: exp.Expr, name: str, table: Table, declared: bool) -> None:
        at, join = place_of(node.this), node.meta.get("join", "inner")
        if name and any(item.name == name for item in self.scope.items):
            raise Refused(at, f"Two tables are called {name}.", f"Give this one another name: {name} AS {name}2.")
        self.scope.items.append(Item(name, table, join, at, declared))

    def _join(self, item: Item, join: exp.Join) -> None:
        on, using = join.args.get("on"), join.args.get("using")
        items = self.scope.items
        number = items.index(item)
        if using:
            wrong = next((name for name in using if folded(name) != USER_ID), None)
            if wrong is not None:
                raise Refused(place_of(wrong), f"Tables are joined on user_id, not on {wrong.name}.", _TIE)
            # A comma begins anew: what is behind it is joined first.
            first = max((i for i in range(number) if items[i].join == "comma"), default=0)
            for each in (items[first], item):
                if each.table.columns.get(USER_ID) != USER:
                    raise Refused(place_of(join), f"{each.name or 'A query'} here has no user_id.", _TIE)
            self._unite(first, number)
            if is_everyone(item.table) and item.join == "left":
                item.join = "inner"
            return
        self.scope.merged = False
        if on is None:
            if item.join != "comma":
                raise Refused(place_of(join), "The join does not say on what.", _TIE)
        elif item.join == "left":
            self._left(item, number, conjuncts(on))
            if is_everyone(item.table) and not item.on:
                item.join = "inner"  # nobody is missing
        else:
            self._split(conjuncts(on))

    def _left(self, item: Item, number: int, conditions: list[exp.Expr]) -> None:
        for condition in conditions:
            tie = self._tie(condition)
            if tie is not None and number in tie and _OUTSIDE not in tie:
                self._present(tie, number)
                self._unite(*tie)
            elif all(self._is_of(item, column) or self._is_value(item, column) for column in columns_in(condition)):
                item.on.append(condition)
            else:
                raise Refused(
                    place_of(condition), "This condition in ON of a LEFT JOIN is on another table than the joined one.",
                    "Put it into WHERE, or into the query that it is a condition on.",
                )

    def _is_of(self, item: Item, column: exp.Column) -> bool:
        """Raises Refused for a name that means one thing in the item, and beside the other tables several."""
        try:
            return self.scope.find(column).item is item
        except Refused:
            try:
                Scope([item]).find(column)
            except Refused:
                return True  # refused where it is bound, in the words of its own
            raise

    def _is_value(self, item: Item, column: exp.Column) -> bool:
        """Whether it is, beside the events of a LEFT JOIN, a value of the user whom the tables before have."""
        found = self.scope.found(column)
        if found is None or found.outer or found.is_user or not isinstance(item.table, Rows):
            return False
        return isinstance(found.item.table, Users) and found.item.join != "left"

    def _split(self, conditions: Iterable[exp.Expr]) -> None:
        for condition in conditions:
            tie = self._tie(condition)
            if tie is None:
                self.conditions.append(condition)
                continue
            self._present(tie)
            if _OUTSIDE in tie:
                self.tied_outside = True
            else:
                self._unite(*tie)

    def _present(self, tie: tuple[int, int], but: int = _OUTSIDE) -> None:
        """Refuses a tie to a table that may be missing for a user: then it is a condition of its own."""
        for number in tie:
            if number not in (_OUTSIDE, but) and self.scope.items[number].join == "left":
                item = self.scope.items[number]
                raise Refused(
                    item.at, f"{item.name or 'This'} may be missing for a user, and is compared as if it were there.",
                    "Write JOIN instead of LEFT JOIN, or compare the first table's user_id.",
                )

    def _unite(self, one: int, other: int) -> None:
        old, new = self._group[other], self._group[one]
        self._group = [new if group == old else group for group in self._group]

    def _tie(self, condition: exp.Expr) -> tuple[int, int] | None:
        """The two tables whose users the condition says are the same; _OUTSIDE for one around this query."""
        node = bare(condition)
        if not isinstance(node, exp.EQ):
            return None
        sides = [self._user_of(side) for side in (node.this, node.expression)]
        one, other = sides
        return None if one is None or other is None or one == other else (one, other)

    def _user_of(self, node: exp.Expr) -> int | None:
        column = bare(node)
        if not isinstance(column, exp.Column) or isinstance(column.this, exp.Star):
            return None
        try:
            found = self.scope.find(column)
        except Refused:
            return None  # bound, and refused, as a condition
        if not found.is_user:
            return None
        if found.outer:
            return None if found.item.join == "left" else _OUTSIDE
        return self.scope.items.index(found.item)


def columns_in(*nodes: exp.Expr | None) -> Iterator[exp.Column]:
    """All columns in these parts of a SELECT, but not those of queries inside."""
    for node in parts_of(nodes, exp.Column):
        assert isinstance(node, exp.Column)
        yield node


def parts_of(nodes: Iterable[exp.Expr | None], kind: type[exp.Expr]) -> Iterator[exp.Expr]:
    """All nodes of a kind in these parts of a SELECT, but nothing inside them or inside queries."""
    for node in nodes:
        if isinstance(node, kind):
            yield node
        elif node is not None and not isinstance(node, exp.Query):
            for value in node.args.values():
                each = value if isinstance(value, list) else [value]
                yield from parts_of([part for part in each if isinstance(part, exp.Expr)], kind)
