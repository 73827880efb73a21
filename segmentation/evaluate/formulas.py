"""Formulas: conditions over several cells, evaluated where one of the cells changed.

Anything that is not a threshold of one linear cell comes here: quotients of sums, products of
aggregates, last values, comparisons of one aggregate with another. A formula is evaluated before
the user's first change in the batch and after each step that changed an input; where its truth
differs from the one before, it flips.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile import tree
from segmentation.compile.plan import Formula, LatestSource, Plan, Source
from segmentation.distinct import distinct
from segmentation.evaluate.bags import Bags
from segmentation.evaluate.environments import Values
from segmentation.evaluate.kernel import Flips, Settled
from segmentation.evaluate.registers import SettledRegisters, doubles
from segmentation.evaluate.steps import Steps
from segmentation.evaluate.vector import evaluate
from segmentation.evaluate.vectors import Vector
from segmentation.events.rows import Bool, Int64
from segmentation.state.arena import Arena
from segmentation.state.dictionary import Dictionary
from segmentation.types import Kind, Type

Array = NDArray[Any]


@dataclass(slots=True)
class Changes:
    """What the batch did to the cells: linear ones, registers and bags, and where the rest is."""

    steps: Steps
    linear: Settled
    registers: SettledRegisters
    picked: SettledRegisters
    linear_arena: Arena
    register_arena: Arena
    bags: Bags

    @staticmethod
    def none(steps: Steps, linear: Arena, registers: Arena, bags: Bags) -> "Changes":
        """Before anything was done to them."""
        empty = SettledRegisters.none()
        return Changes(steps, Settled.none(), empty, empty, linear, registers, bags)

    def steps_of(self, source: Source) -> Int64:
        """The steps after which one of its cells may have another value."""
        cells = [(self.linear.key, source.linear), (self.linear.key, source.present)]
        cells += [(self.registers.key, source.register), (self.picked.key, source.bag)]
        if isinstance(source, LatestSource):
            cells.append((self.registers.key, source.null))
        found = []
        for key, cell in cells:
            a, b = np.searchsorted(key, (cell * len(self.steps), (cell + 1) * len(self.steps))).tolist()
            found.append(key[a:b] - cell * len(self.steps))
        return np.concatenate(found)

    def linear_at(self, cell: int, step: Int64, user: Int64) -> Array:
        """The cell's values after `step`."""
        at, later = self._lookup(self.linear.key, cell, step, user)
        value = self.linear_arena.peek(cell, user)
        if len(self.linear.key):
            before = np.where(later >= 0, self.linear.before[np.maximum(later, 0)], value)
            value = np.where(at >= 0, self.linear.value[np.maximum(at, 0)], before)
        return value

    def register_at(self, cell: int, step: Int64, user: Int64) -> tuple[Array, Bool]:
        """The register's values after `step`, and where they are set."""
        value = self.register_arena.peek(cell, user, 2)
        valid = self.register_arena.peek(cell, user, raw=True) > 0
        return self._settled(self.registers, cell, step, user, value, valid)

    def bag_at(self, bag: int, step: Int64, user: Int64) -> tuple[Array, Bool]:
        """The bag's values after `step`, and where there is one."""
        return self._settled(self.picked, bag, step, user, *self.bags.peek(bag, user))

    def _settled(
        self, s: SettledRegisters, cell: int, step: Int64, user: Int64, value: Array, valid: Bool
    ) -> tuple[Array, Bool]:
        """As of `step`; value and valid are what is stored, which is right where the batch did nothing."""
        at, later = self._lookup(s.key, cell, step, user)
        if len(s.key):
            a, b = np.maximum(at, 0), np.maximum(later, 0)
            value = np.where(at >= 0, s.value[a], np.where(later >= 0, s.before[b], value))
            valid = np.where(at >= 0, s.valid[a], np.where(later >= 0, s.before_valid[b], valid))
        return value, valid

    def _lookup(self, key: Int64, cell: int, step: Int64, user: Int64) -> tuple[Int64, Int64]:
        """(entry of the last change at or before `step`, entry of the first change after it), -1 for none."""
        n_steps = len(self.steps)
        none = np.full(len(step), -1)
        if not len(key):
            return none, none
        place = np.searchsorted(key, cell * n_steps + step, "right") - 1
        return self._same(key, place, cell, user), self._same(key, place + 1, cell, user)

    def _same(self, key: Int64, place: Array, cell: int, user: Int64) -> Int64:
        inside = (place >= 0) & (place < len(key))
        entry = key[np.where(inside, place, 0)]
        step = entry - cell * len(self.steps)
        mine = inside & (step >= 0) & (step < len(self.steps))
        mine &= self.steps.user[np.where(mine, step, 0)] == user
        return np.where(mine, place, -1)


class Formulas:
    def __init__(self, plan: Plan, texts: Dictionary) -> None:
        self._texts = texts
        self._register_types = [register.type for register in plan.registers]
        self._bag_types = [bag.type for bag in plan.bags]
        self.signals = [number for number, signal in enumerate(plan.signals) if isinstance(signal, Formula)]
        self._formulas = [signal for signal in plan.signals if isinstance(signal, Formula)]
        self._of_linear: dict[int, list[int]] = {}
        self._of_register: dict[int, list[int]] = {}
        self._of_bag: dict[int, list[int]] = {}
        for number, formula in enumerate(self._formulas):
            for _, source in formula.sources:
                for cell in {source.linear, source.present} - {-1}:
                    self._of_linear.setdefault(cell, []).append(number)
                if source.register >= 0:
                    self._of_register.setdefault(source.register, []).append(number)
                if isinstance(source, LatestSource):
                    self._of_register.setdefault(source.null, []).append(number)
                if source.bag >= 0:
                    self._of_bag.setdefault(source.bag, []).append(number)

    def apply(self, changes: Changes) -> Flips:
        n_steps = len(changes.steps)
        found: dict[int, list[Int64]] = {}
        for key, users_of in (
            (changes.linear.key, self._of_linear),
            (changes.registers.key, self._of_register),
            (changes.picked.key, self._of_bag),
        ):
            for cell, formulas in users_of.items():
                a, b = np.searchsorted(key, (cell * n_steps, (cell + 1) * n_steps)).tolist()
                if a < b:
                    for number in formulas:
                        found.setdefault(number, []).append(key[a:b] - cell * n_steps)
        flips = [self._flips(number, distinct(np.concatenate(parts)), changes) for number, parts in found.items()]
        return Flips.joined(flips)

    def _flips(self, number: int, step: Int64, changes: Changes) -> Flips:
        """step: sorted, where inputs of the formula changed."""
        user = changes.steps.user[step]
        head = np.concatenate(([True], user[1:] != user[:-1]))
        # Before the first change of each user: one step earlier nothing of this user has changed.
        points, users = np.concatenate((step[head] - 1, step)), np.concatenate((user[head], user))
        truth = self.truth(number, lambda source: self.value(source, changes, points, users), len(points))
        before, after = truth[: int(head.sum())], truth[int(head.sum()) :]
        previous = np.empty_like(after)
        previous[1:] = after[:-1]
        previous[head] = before
        moved = np.flatnonzero(after != previous)
        return Flips(np.full(len(moved), self.signals[number]), step[moved], after[moved])

    def truth(self, number: int, value: Any, n: int) -> Bool:
        formula = self._formulas[number]
        values = {aggregate: value((aggregate, source)) for aggregate, source in formula.sources}
        return evaluate(formula.condition, Values(values)).truth(n)

    def value(self, item: tuple[tree.Aggregate, Source], changes: Changes, step: Int64, user: Int64) -> Vector:
        """An aggregate's values after each of the steps, of the user there."""
        _, source = item
        present = changes.linear_at(source.present, step, user) >= 1 if source.present >= 0 else None
        if source.register >= 0:
            value, valid = changes.register_at(source.register, step, user)
            if isinstance(source, LatestSource):
                valid = valid & (changes.register_at(source.null, step, user)[0] == 0)
            return self.value_vector(source, value, valid if present is None else valid & present)
        if source.bag >= 0:
            return self.value_vector(source, *changes.bag_at(source.bag, step, user))
        linear = changes.linear_at(source.linear, step, user)
        count = changes.linear_at(source.present, step, user) if source.present >= 0 else None
        return aggregate_vector(item[0], source, linear, count)

    def value_vector(self, source: Source, value: Array, valid: Bool) -> Vector:
        """The value of a register or a bag."""
        kind: Type = self._register_types[source.register] if source.register >= 0 else self._bag_types[source.bag]
        if kind.kind not in (Kind.BIGINT, Kind.NUMERIC):
            value = value.astype(np.int64)  # the batch may have been wide because of other registers
        match kind.kind:
            case Kind.DOUBLE:
                return Vector(Kind.DOUBLE, doubles(value), valid)
            case Kind.BOOLEAN:
                return Vector(Kind.BOOLEAN, value != 0, valid)
            case Kind.TEXT:
                return Vector(Kind.TEXT, np.where(valid, value, -1), valid, texts=self._texts)
        return Vector(kind.kind, value, valid, kind.scale)

    def formula(self, number: int) -> Formula:
        return self._formulas[number]


def aggregate_vector(aggregate: tree.Aggregate, source: Source, linear: Array, count: Array | None) -> Vector:
    """The value of a count, sum or avg from its cells."""
    if count is None:
        return Vector(Kind.BIGINT, linear)
    present = np.asarray(count >= 1, np.bool_)
    if aggregate.function == "avg":
        return Vector(Kind.RATIO, linear, present, source.scale, np.where(present, count, 1))
    return Vector(Kind.NUMERIC, linear, present, source.scale)
