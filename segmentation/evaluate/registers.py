"""Registers: the smallest, largest, first or last value of a user so far.

Each row is ranked among the batch's rows and the stored values; the best so far is a running
maximum of ranks. Values only ever improve, so there is no going back to undo.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import distinct
from segmentation.evaluate.rows import ValueRows
from segmentation.evaluate.steps import Steps
from segmentation.evaluate.vectors import bound
from segmentation.events.rows import Bool, Int64
from segmentation.state.arena import SAFE, Arena
from segmentation.state.dictionary import Translation
from segmentation.state.order import stable_order
from segmentation.types import Kind

Array = NDArray[Any]
#: Slots of a register's block: set (0 or 1 + index of the event id), time µs, value.
SLOTS = 3
_ORDERED = np.int64(0x7FFF_FFFF_FFFF_FFFF)


def ordered_doubles(values: NDArray[np.float64]) -> Int64:
    """Doubles as integers in the same order; its own inverse is `doubles`."""
    bits = (values + 0.0).view(np.int64)
    return bits ^ ((bits >> 63) & _ORDERED)


def doubles(values: Int64) -> NDArray[np.float64]:
    return (values ^ ((values >> 63) & _ORDERED)).view(np.float64)


@dataclass(slots=True)
class SettledRegisters:
    """Like kernel.Settled: key int64[r]; value, valid after it; before, before_valid ahead of the batch."""

    key: Int64
    value: Array
    valid: Bool
    before: Array
    before_valid: Bool

    @staticmethod
    def none() -> "SettledRegisters":
        none = np.zeros(0, np.int64)
        return SettledRegisters(none, none, none.astype(np.bool_), none, none.astype(np.bool_))

    def joined(self, other: "SettledRegisters") -> "SettledRegisters":
        """With what happened to other cells."""
        if not len(self.key):
            return other
        order = stable_order(np.concatenate((self.key, other.key)))
        return SettledRegisters(
            *(np.concatenate((getattr(self, name), getattr(other, name)))[order] for name in self.__slots__)
        )


class Registers:
    def __init__(self, arena: Arena, functions: list[str], kinds: list[Kind]) -> None:
        self._arena = arena
        self._smallest = np.array([function in ("min", "arg_min") for function in functions], np.bool_)
        self._by_time = np.array([function in ("arg_min", "arg_max") for function in functions], np.bool_)
        self._raw = np.array([kind is Kind.DOUBLE for kind in kinds], np.bool_)  # any 64 bits
        self._text = np.array([kind is Kind.TEXT for kind in kinds], np.bool_)  # codes of the shard's texts
        self.event_ids: list[str] = [""]

    def apply(self, rows: ValueRows, steps: Steps) -> SettledRegisters:
        """Rows that only come; what is no longer there is no business of a register."""
        n_steps = len(steps)
        key = rows.cell * n_steps + rows.step
        order = stable_order(key)
        key, cell, user = key[order], rows.cell[order], steps.user[rows.step[order]]
        n = len(key)
        head = np.flatnonzero(np.concatenate(([True], (cell[1:] != cell[:-1]) | (user[1:] != user[:-1]))))
        size = np.diff(np.concatenate((head, [n])))
        address = self._arena.addresses(cell[head], user[head])
        slot = self._arena.raw(address)
        stored_time, stored_value = self._arena.raw(address + 1), self._arena.get(address + 2)
        stored_id = np.array([self.event_ids[i] for i in np.where(self._by_time[cell[head]], slot, 0).tolist()], object)
        # Rank the n rows and the stored values together; what is not set ranks below everything.
        all_cell = np.concatenate((cell, cell[head]))
        value = np.concatenate((rows.value[order], stored_value))
        time = np.concatenate((rows.time[order], stored_time))
        event_id = np.concatenate((rows.event_id[order], stored_id))
        rank = self._rank(all_cell, value, time, event_id)
        # The place is part of the rank: equal ranks may belong to different cells of one event.
        places = len(rank)
        unique = rank * places + np.arange(places)
        base = np.where(slot > 0, unique[n:], -1)
        # A running maximum within each group: groups are lifted above each other.
        lift = np.arange(len(head)) * (places * places + 1)
        running = unique[:n] + np.repeat(lift, size)
        running[head] = np.maximum(running[head], base + lift)
        best = np.maximum.accumulate(running) - np.repeat(lift, size)
        winner = best % places
        tail = head + size - 1
        won = winner[tail]
        new = won < n
        self._store(address[new], cell[head][new], time[won][new], value[won][new], event_id[won][new])
        return SettledRegisters(
            key, value[winner], np.ones(n, np.bool_), np.repeat(stored_value, size), np.repeat(slot > 0, size)
        )

    def _rank(self, cell: Array, value: Array, time: Array, event_id: Array) -> Int64:
        """Dense ranks, larger is better; comparable within a cell only."""
        by_time = self._by_time[cell]
        first = np.where(by_time, time, value)
        smallest = self._smallest[cell]
        flipped = np.where(smallest, ~first, first)  # ~x reverses the order and cannot overflow
        distinct, rank = np.unique(flipped, return_inverse=True)
        if by_time.any() and len(distinct) < len(flipped):
            ids = np.unique(event_id.astype(object), return_inverse=True)[1]
            second = np.where(by_time, np.where(smallest, -ids, ids), 0)
            order = np.lexsort((second, rank))
            new = (rank[order][1:] != rank[order][:-1]) | (second[order][1:] != second[order][:-1])
            dense = np.empty(len(rank), np.int64)
            dense[order] = np.concatenate(([0], np.cumsum(new)))
            return dense
        return np.asarray(rank, np.int64)

    def _store(self, address: Array, cell: Array, time: Array, value: Array, event_id: Array) -> None:
        marks = np.ones(len(address), np.int64)
        ours = np.flatnonzero(self._by_time[cell])
        slots = self._arena.raw(address[ours])
        for i, slot, text in zip(ours.tolist(), slots.tolist(), event_id[ours].tolist()):
            if slot > 0:
                self.event_ids[slot] = text
                marks[i] = slot
            else:
                marks[i] = len(self.event_ids)
                self.event_ids.append(text)
        self._arena.put_raw(address, marks)
        self._arena.put_raw(address + 1, time)
        raw = self._raw[cell]
        self._arena.put_raw(address[raw] + 2, value[raw].astype(np.int64))
        value = value[~raw]
        self._arena.put(address[~raw] + 2, value.astype(object) if bound(value) >= SAFE else value)

    def adopt(self, other: "Registers", users: Int64, texts: Translation) -> None:
        """After our arena has taken over blocks of `other`'s for `users`: what they point to, in our tables."""
        for cell in np.flatnonzero(self._by_time | self._text).tolist():
            address = self._arena.existing(cell, users)
            address = address[self._arena.raw(address) > 0]
            if self._by_time[cell]:
                first = len(self.event_ids)
                self.event_ids += [other.event_ids[slot] for slot in self._arena.raw(address).tolist()]
                self._arena.put_raw(address, np.arange(first, len(self.event_ids)))
            if self._text[cell]:
                self._arena.put_raw(address + 2, texts(self._arena.raw(address + 2)))

    def erase(self, users: Int64) -> None:
        """Lets go of these users' values and event ids."""
        for cell in np.flatnonzero(self._by_time).tolist():
            for slot in self._arena.peek(cell, users, raw=True).tolist():
                self.event_ids[slot] = ""  # slot 0 is nobody's
        self._arena.erase(users)

    def texts(self, users: Int64) -> Int64:
        """Codes of all texts that are the value of one of these users."""
        found = [np.zeros(0, np.int64)]
        for cell in np.flatnonzero(self._text).tolist():
            held = self._arena.peek(cell, users, raw=True) > 0
            found.append(self._arena.peek(cell, users[held], 2, raw=True))
        return distinct(np.concatenate(found))
