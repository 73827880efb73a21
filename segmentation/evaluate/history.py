"""Of which definitions the archive does not hold all that they look back on.

Events leave it when no window and no setting keeps them, and a column has nothing in what came before it was
declared. A definition that looks further back than that is exact over the events from then on, no further.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
    be gone; columns: from when on these have values, by the plan's names. µs; NEVER and not named: always.

    Of the definitions before: counted has those cells that do not count all, and from when on (µs) each of their terms
    counts; partial the segments that are not whole in a state that does not say this of its cells."""

    at: int
    dropped_before: int = NEVER
    columns: Mapping[str, int] | None = None
    partial: Collection[str] = ()
    counted: Mapping[Cell, Sequence[int]] = field(default_factory=dict)

    def counts_from(self, cell: Cell) -> int:
        """From when on the definitions before have counted this cell of theirs, µs; NEVER: always."""
        return max(self.counted.get(cell, ()), default=NEVER)


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
        cells = cells_below(plan, root[0])
        all_missing = [one for cell in cells if (one := _of_cell(cell, held, cell in there)) is not None]
        if all_missing:
            found[segment.name] = max(all_missing, key=lambda one: one.since)
    return found


def counts_later(old: Plan, found: Mapping[str, Missing], held: Held) -> set[str]:
    """Of the segments whose history is not whole (`missing` of the new plan), those that the definitions before count
    from an earlier instant on. What was allowed once was allowed from that instant on: to count it from a later one
    moves users, and has to be allowed again."""
    was = missing(old, held, old.cells)
    return {name for name, one in found.items() if name in was and one.since > was[name].since}


def _of_cell(cell: Cell, held: Held, carried: bool) -> Missing | None:
    if carried:
        since = held.counts_from(cell)
        return Missing(since, "it was not whole when it was deployed") if since > NEVER else None
    return max(
        (one for term in cell.terms if (one := _of_term(term, held)) is not None),
        key=lambda one: one.since, default=None,
    )  # fmt: skip


def would_count_from(cell: Cell, held: Held) -> int:
    """From when on what is held has all that feeds it, µs; NEVER: from the beginning."""
    found = _of_cell(cell, held, False)
    return NEVER if found is None else found.since


def is_whole(cell: Cell, held: Held) -> bool:
    """Whether all that feeds it is held; of sets of values, their own events."""
    return all(_of_term(term, held) is None for term in cell.terms)


def floors(plan: Plan, held: Held, carried: Collection[Cell]) -> tuple[Int64, Int64]:
    """int64[terms] both, in the order of segmentation.evaluate.index, µs: from when on each term counts what is held,
    FOREVER for those of carried cells, which count nothing of it; and what it counts later, events that leave included.
    NEVER where all is counted."""
    held_now: list[int] = []
    later: list[int] = []
    for cell in _cells(plan):
        if cell in carried:
            later += held.counted.get(cell, [NEVER] * len(cell.terms))
            held_now += [FOREVER] * len(cell.terms)
            continue
        for term in cell.terms:
            one = _of_term(term, held)
            later.append(NEVER if one is None else one.since)
            held_now.append(later[-1])
    return np.array(held_now, np.int64), np.array(later, np.int64)


def counted_from(plan: Plan, since: Int64) -> dict[Cell, list[int]]:
    """By cell, of those that do not count all: from when on each of its terms does. since: int64[terms], as `floors`
    gives them second."""
    found: dict[Cell, list[int]] = {}
    first = 0
    for cell in _cells(plan):
        mine = since[first : first + len(cell.terms)].tolist()
        first += len(cell.terms)
        if any(one > NEVER for one in mine):
            found[cell] = mine
    return found


def _cells(plan: Plan) -> Iterator[Cell]:
    """In the order of segmentation.evaluate.index."""
    kinds: tuple[Sequence[Cell], ...] = (plan.linears, plan.registers, plan.distincts, plan.bags)
    for cells in kinds:
        yield from cells


def of_all(shards: Iterable[Held]) -> Held:
    """One for all shards, whose users may change places later: the least that any of them holds.

    From when on cells count is the same in all of them."""
    counted = [each for each in shards if each.at > NEVER]
    if not counted:
        return Held(NEVER)
    at, dropped = min(each.at for each in counted), max(each.dropped_before for each in counted)
    return replace(counted[0], at=at, dropped_before=dropped)


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
