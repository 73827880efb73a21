"""Drops what no segment needs: cells and signals that were made on the way to a simpler form."""

from dataclasses import replace

from segmentation.compile.plan import Formula, Gate, Plan, Reach, Signal, Source


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
    registers = _numbers({source.register for source in sources})
    signals = _numbers(needed)
    plan.signals[:] = [_renumbered(plan.signals[number], signals, linears, registers) for number in kept]
    plan.linears[:] = [plan.linears[cell] for cell in linears if cell >= 0]
    plan.registers[:] = [plan.registers[cell] for cell in registers if cell >= 0]
    plan.roots[:] = [None if root is None else (signals[root[0]], root[1]) for root in plan.roots]


def _numbers(old: set[int]) -> dict[int, int]:
    """From old numbers to new ones; -1 stays."""
    return {number: new for new, number in enumerate(sorted(old - {-1}))} | {-1: -1}


def _renumbered(
    signal: Signal, signals: dict[int, int], linears: dict[int, int], registers: dict[int, int]
) -> Signal:
    match signal:
        case Gate(all_, inputs):
            return Gate(all_, tuple((signals[of], negated) for of, negated in inputs))
        case Reach(cell, threshold):
            return Reach(linears[cell], threshold)
        case Formula(_, sources):
            moved = [
                (aggregate, Source(linears[s.linear], registers[s.register], linears[s.present], s.scale))
                for aggregate, s in sources
            ]
            return replace(signal, sources=tuple(moved))
    return signal
