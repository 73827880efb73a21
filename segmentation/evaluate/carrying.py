"""Values that are taken over from the state of the definitions before, because the archive no longer has what they
were counted from.

Only where it has not: what can be counted anew is. A cell is taken over if the old definitions have the very same one
and it counts at least as much there; from when on it has counted goes with it. Linear cells over sets of values and
those sets go together. Cells with conditions beside other values of the user are not taken over.
"""

from collections.abc import Collection, Iterable

import numpy as np

from segmentation.compile.plan import Cell, Linear, Plan
from segmentation.evaluate.bags import Bags
from segmentation.evaluate.distincts import Distincts
from segmentation.evaluate.history import Held, cells_below, is_whole, would_count_from
from segmentation.evaluate.registers import Registers
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Int64
from segmentation.state.dictionary import Translation


def chosen(old: Plan, new: Plan, held: Held) -> set[Cell]:
    """The cells of `new` that are taken over from a state of `old`."""
    known: set[Cell] = set()
    for segment, root in zip(old.segments, old.roots):
        if root is not None and segment.name not in held.partial:
            known.update(cells_below(old, root[0]))
    same = {cell for cell in new.cells if cell in known and all(term.beside is None for term in cell.terms)}
    wanted = {
        cell for cell in same
        if not is_whole(cell, held) and held.counts_from(cell) <= would_count_from(cell, held)
    }  # fmt: skip
    while True:
        together = {part for cell in wanted for part in _together(new, cell)}
        refused = {cell for cell in wanted if not same.issuperset(_together(new, cell))}
        again = (wanted | together) & same - refused
        if again == wanted:
            return wanted
        same -= refused
        wanted = again


def all_but(plan: Plan, segments: Collection[str]) -> set[Cell]:
    """The cells that can be taken over from a state of the same plan when those of these segments are computed anew,
    and with them whatever shares one with them."""
    anew: set[Cell] = set()
    for segment, root in zip(plan.segments, plan.roots):
        if root is not None and segment.name in segments:
            anew.update(cells_below(plan, root[0]))
    kept = {cell for cell in plan.cells if cell not in anew and all(term.beside is None for term in cell.terms)}
    while gone := {cell for cell in kept if not kept.issuperset(_together(plan, cell))}:
        kept -= gone
    return kept


def _together(plan: Plan, cell: Cell) -> Iterable[Cell]:
    """The sets of values of a linear cell, or the linear cells of a set."""
    if isinstance(cell, Linear):
        return [values.of for values in cell.values]
    return [linear for linear in plan.linears if any(values.of == cell for values in linear.values)]


def carry(new: Shard, old: Shard, cells: set[Cell]) -> None:
    """The values of these cells, of all users, who have the same numbers in both."""
    if not cells:
        return
    ours, theirs = new._network, old._network
    texts = Translation(old._texts, new._texts)
    users = np.arange(len(old._users))
    for place, linear in enumerate(new.plan.linears):
        if linear in cells:
            value = theirs.cells.peek(old.plan.linears.index(linear), users)
            some = np.flatnonzero(value != 0)
            if some.size:
                ours.cells.put(ours.cells.addresses(np.full(len(some), place), users[some]), value[some])
    for place, register in enumerate(new.plan.registers):
        if register in cells:
            _register(ours.registers, place, theirs.registers, old.plan.registers.index(register), users, texts)
    for place, distinct in enumerate(new.plan.distincts):
        if distinct in cells:
            _distinct(ours.distincts, place, theirs.distincts, old.plan.distincts.index(distinct), users, texts)
    for place, bag in enumerate(new.plan.bags):
        if bag in cells:
            _bag(ours.bags, place, theirs.bags, old.plan.bags.index(bag), texts)


def _register(ours: Registers, cell: int, other: Registers, theirs: int, users: Int64, texts: Translation) -> None:
    there = other._arena
    users = users[there.peek(theirs, users, raw=True) > 0]
    slot, time = (there.peek(theirs, users, nth, raw=True) for nth in (0, 1))
    value = there.peek(theirs, users, 2, raw=bool(ours._raw[cell]))
    if ours._text[cell]:
        value = texts(value)
    if ours._by_time[cell]:
        first = len(ours.event_ids)
        ours.event_ids += [other.event_ids[place] for place in slot.tolist()]
        slot = np.arange(first, len(ours.event_ids))
    address = ours._arena.addresses(np.full(len(users), cell), users)
    ours._arena.put_raw(address, slot)
    ours._arena.put_raw(address + 1, time)
    if ours._raw[cell]:
        ours._arena.put_raw(address + 2, value)
    else:
        ours._arena.put(address + 2, value)


def _distinct(ours: Distincts, number: int, other: Distincts, theirs: int, users: Int64, texts: Translation) -> None:
    cell, user, value, count = other.table.of_users(users)
    mine = cell == theirs
    user, value, count = user[mine], value[mine], count[mine]
    if ours._text[number] and len(value):
        value = texts(value.astype(np.int64))
    ours.table.put(np.full(len(user), number), user, value, count)


def _bag(ours: Bags, bag: int, other: Bags, theirs: int, texts: Translation) -> None:
    for user, pick in other._picks[theirs].items():
        for key, number, value in pick.rows():
            time, event_id = key if ours._by_time[bag] else (0, "")
            own = int(texts(np.array([value], np.int64))[0]) if ours._text[bag] else value
            ours._restore(bag, user, time, event_id, number, own)
