"""From rows to transitions: cells, formulas and gates, level by level.

The network holds all running values of a shard's users. `apply` takes what a batch of events and
passing time adds to the cells and returns which segments were entered and left, at which step.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile.plan import (
    Clock,
    Formula,
    Gate,
    Known,
    LatestSource,
    Met,
    Plan,
    ProfileTerm,
    Reach,
    Term,
    below,
    fed_by,
)
from segmentation.evaluate.bags import Bags
from segmentation.evaluate.beside import Beside
from segmentation.evaluate.columns import Columnar
from segmentation.evaluate.deltas import Deltas
from segmentation.evaluate.distincts import Distincts
from segmentation.evaluate.environments import NoEvents
from segmentation.evaluate.formulas import Changes, Formulas, aggregate_vector
from segmentation.evaluate.gate_levels import GateLevels
from segmentation.evaluate.index import Index
from segmentation.evaluate.kernel import Flips, Kernel
from segmentation.evaluate.registers import SLOTS, Registers
from segmentation.evaluate.rows import CellRows, LinearRows
from segmentation.evaluate.steps import Steps
from segmentation.evaluate.vector import evaluate
from segmentation.events.rows import Bool, Int64
from segmentation.state.arena import Arena, families
from segmentation.state.dictionary import Translation

Array = NDArray[Any]


#: The family of cells of profiles: no event type has this name.
_PROFILES = "\0profiles"


@dataclass(slots=True)
class Firsts:
    """The steps at which users are seen for the first time: with an event, with anything."""

    event: Int64
    any: Int64


class Network:
    def __init__(self, plan: Plan, index: Index, columnar: Columnar, deltas: Deltas) -> None:
        self.plan, texts = plan, columnar.texts
        self.starts = start_values(plan)
        kinds = [_family(fed_by(cell)) for cell in plan.linears]
        family, slot, names = families(kinds, [1] * len(kinds))
        self.cells = Arena(family, slot, [[0] * kinds.count(name) for name in names] or [[0]])
        thresholds: list[list[tuple[int, int]]] = [[] for _ in plan.linears]
        for number, signal in enumerate(plan.signals):
            if isinstance(signal, Reach):
                thresholds[signal.cell].append((signal.threshold, number))
        self._kernel = Kernel(self.cells, thresholds)

        kinds = [_family([*register.terms]) for register in plan.registers]
        family, slot, names = families(kinds, [SLOTS] * len(kinds))
        self.register_arena = Arena(family, slot, [[0] * (SLOTS * kinds.count(name)) for name in names] or [[0]])
        self.registers = Registers(
            self.register_arena,
            [register.function for register in plan.registers], [register.type.kind for register in plan.registers],
        )
        self.distincts = Distincts(plan)
        self.bags = Bags(plan.bags, texts)
        self.formulas = Formulas(plan, texts)
        self._beside = Beside(plan, index, columnar, deltas) if index.watches else None
        self._known = [number for number, signal in enumerate(plan.signals) if isinstance(signal, Known)]
        self._met = [number for number, signal in enumerate(plan.signals) if isinstance(signal, Met)]
        self._gate_levels = GateLevels(plan, self.starts)
        self.gates = self._gate_levels.arena

    def apply(self, rows: CellRows, new: Firsts, steps: Steps, clock: Sequence[Flips] = ()) -> Flips:
        """new: the first steps of new users; clock: what turns by itself.

        Returns flips of segments (`signal` is the segment's number)."""
        found = [*clock]
        changes = Changes.none(steps, self.cells, self.register_arena, self.bags)
        for part in self._parts(rows, changes):
            found += self._settle(part, changes)
        if self.formulas.signals:
            found.append(self.formulas.apply(changes))
        for numbers, first in ((self._known, new.event), (self._met, new.any)):
            if numbers and len(first):
                found.append(Flips(np.full(len(first), numbers[0]), first, np.ones(len(first), np.bool_)))
        return self._gate_levels.apply(Flips.joined(found), steps)

    def _parts(self, rows: CellRows, changes: Changes) -> Iterator[CellRows]:
        """The rows, those of cells on which others' rows depend first."""
        if self._beside is not None:
            yield from self._beside.parts(rows, changes, self.distincts, self.formulas)
            return
        if len(rows.distincts):
            rows.linear = LinearRows.joined([rows.linear, self.distincts.apply(rows.distincts, changes.steps)])
        yield rows

    def _settle(self, rows: CellRows, changes: Changes) -> list[Flips]:
        """Stores the rows of cells of which `changes` has nothing yet; returns what flipped."""
        found = []
        linear, steps = rows.linear, changes.steps
        if len(linear.cell) or rows.log is not None:
            asked = bool(self.formulas.signals) or self._beside is not None
            flips, settled = self._kernel.apply(linear, steps, rows.log, asked)
            found.append(flips)
            changes.linear = changes.linear.joined(settled)
        if len(rows.registers):
            changes.registers = self.registers.apply(rows.registers, steps)
        if len(rows.bags):
            changes.picked = changes.picked.joined(self.bags.apply(rows.bags, steps))
        return found

    def dump(self) -> dict[str, Any]:
        found = {
            "cells": self.cells.dump(), "registers": self.register_arena.dump(), "gates": self.gates.dump(),
            "event_ids": self.registers.event_ids, "values": self.distincts.table.dump(), "bags": self.bags.dump(),
        }
        return found if self._beside is None else {**found, "beside": self._beside.dump()}

    def load(self, state: dict[str, Any]) -> None:
        self.cells.load(state["cells"])
        self.register_arena.load(state["registers"])
        self.gates.load(state["gates"])
        self.registers.event_ids = state["event_ids"]
        self.distincts.table.load(state["values"])
        self.bags.load(state["bags"])
        if self._beside is not None:
            self._beside.load(state["beside"])

    def adopt(self, other: "Network", numbers: Int64, texts: Translation) -> None:
        """What `other`, of the same plan, holds of its users u with numbers[u] >= 0, under these new numbers."""
        theirs = np.flatnonzero(numbers >= 0)
        ours = numbers[theirs]
        self.cells.adopt(other.cells, theirs, ours)
        self.register_arena.adopt(other.register_arena, theirs, ours)
        self.registers.adopt(other.registers, ours, texts)
        self.distincts.adopt(other.distincts, theirs, ours, texts)
        self.bags.adopt(other.bags, theirs, ours, texts)
        if self._beside is not None and other._beside is not None:
            self._beside.adopt(other._beside, theirs, ours, texts)
        self.gates.adopt(other.gates, theirs, ours)

    def erase(self, users: Int64) -> None:
        """These users (int64[n]) begin anew: everything that is kept per user goes."""
        self.cells.erase(users)
        self.registers.erase(users)
        self.distincts.erase(users)
        self.bags.erase(users)
        if self._beside is not None:
            self._beside.erase(users)
        self.gates.erase(users)

    def texts(self, users: Int64) -> Int64:
        """Codes of every text of the shard's dictionary that the state of these users refers to."""
        found = [part.texts(users) for part in (self.registers, self.distincts, self.bags)]
        return np.concatenate(found if self._beside is None else [*found, self._beside.texts(users)])

    def truths(
        self, wanted: Collection[int], users: Int64, known: Bool, met: Bool, clock: Mapping[int, Bool]
    ) -> dict[int, Bool]:
        """By signal, of the wanted ones and those below them: of which of the users it is true, computed from the
        cells and the truths of `clock` alone. known, met: see the signals."""
        truth: dict[int, Bool] = {}
        formula = {signal: number for number, signal in enumerate(self.formulas.signals)}
        stored = partial(self.stored, users=users)
        for number in below(self.plan, wanted):
            match self.plan.signals[number]:
                case Known():
                    truth[number] = known
                case Met():
                    truth[number] = met
                case Clock():
                    truth[number] = clock[number]
                case Reach(cell, threshold):
                    truth[number] = np.asarray(self.cells.peek(cell, users) >= threshold, np.bool_)
                case Formula():
                    truth[number] = self.formulas.truth(formula[number], stored, len(users))
                case Gate(all_, inputs):
                    parts = [~truth[of] if negated else truth[of] for of, negated in inputs]
                    truth[number] = np.logical_and.reduce(parts) if all_ else np.logical_or.reduce(parts)
        return truth

    def stored(self, item: Any, users: Int64) -> Any:
        """item: an aggregate of a formula and its source; its values for these users, a Vector."""
        aggregate, source = item
        count = self.cells.peek(source.present, users) if source.present >= 0 else None
        if source.register >= 0:
            value = self.register_arena.peek(source.register, users, 2)
            valid = self.register_arena.peek(source.register, users, raw=True) > 0
            valid = valid if count is None else valid & (count >= 1)
            if isinstance(source, LatestSource):
                valid &= self.register_arena.peek(source.null, users, 2) == 0
            return self.formulas.value_vector(source, value, valid)
        if source.bag >= 0:
            return self.formulas.value_vector(source, *self.bags.peek(source.bag, users))
        return aggregate_vector(aggregate, source, self.cells.peek(source.linear, users), count)


def memberships(plan: Plan, truth: Mapping[int, Bool], users: int) -> Bool:
    """bool[segments, users]: who is in which, by the truths of the segments' signals."""
    inside = np.zeros((len(plan.roots), users), np.bool_)
    for segment, root in enumerate(plan.roots):
        if root is not None:
            inside[segment] = truth[root[0]] ^ root[1]
    return inside


def start_values(plan: Plan) -> list[bool]:
    """Each signal's truth for a user without events."""
    starts: list[bool] = []
    for signal in plan.signals:
        match signal:
            case Known() | Met() | Clock():  # a clock that is on is put on by a user's first step
                starts.append(False)
            case Reach(_, threshold):
                starts.append(threshold <= 0)
            case Formula(condition):
                starts.append(bool(evaluate(condition, NoEvents()).truth(1)[0]))
            case Gate(all_, inputs):
                held = [starts[of] != negated for of, negated in inputs]
                starts.append(all(held) if all_ else any(held))
    return starts


def _family(terms: list[Term]) -> str:
    """Cells of one event type lie together, and so do those of profiles; the others share one family."""
    if terms and all(isinstance(term, ProfileTerm) for term in terms):
        return _PROFILES
    types = {dict(term.codes).get("event_type", ()) for term in terms}
    if len(types) == 1 and len(only := types.pop()) == 1:
        return only[0]
    return ""
