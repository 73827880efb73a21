"""The predicate index: from an event's codes to the terms that it touches.

The columns that filters compare for equality are folded into one code per event. A table has, for
each phase and code, the terms with their sign. Phase 0 is the arrival (terms whose window is open
at age 0), phase 1 is what else a late arrival may touch, and phase 2 + i is the i-th of `edges`:
the event passes that edge, where windows open (+1) and close (-1). One expansion of a batch gives
all (row, term) pairs; what is not an equality is evaluated once per distinct predicate.

Of terms between boundaries of the calendar (`moving`) it depends on the event whether they ever hold,
so those are looked at one by one, on arrival as well as at their edges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile import tree
from segmentation.compile.plan import Cell, Plan, ProfileTerm, Term
from segmentation.edges import Edge, instants
from segmentation.evaluate.environments import Frame
from segmentation.evaluate.vector import evaluate
from segmentation.evaluate.vectors import Vector
from segmentation.events.rows import Int64, TextColumn
from segmentation.state.dictionary import Dictionary
from segmentation.state.order import stable_order
from segmentation.types import FOREVER

Array = NDArray[Any]
ARRIVAL, LATE, FIRST_OFFSET = 0, 1, 2


@dataclass(slots=True)
class Touched:
    """Pairs that count: row (into the frame), term, sign (+1, -1), all int64[p]."""

    row: Int64
    term: Int64
    sign: Int64

    def where(self, keep: Array) -> "Touched":
        return Touched(self.row[keep], self.term[keep], self.sign[keep])


class Index:
    def __init__(self, plan: Plan) -> None:
        kinds: tuple[Sequence[Cell], ...] = (plan.linears, plan.registers, plan.distincts, plan.bags)
        numbered = [(cell, term) for cells in kinds for cell, one in enumerate(cells) for term in one.terms]
        terms = [term for _, term in numbered]
        sizes = [sum(len(one.terms) for one in cells) for cells in kinds]
        self.first_terms = [0, *accumulate(sizes)]  # of each kind of cell, and the end
        self.cell = np.array([cell for cell, _ in numbered], np.int64)
        # Ages, as far as they are: 0 and FOREVER for the edges of moving terms.
        self.start = np.array([term.start if isinstance(term.start, int) else 0 for term in terms], np.int64)
        self.end = np.array([term.end if isinstance(term.end, int) else FOREVER for term in terms], np.int64)
        self._spans = [(term.start, term.end) for term in terms]
        self.moving = np.array([not (isinstance(a, int) and isinstance(b, int)) for a, b in self._spans], np.bool_)
        self._any_moving = bool(self.moving.any())
        self.coefficient = [term.coefficient for term in terms]
        self.residuals, self.residual = _numbered([term.residual for term in terms])
        self.args, self.arg = _numbered([term.arg for term in terms])
        self.watches, self.watch = _watches(terms)
        self.leads = np.isin(np.arange(len(terms)), np.unique(self.watch, return_index=True)[1])
        edges = {edge for span in self._spans for edge in span if edge not in (0, FOREVER)}
        ages = sorted(edge for edge in edges if isinstance(edge, int))
        self.edges: list[Edge] = [*ages, *sorted((edge for edge in edges if not isinstance(edge, int)), key=repr)]
        #: By term, µs: events from before it do not count, since not all of them are known. None: all do.
        self.since: Int64 | None = None
        self._columns = plan.code_columns
        self._radix = [len(values) + 1 for values in plan.code_columns.values()]
        #: The code of a version of a profile: one more than events have. Only terms of profiles are listed there.
        self.profile = int(np.prod(self._radix, dtype=np.int64)) if self._radix else 1
        self.codes = self.profile + 1
        self._count, self._first, self._term, self._sign = self._table(terms)

    def _table(self, terms: list[Term]) -> tuple[Int64, Int64, Int64, Int64]:
        lists: list[list[tuple[int, int]]] = [[] for _ in range((FIRST_OFFSET + len(self.edges)) * self.codes)]
        phase = {edge: FIRST_OFFSET + i for i, edge in enumerate(self.edges)}
        for number, term in enumerate(terms):
            if isinstance(term.start, int) and isinstance(term.end, int) and term.end <= term.start:
                continue
            places = [(ARRIVAL if term.start == 0 or self.moving[number] else LATE, 1)]
            if term.start != 0:
                places.append((phase[term.start], 1))
            if term.end != FOREVER:
                places.append((phase[term.end], -1))
            for code in self._codes_of(term):
                for at, sign in places:
                    lists[at * self.codes + code].append((number, sign))
        count = np.array([len(entries) for entries in lists], np.int64)
        flat = [entry for entries in lists for entry in entries]
        return (
            count, np.cumsum(count) - count,
            np.array([number for number, _ in flat], np.int64), np.array([sign for _, sign in flat], np.int64),
        )

    def table(self) -> tuple[Int64, Int64, Int64]:
        """(first int64[phases * codes + 1], term, sign): those of each phase and code are a stretch of the last two."""
        return np.concatenate((self._first, [len(self._term)])), self._term, self._sign

    def _codes_of(self, term: Term) -> list[int]:
        """All codes of events that satisfy the term's equalities, or that of profiles."""
        if isinstance(term, ProfileTerm):
            return [self.profile]
        wanted = dict(term.codes)
        choices = [
            [values.index(text) + 1 for text in wanted[name] if text in values] if name in wanted
            else range(len(values) + 1)
            for name, values in self._columns.items()
        ]
        if any(name not in self._columns for name in wanted):
            return []  # an equality that nothing satisfies
        out = []
        for choice in product(*choices):
            code = 0
            for radix, digit in zip(self._radix, choice):
                code = code * radix + digit
            out.append(code)
        return out

    def encode(self, columns: dict[str, TextColumn], n: int, texts: Dictionary) -> Array:
        """The code of each of n events; text codes are those of `texts`."""
        code = np.zeros(n, np.int64)
        for (name, values), radix in zip(self._columns.items(), self._radix):
            place = {text: digit for digit, text in enumerate(values, 1)}
            digit = texts.derived(("digit", name), partial(_digit, place), columns[name].codes)
            code = code * radix + np.maximum(digit, 0)
        return code

    def expand(self, phase: Array, code: Array) -> Touched:
        """All pairs of n rows, before residuals."""
        place = phase * self.codes + code
        count = self._count[place]
        row = np.repeat(np.arange(len(place)), count)
        entry = np.repeat(self._first[place] - (np.cumsum(count) - count), count) + np.arange(len(row))
        return Touched(row, self._term[entry], self._sign[entry])

    def holding(self, touched: Touched, frame: Frame) -> Touched:
        """The pairs whose residual is true; each distinct residual is evaluated once."""
        residual = self.residual[touched.term]
        todo = np.flatnonzero(residual >= 0)
        if not todo.size:
            return touched
        keep = np.ones(len(residual), np.bool_)
        for number, pairs in grouped(residual[todo], todo):
            rows = touched.row[pairs]
            keep[pairs] = evaluate(self.residuals[number], frame.take(rows)).truth(len(rows))
        return touched.where(keep)

    def leaves(self, touched: Touched, time: Int64) -> Int64:
        """When each pair stops counting, µs; FOREVER for never. time: of the frame's rows."""
        end = self.end[touched.term]
        out = np.where(end < FOREVER, time[touched.row] + end, FOREVER)
        for pairs, (_, edge) in self._moving_pairs(touched):
            out[pairs] = instants(edge, time[touched.row[pairs]])
        return out

    def open(self, touched: Touched, time: Int64, at: Int64) -> Array:
        """bool[pairs]: whether the pair's window is open at[row] (µs). time: of the rows."""
        age = (at - time)[touched.row]
        out = np.asarray((age >= self.start[touched.term]) & (age < self.end[touched.term]), np.bool_)
        for pairs, (start, end) in self._moving_pairs(touched):
            when, here = time[touched.row[pairs]], at[touched.row[pairs]]
            out[pairs] = (instants(start, when) <= here) & (here < instants(end, when))
        return out

    def counting(self, touched: Touched, rows: Mapping[str, Array], arrivals: int) -> Touched:
        """Without the pairs of moving terms that never hold of the event; those of arrivals, which are the rows
        from `arrivals` on, only where they hold as it becomes known. And without events from before a term counts any,
        as they come and as they leave."""
        if self.since is not None:
            touched = touched.where(rows["time"][touched.row] >= self.since[touched.term])
        pieces = self._moving_pairs(touched)
        if not pieces:
            return touched
        keep = np.ones(len(touched.row), np.bool_)
        for pairs, (start, end) in pieces:
            row = touched.row[pairs]
            time, known = rows["time"][row], rows["known"][row]
            begins, ends = instants(start, time), instants(end, time)
            here = (begins <= known) & (known < ends)
            keep[pairs] = np.where(row >= arrivals, here, begins < ends)
        return touched.where(keep)

    def _moving_pairs(self, touched: Touched) -> list[tuple[Array, tuple[Edge, Edge]]]:
        """The numbers of the pairs of moving terms, and the two edges of each term."""
        if not self._any_moving:
            return []
        pairs = np.flatnonzero(self.moving[touched.term])
        return [(some, self._spans[term]) for term, some in grouped(touched.term[pairs], pairs)]

    def values(self, touched: Touched, frame: Frame) -> list[tuple[Array, Vector]]:
        """For each distinct argument: the numbers of the pairs that have it, and its values there."""
        arg = self.arg[touched.term]
        some = np.flatnonzero(arg >= 0)
        out = []
        for number, pairs in grouped(arg[some], some):
            out.append((pairs, evaluate(self.args[number], frame.take(touched.row[pairs]))))
        return out


def _digit(place: dict[str, int], text: str) -> int:
    return place.get(text, 0)


def grouped(numbers: Array, items: Array) -> list[tuple[int, Array]]:
    """items by their number."""
    order = stable_order(numbers)
    ordered = numbers[order]
    if not len(ordered):
        return []
    first = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1]))).tolist()
    return [(int(ordered[a]), items[order[a:b]]) for a, b in zip(first, [*first[1:], len(ordered)])]


def _watches(terms: list[Term]) -> tuple[list[Term], Int64]:
    """The different conditions beside values of the user, with what else they are of, each as a term that
    counts; and the number of each term's (-1 for none)."""
    first: dict[Term, int] = {}
    watch = [
        -1 if term.beside is None else first.setdefault(replace(term, arg=None, coefficient=1), len(first))
        for term in terms
    ]
    return list(first), np.array(watch, np.int64)


def _numbered(nodes: list[tree.Expr | None]) -> tuple[list[tree.Expr], Int64]:
    """Distinct expressions, and the number of each node's (-1 for None)."""
    numbers: dict[tree.Expr, int] = {}
    out = [-1 if node is None else numbers.setdefault(node, len(numbers)) for node in nodes]
    return list(numbers), np.array(out, np.int64)
