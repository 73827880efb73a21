"""Relations as truths: set operations are gates, and so is what a query asks about other queries.

A `Member` is the same for all rows of a user. So a SELECT whose conditions on rows contain one is
taken apart: as it is with TRUE in its place, for users in the relation, and with FALSE, for others.
What remains has conditions on rows only, which are counted in cells as ever.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from segmentation.compile import tree
from segmentation.compile.bind_segments import refused_itself
from segmentation.compile.forms import form
from segmentation.compile.lower_users import without_profile
from segmentation.compile.plan import Known, Plan, children
from segmentation.compile.problems import Refused
from segmentation.compile.rebuild import decided, has_profile, members
from segmentation.types import BOOLEAN

#: A signal and whether it is negated; or a constant.
Truth = tuple[int, bool] | bool

#: Into how many SELECTs without queries inside one may be taken apart.
_PARTS_MAX = 256


class Gates(Protocol):
    """What is lowered with: see `lower`."""

    def gate(self, all_: bool, inputs: Sequence[Truth]) -> Truth: ...

    def plain(self, select: tree.Select) -> Truth: ...

    def everyone(self, query: tree.Everyone) -> Truth: ...


class Sets:
    def __init__(self, plan: Plan, gates: Gates) -> None:
        self._plan, self._gates = plan, gates
        self._known: dict[tree.Relation, Truth] = {}

    def truth(self, relation: tree.Relation) -> Truth:
        """Whether the user is in the relation. Raises Refused."""
        if relation not in self._known:
            self._known[relation] = self._truth(relation)
        return self._known[relation]

    def _truth(self, relation: tree.Relation) -> Truth:
        match relation:
            case tree.SetOp("union", args):
                return self._gates.gate(False, [self.truth(arg) for arg in args])
            case tree.SetOp("intersect", args):
                return self._gates.gate(True, [self.truth(arg) for arg in args])
            case tree.SetOp(_, args):
                first, *others = (self.truth(arg) for arg in args)
                return self._gates.gate(True, [first, *map(negated, others)])
            case tree.Segment(name, query=query):
                try:
                    return self.truth(query)
                except Refused:  # the place of that is in another file
                    raise refused_itself(name, relation.at) from None
        assert isinstance(relation, tree.Select | tree.Everyone)
        return self._select(without_profile(relation), _Budget())

    def _select(self, select: tree.Select | tree.Everyone, budget: "_Budget") -> Truth:
        members = list(_inside(select))
        if not members:
            budget.spend(select)
            return self._gates.plain(select) if isinstance(select, tree.Select) else self._gates.everyone(select)
        # In an order that does not depend on the spelling: that of their truths in the plan.
        asked = min(members, key=lambda member: _place(self.truth(member.relation)))
        inside, outside = (self._select(_with(select, asked, answer), budget) for answer in (True, False))
        member = self.truth(asked.relation)
        if isinstance(member, bool):
            return inside if member else outside
        if inside == outside:
            return inside
        rows = select.where if isinstance(select, tree.Select) and select.having is None else None
        signs = set() if rows is None else _signs(form(rows), asked)
        # Where more rows never make less of it, being in the relation (or not) alone need not be asked.
        inside = inside if signs == {False} else self._both(member, inside, asked)
        outside = outside if signs == {True} else self._gates.gate(True, [negated(member), outside])
        return self._gates.gate(False, [inside, outside])

    def _both(self, member: Truth, other: Truth, asked: tree.Member) -> Truth:
        """Whoever is in a relation has had an event, unless it is one of profiles; who is not in it may have or not."""
        known = isinstance(other, tuple) and not other[1] and isinstance(self._plan.signals[other[0]], Known)
        if known and not has_profile(asked):
            return member
        return self._gates.gate(True, [member, other])


class _Budget:
    def __init__(self) -> None:
        self._left = _PARTS_MAX

    def spend(self, select: tree.Select | tree.Everyone) -> None:
        self._left -= 1
        if self._left < 0:
            raise Refused(
                select.at, "The conditions on rows ask about too many other queries, in too many combinations.",
                "Combine the queries with UNION, INTERSECT and EXCEPT, or with AND and OR in HAVING.",
            )


def _place(truth: Truth) -> tuple[int, bool]:
    return (-1, truth) if isinstance(truth, bool) else truth


def negated(truth: Truth) -> Truth:
    return not truth if isinstance(truth, bool) else (truth[0], not truth[1])


def _with(
    select: tree.Select | tree.Everyone, asked: tree.Member, answer: bool
) -> tree.Select | tree.Everyone:
    def is_in(member: tree.Member) -> bool | None:
        return answer if member == asked else None

    if isinstance(select, tree.Everyone):
        return tree.Everyone(decided(select.having, is_in), at=select.at)
    where = None if select.where is None else form(decided(select.where, is_in))
    if where == tree.Literal(True, BOOLEAN):
        where = None
    return tree.Select(where, decided(select.having, is_in), at=select.at)


def _inside(select: tree.Select | tree.Everyone) -> Iterator[tree.Member]:
    """The Members that decide about rows, or whose truth is compared with something."""
    if isinstance(select, tree.Select):
        yield from members(select.where)
    yield from _compared(select.having)


def _compared(node: tree.Expr | None) -> Iterator[tree.Member]:
    match node:
        case tree.And() | tree.Or() | tree.Not() | tree.IsTrue():
            for part in children(node):
                yield from _compared(part)
        case tree.Member():
            return
        case _:
            yield from members(node)


def _signs(node: tree.Expr, asked: tree.Member) -> set[bool]:
    """Whether the condition, a result of `form`, asks for it, for its contrary, or for both."""
    match node:
        case tree.And() | tree.Or():
            return set().union(*(_signs(arg, asked) for arg in node.args))
        case tree.Member():
            return {True} if node == asked else set()
        case tree.Not(tree.IsTrue(tree.Member() as member)):
            return {False} if member == asked else set()
    return {True, False} if asked in members(node) else set()
