"""Gates, AND and OR of signals, level by level: flips of signals in, flips of segments out.

A gate is a cell whose value is the number of its inputs that hold; a flip of an input is a row of +1 or -1.
"""

from dataclasses import dataclass

import numpy as np

from segmentation.compile.plan import Gate, Plan
from segmentation.evaluate.kernel import Flips, Kernel
from segmentation.evaluate.steps import Steps
from segmentation.events.rows import Int64
from segmentation.native import ENABLED, code
from segmentation.state.arena import Arena


@dataclass(slots=True)
class Fanout:
    """CSR from a signal to its consumers: target, and the sign with which a flip arrives."""

    count: Int64
    first: Int64
    target: Int64
    sign: Int64

    @staticmethod
    def of(lists: list[list[tuple[int, int]]]) -> "Fanout":
        count = np.array([len(entries) for entries in lists], np.int64)
        flat = [entry for entries in lists for entry in entries]
        target, sign = np.array([t for t, _ in flat], np.int64), np.array([s for _, s in flat], np.int64)
        return Fanout(count, np.cumsum(count) - count, target, sign)

    def edges(self) -> Int64:
        """int64[signals + 1]: where each signal's consumers begin, and the end."""
        return np.concatenate((np.zeros(1, np.int64), np.cumsum(self.count)))

    def expand(self, flips: Flips) -> tuple[Int64, Int64, Int64]:
        """(target, step, +1 or -1) of every consumer of every flip."""
        n = self.count[flips.signal]
        row = np.repeat(np.arange(len(flips)), n)
        entry = np.repeat(self.first[flips.signal] - (np.cumsum(n) - n), n) + np.arange(len(row))
        sign = self.sign[entry]
        return self.target[entry], flips.step[row], np.where(flips.holds[row], sign, -sign)


class GateLevels:
    def __init__(self, plan: Plan, starts: list[bool]) -> None:
        """starts: each signal's truth for a user without events."""
        gates = [(number, signal) for number, signal in enumerate(plan.signals) if isinstance(signal, Gate)]
        place = {number: i for i, (number, _) in enumerate(gates)}
        level: dict[int, int] = {}
        for number, gate in gates:
            level[number] = 1 + max(level.get(of, 0) for of, _ in gate.inputs)
        template = [sum(starts[of] != negated for of, negated in gate.inputs) for _, gate in gates]
        widest = max((len(gate.inputs) for _, gate in gates), default=0)
        dtype = np.int16 if widest < 2**15 else np.int32  # a gate's value is the number of inputs that hold
        self.arena = Arena(np.zeros(len(gates), np.int64), np.arange(len(gates)), [template or [0]], dtype)
        need = [len(gate.inputs) if gate.all else 1 for _, gate in gates]
        every: list[list[tuple[int, int]]] = [[] for _ in plan.signals]
        for number, gate in gates:
            for of, negated in gate.inputs:
                every[of].append((place[number], -1 if negated else 1))
        roots: list[list[tuple[int, int]]] = [[] for _ in plan.signals]
        for segment, root in enumerate(plan.roots):
            if root is not None:
                roots[root[0]].append((segment, -1 if root[1] else 1))
        self._roots = Fanout.of(roots)
        self._kernel = Kernel(self.arena, [[(bound, number)] for bound, (number, _) in zip(need, gates)], in_c=False)
        self._levels = [
            Fanout.of([[(g, sign) for g, sign in targets if level[gates[g][0]] == at] for targets in every])
            for at in range(1, max(level.values(), default=0) + 1)
        ]
        self._by_c: object = None
        if ENABLED:
            inputs = Fanout.of(every)
            at, bound, own, start = (
                np.array(values, np.int64) for values in ([level[n] for n, _ in gates], need, list(place), template)
            )
            self._by_c = code.gates(
                at, bound, own, start, inputs.edges(), inputs.target, inputs.sign,
                self._roots.edges(), self._roots.target, self._roots.sign, len(plan.roots),
            )  # fmt: skip

    def apply(self, flips: Flips, steps: Steps) -> Flips:
        """Flips of segments (`signal` is the segment's number), those by C in order of step and segment."""
        if self._by_c is None:
            return self.apply_by_numpy(flips, steps)
        signal, step = np.ascontiguousarray(flips.signal, np.int64), np.ascontiguousarray(flips.step, np.int64)
        holds = np.ascontiguousarray(flips.holds, np.bool_)
        while True:
            found = code.gates_apply(self._by_c, signal, step, holds, steps.user, *self.arena.places(steps.user))
            if not isinstance(found, int):
                break
            self.arena.grow(found)
        used, (segment, at, entered) = found
        self.arena.taken(used)
        return Flips(segment, at, entered)

    def apply_by_numpy(self, flips: Flips, steps: Steps) -> Flips:
        """The slow twin; in no particular order."""
        for fanout in self._levels:
            gate, at, change = fanout.expand(flips)
            if len(gate):
                more, _ = self._kernel.apply_by_numpy(gate, at, change, steps)
                flips = Flips.joined([flips, more])
        segment, at, sign = self._roots.expand(flips)
        return Flips(segment, at, sign > 0)
