"""Of which definitions the archive does not hold all that they look back on.

Events leave it when no window and no setting keeps them, and a column has nothing in what came before it was
declared. A definition that looks further back than that is exact over the events from then on, no further.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.compile import tree
from segmentation.compile.anchors import scalars_in
from segmentation.compile.plan import Cell, Formula, LatestSource, Plan, Reach, Source, Term, below, walk
from segmentation.edges import since
from segmentation.errors import TidegateError
from segmentation.events.rows import Int64
from segmentation.events.schema import Schema
from segmentation.types import FOREVER, NEVER


class HistoryMissing(TidegateError):
    """A definition cannot be computed from what the archive holds; says why and what to do."""


@dataclass(frozen=True, slots=True)
class Held:
    """What an archive holds. at: the instant that is computed for; dropped_before: of events from before it some may
    be gone; columns: from when on these have values, by the plan's names. µs; NEVER and not named: always. partial:
    segments of the definitions before that were not whole then."""

    at: int
    dropped_before: int = NEVER
    columns: Mapping[str, int] | None = None
    partial: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """since: exact over the events from then on, µs; why, for people."""

    since: int
    why: str


def check_types(old: Schema, new: Schema) -> None:
    """HistoryMissing where a column has another type than what is stored of it."""
    for table, before, after in (("events", old.events, new.events), ("users", old.users, new.users)):
        for name in before.keys() & after.keys():
            if before[name].type != after[name].type:
                raise HistoryMissing(
                    f"schema.yml: column {name} of {table} was {before[name].type} and is {after[name].type} now, but "
                    "what is stored of it has the old type. Declare it under another name, with `path` saying where "
                    "it is, or start the engine with --rebuild, which reads the topic again."
                )


def missing(plan: Plan, held: Held, carried: Iterable[Cell] = ()) -> dict[str, Missing]:
    """By segment, of those whose history is not whole. carried: cells whose values are not computed from it."""
    there = set(carried)
    found = {}
    for segment, root in zip(plan.segments, plan.roots):
        if root is None:
            continue
        terms = [term for cell in cells_below(plan, root[0]) if cell not in there for term in cell.terms]
        all_missing = [one for term in terms if (one := _of_term(term, held)) is not None]
        if all_missing:
            found[segment.name] = max(all_missing, key=lambda one: one.since)
    return found


def is_whole(cell: Cell, held: Held) -> bool:
    """Whether all that feeds it is held; of sets of values, their own events."""
    return all(_of_term(term, held) is None for term in cell.terms)


def floors(plan: Plan, held: Held, carried: Collection[Cell]) -> tuple[Int64, Int64]:
    """int64[terms] both, in the order of segmentation.evaluate.index, µs: from when on each term counts what is held,
    FOREVER for those of carried cells, which count nothing of it; and what it counts later, events that leave included.
    NEVER where what is held is whole."""
    kinds: tuple[Sequence[Cell], ...] = (plan.linears, plan.registers, plan.distincts, plan.bags)
    held_now, later = [], []
    for cell in (cell for cells in kinds for cell in cells):
        for term in cell.terms:
            one = None if cell in carried else _of_term(term, held)
            later.append(NEVER if one is None else one.since)
            held_now.append(FOREVER if cell in carried else later[-1])
    return np.array(held_now, np.int64), np.array(later, np.int64)


def of_all(shards: Iterable[Held]) -> Held:
    """One for all shards, whose users may change places later: the least that any of them holds."""
    counted = [each for each in shards if each.at > NEVER]
    if not counted:
        return Held(NEVER)
    at, dropped = min(each.at for each in counted), max(each.dropped_before for each in counted)
    return Held(at, dropped, counted[0].columns, counted[0].partial)


def cells_below(plan: Plan, signal: int) -> list[Cell]:
    """All cells that the signal depends on, values beside events and sets of values included, each once."""
    found: dict[Cell, None] = {}
    todo: list[Cell] = []
    for number in below(plan, [signal]):
        match plan.signals[number]:
            case Reach(linear, _):
                todo.append(plan.linears[linear])
            case Formula(_, sources):
                todo += [part for _, source in sources for part in _cells_of(plan, source)]
    while todo:
        cell = todo.pop()
        if cell in found:
            continue
        found[cell] = None
        todo += [values.of for values in getattr(cell, "values", ())]
        for term in cell.terms:
            for scalar in scalars_in(term.beside):
                todo += [part for _, source in plan.anchors[scalar].sources for part in _cells_of(plan, source)]
    return list(found)


def _cells_of(plan: Plan, source: Source) -> Iterator[Cell]:
    yield from (plan.linears[number] for number in (source.linear, source.present) if number >= 0)
    registers = [source.register, *([source.null] if isinstance(source, LatestSource) else [])]
    yield from (plan.registers[number] for number in registers if number >= 0)
    if source.bag >= 0:
        yield plan.bags[source.bag]


def _of_term(term: Term, held: Held) -> Missing | None:
    # Before anything has been counted, a window would begin before all time.
    first = NEVER if term.end == FOREVER else max(NEVER, since(term.end, held.at))
    found = None
    if held.dropped_before > first:
        found = Missing(held.dropped_before, "older events are not kept (setting `retention`)")
    for name in _read(term):
        declared = (held.columns or {}).get(name, NEVER)
        if declared > max(first, NEVER if found is None else found.since):
            found = Missing(declared, f"column {name} was declared later than events that it looks back on")
    return found


def _read(term: Term) -> set[str]:
    nodes = [node for node in (term.arg, term.residual, term.beside) if node is not None]
    names = {inner.name for node in nodes for inner in walk(node) if isinstance(inner, tree.Column)}
    return names | {name for name, _ in term.codes}
