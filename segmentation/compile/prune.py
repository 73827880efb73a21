"""Drops what no segment needs: cells and signals that were made on the way to a simpler form."""

from dataclasses import dataclass, replace

from segmentation.compile.plan import Formula, Gate, LatestSource, Plan, Reach, Signal, Source


def prune(plan: Plan) -> None:
    """Keeps the signals below the roots and the cells below those, renumbered in their order."""
    needed: set[int] = set()
    todo = [root[0] for root in plan.roots if root is not None]
    while todo:
        number = todo.pop()
        if number in needed:
            continue
        needed.add(number)
        signal = plan.signals[number]
        if isinstance(signal, Gate):
            todo.extend(of for of, _ in signal.inputs)
    kept = sorted(needed)
    sources = [source for number in kept if isinstance(f := plan.signals[number], Formula) for _, source in f.sources]
    reached = {signal.cell for number in kept if isinstance(signal := plan.signals[number], Reach)}
    linears = _numbers(reached | {cell for source in sources for cell in (source.linear, source.present)})
    nulls = {source.null for source in sources if isinstance(source, LatestSource)}
    registers = _numbers({source.register for source in sources} | nulls)
    bags = _numbers({source.bag for source in sources})
    signals = _numbers(needed)
    cells = _Cells(linears, registers, bags)
    plan.signals[:] = [_renumbered(plan.signals[number], signals, cells) for number in kept]
    plan.linears[:] = [plan.linears[cell] for cell in linears if cell >= 0]
    plan.registers[:] = [plan.registers[cell] for cell in registers if cell >= 0]
    plan.bags[:] = [plan.bags[cell] for cell in bags if cell >= 0]
    plan.roots[:] = [None if root is None else (signals[root[0]], root[1]) for root in plan.roots]


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
