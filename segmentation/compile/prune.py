"""Drops what no segment needs: cells and signals that were made on the way to a simpler form."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from segmentation.compile import tree
from segmentation.compile.anchors import scalars_in
from segmentation.compile.plan import (
    Bag,
    Formula,
    Gate,
    LatestSource,
    Linear,
    Plan,
    Reach,
    Signal,
    Source,
    below,
    fed_by,
)


def prune(plan: Plan) -> None:
    """Keeps the signals below the roots and the cells below those, renumbered in their order."""
    kept = below(plan, [root[0] for root in plan.roots if root is not None])
    sources = [source for number in kept if isinstance(f := plan.signals[number], Formula) for _, source in f.sources]
    reached = {signal.cell for number in kept if isinstance(signal := plan.signals[number], Reach)}
    anchors: set[tree.Scalar] = set()
    while True:
        linears = _numbers(reached | {cell for source in sources for cell in (source.linear, source.present)})
        nulls = {source.null for source in sources if isinstance(source, LatestSource)}
        registers = _numbers({source.register for source in sources} | nulls)
        bags = _numbers({source.bag for source in sources})
        if not (more := _beside(plan, linears, bags) - anchors):
            break
        anchors |= more
        sources += [source for scalar in more for _, source in plan.anchors[scalar].sources]
    signals = _numbers(set(kept))
    cells = _Cells(linears, registers, bags)
    plan.anchors = {
        scalar: replace(anchor, sources=tuple((each, cells.source(source)) for each, source in anchor.sources))
        for scalar, anchor in plan.anchors.items() if scalar in anchors
    }
    plan.signals[:] = [_renumbered(plan.signals[number], signals, cells) for number in kept]
    plan.linears[:] = [plan.linears[cell] for cell in linears if cell >= 0]
    plan.registers[:] = [plan.registers[cell] for cell in registers if cell >= 0]
    plan.bags[:] = [plan.bags[cell] for cell in bags if cell >= 0]
    plan.roots[:] = [None if root is None else (signals[root[0]], root[1]) for root in plan.roots]


def _beside(plan: Plan, linears: Iterable[int], bags: Iterable[int]) -> set[tree.Scalar]:
    """What the terms of these cells stand beside; those of registers never do."""
    cells: list[Linear | Bag] = [plan.linears[cell] for cell in linears if cell >= 0]
    cells += [plan.bags[cell] for cell in bags if cell >= 0]
    terms = [term for cell in cells for term in fed_by(cell)]
    return {scalar for term in terms for scalar in scalars_in(term.beside)}


def _numbers(old: set[int]) -> dict[int, int]:
    """From old numbers to new ones; -1 stays."""
    return {number: new for new, number in enumerate(sorted(old - {-1}))} | {-1: -1}


@dataclass(frozen=True, slots=True)
class _Cells:
    """New numbers by old ones."""

    linears: dict[int, int]
    registers: dict[int, int]
    bags: dict[int, int]

    def source(self, s: Source) -> Source:
        linear, present = self.linears[s.linear], self.linears[s.present]
        new = replace(s, linear=linear, present=present, register=self.registers[s.register], bag=self.bags[s.bag])
        return replace(new, null=self.registers[new.null]) if isinstance(new, LatestSource) else new


def _renumbered(signal: Signal, signals: dict[int, int], cells: _Cells) -> Signal:
    match signal:
        case Gate(all_, inputs):
            return Gate(all_, tuple((signals[of], negated) for of, negated in inputs))
        case Reach(cell, threshold):
            return Reach(cells.linears[cell], threshold)
        case Formula(_, sources):
            return replace(signal, sources=tuple((aggregate, cells.source(source)) for aggregate, source in sources))
    return signal
