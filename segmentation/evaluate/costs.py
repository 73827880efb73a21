"""What each segment costs a shard: its share of the evaluation, and bytes of state. Told from a saved state alone.

- *Work* is counted in pairs of an event and a term that counts it, over the newest events that the state holds; a pair
  whose term has a window counts twice, for the event also leaves it. A pair is what evaluation takes its time for,
  whatever number of definitions there are; that some pairs (values beside others, `mode`) take longer than others is
  not seen.
- *Bytes* are what the values of each cell take: 8 a number, and for the others what `validate --explain` says.
  Nobody's are the users themselves, texts, and the events, which all definitions share.

A cell that several segments read is divided among them equally, so that the sum is the whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segmentation.compile.explain import cells_of, feature
from segmentation.compile.plan import Cell, Plan
from segmentation.evaluate.index import ARRIVAL
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Int64
from segmentation.state.arena import saved_blocks
from segmentation.types import FOREVER

#: So many of the newest events are looked at.
NEWEST = 20_000


@dataclass(frozen=True, slots=True)
class Cost:
    """pairs: of events and terms, of those looked at; bytes: of state."""

    pairs: float = 0.0
    bytes: float = 0.0


def costs(plan: Plan, state: Mapping[str, Any]) -> dict[str, Cost]:
    """By segment. state: what `Shard.dump` gave, unpacked, of a shard with this plan."""
    shard = Shard(plan, 1, 0, None, False)
    pairs, size = _pairs(shard, state), _bytes(shard, state["network"])
    read = [cells_of(plan, root) for root in plan.roots]
    readers: dict[Cell, int] = {}
    for cells in read:
        for cell in cells:
            readers[cell] = readers.get(cell, 0) + 1
    return {
        name: Cost(
            sum(pairs[cell] / readers[cell] for cell in cells), sum(size.get(cell, 0) / readers[cell] for cell in cells)
        )
        for name, cells in zip(plan.names, read)
    }


def _pairs(shard: Shard, state: Mapping[str, Any]) -> dict[Cell, float]:
    rows = {name: column[-NEWEST:] for name, column in state["log"]["rows"].items()}
    shard._users.restore(state["users"])
    shard._texts.restore(state["texts"])
    index = shard._index
    code = rows["code"].astype(np.int64)
    touched = index.holding(index.expand(np.full(len(code), ARRIVAL), code), shard._columnar.frame(rows))
    count = np.bincount(touched.term, minlength=len(index.cell)) * np.where(index.end < FOREVER, 2, 1)
    found: dict[Cell, float] = {}
    term = 0
    for cell in shard.plan.cells:
        found[cell] = float(count[term : term + len(cell.terms)].sum())
        term += len(cell.terms)
    return found


def _bytes(shard: Shard, state: Mapping[str, Any]) -> dict[Cell, float]:
    plan, network = shard.plan, shard._network
    found: dict[Cell, float] = {}
    for name, arena in (("cells", network.cells), ("registers", network.register_arena)):
        cells: Sequence[Cell] = plan.linears if name == "cells" else plan.registers
        users: Int64 = (saved_blocks(state[name]) >= 0).sum(axis=0)
        found |= {cell: float(users[family] * feature(cell).bytes) for cell, family in zip(cells, arena.family)}
    values = np.bincount(state["values"]["key"] >> 33, minlength=len(plan.distincts))
    found |= {cell: float(count * feature(cell).bytes) for cell, count in zip(plan.distincts, values.tolist())}
    found |= {cell: float(len(rows) * feature(cell).bytes) for cell, rows in zip(plan.bags, state["bags"])}
    for number, rows in enumerate(state.get("beside", ())):
        terms = np.flatnonzero(shard._index.watch == number)
        cell = _cell_of(plan, int(terms[0]))
        found[cell] = len(rows["counts"]) * feature(cell).bytes
    return found


def _cell_of(plan: Plan, term: int) -> Cell:
    for cell in plan.cells:
        if term < len(cell.terms):
            return cell
        term -= len(cell.terms)
    raise AssertionError("there is no such term")
