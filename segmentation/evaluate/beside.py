"""Rows beside values of their user that move: which of them count, step by step.

A term with a condition `beside` (`event_time < (SELECT min(...) ...)`) keeps the rows that pass all
its other conditions while their age is in its window. A row counts where the condition is true of
it and the values as they are after the step. So what comes and goes for the cells are rows that
come, rows that go, and rows whose truth is another because a value has moved; a row is looked at
only then. The cells above are the same as for any term.

Values come from cells, which may in turn have such terms: cells are settled level by level.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile import tree
from segmentation.compile.anchors import scalars_in
from segmentation.compile.plan import BY_TIME, Anchor, Bag, Linear, Plan, Source, Term, fed_by, walk
from segmentation.compile.rebuild import mapped
from segmentation.distinct import distinct
from segmentation.evaluate.columns import Columnar
from segmentation.evaluate.deltas import Deltas
from segmentation.evaluate.distincts import Distincts
from segmentation.evaluate.environments import Values
from segmentation.evaluate.formulas import Changes, Formulas
from segmentation.evaluate.index import Index, Touched
from segmentation.evaluate.rows import Aside, CellRows, LinearRows, ValueRows
from segmentation.evaluate.vector import compare, evaluate
from segmentation.evaluate.vectors import Vector
from segmentation.events.rows import Bool, Int64
from segmentation.state.dictionary import Translation
from segmentation.state.kept import Kept

Array = NDArray[Any]
#: Pairs of a row and a step that are looked at together: it bounds the memory of a value that moves often.
_AT_ONCE = 1 << 18


@dataclass(slots=True)
class _Watch:
    """Terms that differ only in what they do with the rows. condition: with a column for each of `values`."""

    terms: Int64
    condition: tree.Expr
    values: dict[str, Anchor]
    level: int
    kept: Kept


class Beside:
    """Of a plan that has such terms."""

    def __init__(self, plan: Plan, index: Index, columnar: Columnar, deltas: Deltas) -> None:
        self._columnar, self._deltas = columnar, deltas
        levels = _Levels(plan)
        self._linear = np.array([levels.of(cell) for cell in plan.linears], np.int64)
        self._distinct = np.array([levels.of_terms(cell.terms) for cell in plan.distincts], np.int64)
        self._bag = np.array([levels.of(cell) for cell in plan.bags], np.int64)
        self._watches = [_watch(plan, index, columnar, levels, number) for number in range(len(index.watches))]

    def parts(self, rows: CellRows, changes: Changes, distincts: Distincts, formulas: Formulas) -> Iterator[CellRows]:
        """The rows of each level of cells; `changes` must have those of one before the next is asked for."""
        pending = [rows]
        for level in range(1 + int(max(self._linear.max(initial=0), self._bag.max(initial=0)))):
            for number, watch in enumerate(self._watches):
                if watch.level == level and rows.aside is not None:
                    pending += self._moved(watch, rows.aside.of(number), changes, formulas)
            for part in list(pending):
                mine = part.distincts.where(self._distinct[part.distincts.cell] == level)
                if len(mine):
                    pending.append(CellRows.of_linear(distincts.apply(mine, changes.steps)))
            yield CellRows(
                LinearRows.joined([part.linear.where(self._linear[part.linear.cell] == level) for part in pending]),
                rows.registers if level == 0 else ValueRows.none(), ValueRows.none(),
                ValueRows.joined([part.bags.where(self._bag[part.bags.cell] == level) for part in pending]),
            )

    def _moved(self, watch: _Watch, aside: Aside, changes: Changes, formulas: Formulas) -> list[CellRows]:
        """What the rows aside, and the values that have moved, do to the cells."""
        steps = changes.steps
        moves = self._moves(watch, changes, formulas)
        come, go = (np.flatnonzero(aside.touched.sign == sign) for sign in (1, -1))
        if not len(come) + len(go) + len(moves):
            return []
        n_steps = len(steps)
        new = watch.kept.add({name: column[aside.touched.row[come]] for name, column in aside.rows.items()})
        came = aside.step[aside.touched.row[come]]
        going = aside.step[aside.touched.row[go]]
        users = distinct(np.concatenate((steps.user[moves], steps.user[going])))
        old = np.setdiff1d(watch.kept.of_users(users), new)
        # Items: rows that are kept from before, and rows that come.
        slot = np.concatenate((old, new))
        if not len(slot):
            return []
        item = watch.kept.take(slot)
        start = np.concatenate((np.full(len(old), -1), came))
        end = _ends(item, aside, go, going, n_steps)
        user = item["user"].astype(np.int64)
        first = np.where(start >= 0, np.searchsorted(moves, start, "right"), _of_user(moves, steps.user, user, "left"))
        last = np.where(end < n_steps, np.searchsorted(moves, end, "left"), _of_user(moves, steps.user, user, "right"))
        count = np.maximum(last - first, 0)
        again = np.repeat(np.arange(len(slot)), count)
        at = moves[np.repeat(first - (np.cumsum(count) - count), count) + np.arange(len(again))]
        arrived, gone = np.flatnonzero(start >= 0), np.flatnonzero(end < n_steps)
        before = np.flatnonzero(start < 0)
        looked, step = np.concatenate((arrived, again)), np.concatenate((start[arrived], at))
        truth = self._truth(watch, slot, looked, step, changes, formulas)
        # Of each item in order: what it was, what it came to be, that it went.
        which = np.concatenate((before, looked, gone))
        when = np.concatenate((np.full(len(before), -1), step, end[gone]))
        counts = np.concatenate((watch.kept.counts(slot[before]), truth, np.zeros(len(gone), np.bool_)))
        order = np.lexsort((when, which))
        which, when, counts = which[order], when[order], counts[order]
        same = np.concatenate(([False], which[1:] == which[:-1]))
        turned = np.flatnonzero((counts != (same & np.concatenate(([False], counts[:-1])))) & (when >= 0))
        final = np.flatnonzero(np.concatenate((~same[1:], [True])))
        watch.kept.count(slot[which[final]], counts[final])
        out = self._rows(watch, slot[which[turned]], np.where(counts[turned], 1, -1), when[turned])
        watch.kept.drop(slot[gone])
        return out

    def _truth(
        self, watch: _Watch, slot: Int64, looked: Int64, step: Int64, changes: Changes, formulas: Formulas
    ) -> Bool:
        """Whether the condition is true of the items `looked`, after `step`."""
        found = [np.zeros(0, np.bool_)]
        for a in range(0, len(looked), _AT_ONCE):
            rows = watch.kept.take(slot[looked[a : a + _AT_ONCE]])
            frame = self._columnar.frame(rows)
            at, user = step[a : a + _AT_ONCE], rows["user"].astype(np.int64)
            for name, anchor in watch.values.items():
                frame.made[name] = _value(anchor, changes, formulas, at, user)
            found.append(evaluate(watch.condition, frame).truth(len(at)))
        return np.concatenate(found)

    def _rows(self, watch: _Watch, slot: Int64, sign: Int64, step: Int64) -> list[CellRows]:
        """Of all terms of the watch, for rows that begin (sign +1) or cease (-1) to count."""
        if not len(slot):
            return []
        rows, n = watch.kept.take(slot), len(watch.terms)
        rows.setdefault("event_id", np.full(len(slot), "", object))  # where it is not kept, nobody asks for it
        touched = Touched(np.tile(np.arange(len(slot)), n), np.repeat(watch.terms, len(slot)), np.tile(sign, n))
        return [self._deltas.counted(touched, self._columnar.frame(rows), rows, step)]

    def _moves(self, watch: _Watch, changes: Changes, formulas: Formulas) -> Int64:
        """The steps after which one of the values is another than before, ascending."""
        found = [np.zeros(0, np.int64)]
        for anchor in watch.values.values():
            step = distinct(np.concatenate([np.zeros(0, np.int64), *(
                changes.steps_of(source) for _, source in anchor.sources
            )]))  # fmt: skip
            if step.size:
                user = changes.steps.user[step]
                now = _value(anchor, changes, formulas, step, user)
                # One step earlier is of the same user, or nothing of this user has changed yet.
                then = _value(anchor, changes, formulas, step - 1, user)
                found.append(step[_differs(now, then)])
        return distinct(np.concatenate(found))

    def erase(self, users: Int64) -> None:
        """Lets go of these users' rows."""
        for watch in self._watches:
            watch.kept.erase(users)

    def texts(self, users: Int64) -> Int64:
        """Codes of all texts in rows of these users."""
        return np.concatenate([watch.kept.texts(users) for watch in self._watches])

    def adopt(self, other: "Beside", theirs: Int64, ours: Int64, texts: Translation) -> None:
        """What `other` keeps of its users `theirs`, for our new users `ours` (int64[n] both)."""
        for mine, its in zip(self._watches, other._watches):
            mine.kept.adopt(its.kept, theirs, ours, texts)

    def dump(self) -> list[Any]:
        return [watch.kept.dump() for watch in self._watches]

    def load(self, state: list[Any]) -> None:
        for watch, rows in zip(self._watches, state):
            watch.kept.load(rows)


class _Levels:
    """A cell's level is above those of the values that its terms stand beside."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def of(self, cell: Linear | Bag) -> int:
        return self.of_terms(fed_by(cell))

    def of_terms(self, terms: "tuple[Term, ...] | list[Term]") -> int:
        anchors = [self._plan.anchors[scalar] for term in terms for scalar in scalars_in(term.beside)]
        return max((1 + self._of_source(source) for anchor in anchors for _, source in anchor.sources), default=0)

    def _of_source(self, source: Source) -> int:
        """Registers have no such terms."""
        cells: list[Linear | Bag] = [self._plan.linears[n] for n in (source.linear, source.present) if n >= 0]
        if source.bag >= 0:
            cells.append(self._plan.bags[source.bag])
        return max(map(self.of, cells), default=0)


def _watch(plan: Plan, index: Index, columnar: Columnar, levels: _Levels, number: int) -> _Watch:
    term = index.watches[number]
    assert term.beside is not None
    terms = np.flatnonzero(index.watch == number)
    names = {scalar: f"({place})" for place, scalar in enumerate(scalars_in(term.beside))}  # columns have no such names
    condition = mapped(
        term.beside, lambda part: tree.Column(names[part], part.type) if isinstance(part, tree.Scalar) else None
    )
    args = [index.args[arg] for arg in distinct(index.arg[terms]).tolist() if arg >= 0]
    read = {node.name for part in (term.beside, *args) for node in walk(part) if isinstance(node, tree.Column)}
    columns = {"user", "time", "event_id", *(f"{sign}{name}" for name in read for sign in "=?")}
    # Other rows may come without theirs, which no saved state can hold: the archive is read without.
    by_time = [other for bag in plan.bags if bag.function in BY_TIME for other in bag.terms]
    if "event_id" not in read and not any(term == replace(other, arg=None, coefficient=1) for other in by_time):
        columns.remove("event_id")
    dtypes = {name: dtype for name, dtype in columnar.dtypes().items() if name in columns}
    kept = Kept(dtypes, {name for name in columnar.text_columns() if name in columns})
    values = {name: plan.anchors[scalar] for scalar, name in names.items()}
    return _Watch(terms, condition, values, levels.of_terms([term]), kept)


def _ends(item: dict[str, Array], aside: Aside, go: Int64, going: Int64, n_steps: int) -> Int64:
    """The step at which each item goes, n_steps for none. All rows of a user with one time go at one instant."""
    end = np.full(len(item["user"]), n_steps)
    if not len(go):
        return end
    row = aside.touched.row[go]
    time = np.concatenate((aside.rows["time"][row], item["time"]))
    rank = np.unique(time, return_inverse=True)[1]
    user = np.concatenate((aside.rows["user"][row], item["user"])).astype(np.int64)
    key = user * (int(rank.max()) + 1) + rank
    keys, place = np.unique(key[: len(go)], return_index=True)
    found = np.minimum(np.searchsorted(keys, key[len(go) :]), len(keys) - 1)
    here = keys[found] == key[len(go) :]
    end[here] = going[place[found[here]]]
    return end


def _of_user(moves: Int64, users: Int64, user: Int64, side: Any) -> Int64:
    """The first of each user's moves, or the one after the last: steps are in order of users."""
    return np.asarray(np.searchsorted(users[moves], user, side), np.int64)


def _value(anchor: Anchor, changes: Changes, formulas: Formulas, step: Int64, user: Int64) -> Vector:
    """The value after each step, of the user there."""
    values = {each: formulas.value((each, source), changes, step, user) for each, source in anchor.sources}
    found, n = evaluate(anchor.value, Values(values)), len(step)
    data, valid, over = (None if x is None else np.broadcast_to(x, n) for x in (found.data, found.valid, found.over))
    assert data is not None
    return Vector(found.kind, data, valid, found.scale, over, found.texts)


def _differs(a: Vector, b: Vector) -> Bool:
    here, there = (np.ones(len(v.data), np.bool_) if v.valid is None else v.valid for v in (a, b))
    unequal = np.broadcast_to(compare("<>", a, b).data, len(here)).astype(np.bool_)
    return np.asarray((here != there) | (here & there & unequal), np.bool_)
