"""Conditions on the clock alone: when they turn, which is the same for every user.

A user's first step finds them as they are at that instant; from then on each turn is a change like a window's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from segmentation.compile import tree
from segmentation.compile.plan import Clock, Plan, walk
from segmentation.compile.rebuild import mapped
from segmentation.compile.turning import nows
from segmentation.distinct import distinct
from segmentation.edges import Cell
from segmentation.evaluate.kernel import Flips
from segmentation.evaluate.steps import Steps
from segmentation.evaluate.vector import evaluate
from segmentation.evaluate.vectors import Vector
from segmentation.events.rows import Bool, Int64
from segmentation.local_time import PARTS, UNITS
from segmentation.types import DAY, INTERVAL, TIMESTAMP, TIMESTAMPTZ, Kind
from segmentation.zones import zone

_NOW = tree.Column("now()", TIMESTAMPTZ)
#: Turns are worked out for so much time at once, µs.
_BLOCK = 32 * DAY


class _Instants:
    """Where now() is: at each of many instants."""

    def __init__(self, instants: Int64) -> None:
        self._instants = instants

    def column(self, column: tree.Column) -> Vector:
        return Vector(Kind.TIMESTAMPTZ, self._instants)

    def aggregate(self, aggregate: tree.Aggregate) -> Vector:
        raise AssertionError("an aggregate is of a user, not of the clock")


class Turning:
    """One condition, without anything in it but now and constants."""

    def __init__(self, condition: tree.Expr) -> None:
        self._condition = condition
        self._over_column: tree.Expr = mapped(condition, _as_column)
        self._blocks: dict[int, tuple[Int64, Bool]] = {}

    def truth(self, instants: Int64) -> Bool:
        return evaluate(self._over_column, _Instants(instants)).truth(len(instants))

    def turns(self, first: int, last: int) -> tuple[Int64, Bool]:
        """(instants, what is true from then on), first < instant <= last."""
        found = [self._turns(block) for block in range(first // _BLOCK, last // _BLOCK + 1)]
        at = np.concatenate([np.zeros(0, np.int64), *(at for at, _ in found)])
        holds = np.concatenate([np.zeros(0, np.bool_), *(holds for _, holds in found)])
        here = (at > first) & (at <= last)
        return at[here], holds[here]

    def _turns(self, block: int) -> tuple[Int64, Bool]:
        if block not in self._blocks:
            if len(self._blocks) > 64:
                self._blocks.clear()
            first = block * _BLOCK - 1
            at = distinct(np.concatenate([np.array([first], np.int64), *self._candidates(first, first + _BLOCK)]))
            at = at[(at >= first) & (at <= first + _BLOCK)]
            truth = self.truth(at)
            turned = np.flatnonzero(truth[1:] != truth[:-1]) + 1
            self._blocks[block] = at[turned], truth[turned]
        return self._blocks[block]

    def _candidates(self, first: int, last: int) -> Iterator[Int64]:
        """Where it might turn: where a cell of the calendar begins, and where now() meets what it is compared with."""
        stepped = [cell.steps(first, last) for cell in _cells(self._condition)]
        yield from stepped
        if not isinstance(self._condition, tree.Compare):
            return
        sides = (self._condition.left, self._condition.right)
        for one, other in (sides, sides[::-1]):
            moved = _free(one)
            if moved is None:
                continue
            at = distinct(np.concatenate([np.array([first], np.int64), *stepped]))
            met = evaluate(mapped(other, _as_column), _Instants(at)).data - moved[0]
            offsets = np.zeros(1, np.int64)
            if moved[1]:
                of = zone(moved[1])
                changes = of.starts[(of.starts > first - _BLOCK) & (of.starts <= last + _BLOCK)]
                offsets = distinct(of.local(np.concatenate((at[:1], changes))) - np.concatenate((at[:1], changes)))
                yield changes
            for offset in offsets.tolist():
                yield met - offset
                yield met - offset + 1


def _as_column(node: tree.Expr) -> tree.Expr | None:
    if not isinstance(node, tree.Now):
        return None
    return tree.Arithmetic("+", _NOW, tree.Literal(node.offset, INTERVAL), TIMESTAMPTZ) if node.offset else _NOW


def _cells(condition: tree.Expr) -> Iterator[Cell]:
    """The cells of the calendar that now() is put into first, whatever is made of them."""
    for node in walk(condition):
        if isinstance(node, tree.Trunc | tree.Part) and nows(node):
            unit = node.unit if isinstance(node, tree.Trunc) else PARTS[node.part][0]
            inner, arg = {0}, node.arg
            while isinstance(arg, tree.Shift):
                if arg.months:  # by whole days, of which some become one: so the day decides, too
                    unit = unit if UNITS[unit] < DAY else "day"
                inner, arg = {0} | {micros + arg.micros for micros in inner}, arg.arg
            if isinstance(arg, tree.AtZone) and isinstance(arg.arg, tree.Now):
                yield from (Cell(unit, arg.zone, arg.arg.offset, micros) for micros in sorted(inner))


def _free(node: tree.Expr) -> tuple[int, str] | None:
    """(µs, zone) of now() itself, or its local time, moved by so much; None for anything else."""
    micros = 0
    while isinstance(node, tree.Shift) and not node.months:
        micros, node = micros + node.micros, node.arg
    if isinstance(node, tree.AtZone) and node.type == TIMESTAMP and isinstance(node.arg, tree.Now):
        return micros + node.arg.offset, node.zone
    return (micros + node.offset, "") if isinstance(node, tree.Now) else None


@dataclass(slots=True)
class Turns:
    """What the clock does to users, n of them: user (int64), at (µs), signal, and what holds from then on."""

    user: Int64
    at: Int64
    signal: Int64
    holds: Bool

    def flips(self, step: Int64) -> Flips:
        """step int64[n]: that of each turn."""
        return Flips(self.signal, step, self.holds)


class Clocks:
    def __init__(self, plan: Plan) -> None:
        self._turning = {
            number: Turning(signal.condition) for number, signal in enumerate(plan.signals) if isinstance(signal, Clock)
        }

    def __bool__(self) -> bool:
        return bool(self._turning)

    def at_first(self, new: Int64, steps: Steps) -> Flips:
        """For new users, whose first steps are `new`: the conditions that hold there."""
        found = [Flips.joined([])]
        for number, turning in self._turning.items() if len(new) else ():
            here = new[turning.truth(steps.instant[new])]
            found.append(Flips(np.full(len(here), number), here, np.ones(len(here), np.bool_)))
        return Flips.joined(found)

    def truths(self, at: Int64) -> dict[int, Bool]:
        """By signal: the truth at each of these instants."""
        return {number: turning.truth(at) for number, turning in self._turning.items()}

    def turns(self, known: Int64, before: Int64, until: Int64) -> Turns:
        """Those that meet users, known int64[n]: each one's, before < at <= until."""
        none = np.zeros(0, np.int64)
        found = [Turns(none, none, none, np.zeros(0, np.bool_))]
        span = (int(before.min()), int(until.max())) if len(known) else (0, 0)
        for number, turning in self._turning.items():
            for instant, truth in zip(*(each.tolist() for each in turning.turns(*span))):
                here = known[(before < instant) & (instant <= until)]
                n = len(here)
                found.append(Turns(here, np.full(n, instant), np.full(n, number), np.full(n, truth)))
        return Turns(
            np.concatenate([each.user for each in found]), np.concatenate([each.at for each in found]),
            np.concatenate([each.signal for each in found]), np.concatenate([each.holds for each in found]),
        )

    def turn(self, first: int, last: int) -> bool:
        """Whether any of them turns at first < instant <= last."""
        return first < last and any(len(turning.turns(first, last)[0]) for turning in self._turning.values())
