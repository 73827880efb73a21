"""How often each value occurs: counts by (cell, user, value), one entry for each that occurs.

A hash table in numpy arrays with linear probing; all keys of a batch are looked up together. An
entry whose count is 0 is as good as none: it is dropped when the table is next rebuilt.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int64

Array = NDArray[Any]
_FREE, _ERASED = -1, -2
_USERS = np.int64(32)  # bits of a key that name the user
_SMALLEST = 1024


class Table:
    """Values are integers of any size; one that int64 cannot hold has a number of its own."""

    def __init__(self) -> None:
        self._allot(_SMALLEST)
        self._wide: dict[int, int] = {}  # the number of each such value
        self._wides = 0  # numbers given so far

    def _allot(self, room: int) -> None:
        self._key = np.full(room, _FREE, np.int64)  # cell, whether the value is wide, user
        self._value = np.zeros(room, np.int64)
        self._count = np.zeros(room, np.int64)
        self._used = 0

    def keys(self, cell: Array, user: Array, value: Array) -> tuple[Int64, Int64]:
        """What n values are found by."""
        wide = np.zeros(len(cell), np.int64)
        if value.dtype == object:
            beyond = [i for i, v in enumerate(value.tolist()) if not -(2**63) <= v < 2**63]
            wide[beyond] = 1
            value = value.copy()
            value[beyond] = [self._number(value[i]) for i in beyond]
            value = value.astype(np.int64)
        return ((cell.astype(np.int64) * 2 + wide) << _USERS) | user, value

    def _number(self, wide: int) -> int:
        if wide not in self._wide:
            self._wide[wide] = self._wides
            self._wides += 1
        return self._wide[wide]

    def entries(self, key: Int64, value: Int64) -> Int64:
        """The entry of each of these different keys, made where there is none; valid until the next call."""
        if 2 * (self._used + len(key)) > len(self._key):
            self._rebuild(len(key))
        return self._find(key, value)

    def counts(self, entry: Int64) -> Int64:
        return self._count[entry]

    def store(self, entry: Int64, count: Int64) -> None:
        self._count[entry] = count

    def _find(self, key: Int64, value: Int64) -> Int64:
        mask = np.int64(len(self._key) - 1)
        place = _hash(key, value) & mask
        todo = np.arange(len(key))
        while todo.size:
            at = place[todo]
            free = self._key[at] == _FREE
            if free.any():  # of several that meet at one place, one gets it
                taken, first = np.unique(at[free], return_index=True)
                new = todo[free][first]
                self._key[taken], self._value[taken] = key[new], value[new]
                self._used += len(taken)
            mine = (self._key[at] == key[todo]) & (self._value[at] == value[todo])
            todo = todo[~mine]
            place[todo] = (place[todo] + 1) & mask
        return place

    def _live(self) -> Bool:
        return np.asarray(self._count > 0, np.bool_)

    def _rebuild(self, more: int) -> None:
        live = self._live()
        key, value, count = self._key[live], self._value[live], self._count[live]
        room = _SMALLEST
        while room < 4 * (len(key) + more):
            room *= 2
        self._allot(room)
        self._count[self._find(key, value)] = count

    def of_users(self, users: Array) -> tuple[Int64, Int64, Array, Int64]:
        """(cell, user, value, count) of all values that occur with one of the users (sorted, distinct)."""
        live = np.flatnonzero(self._live())
        user = self._key[live] & (2**_USERS - 1)
        mine = np.isin(user, users)
        live, user = live[mine], user[mine]
        cell, value = self._key[live] >> _USERS, self._value[live]
        if (cell & 1).any():
            wide = {number: value for value, number in self._wide.items()}
            value = value.astype(object)
            for i in np.flatnonzero(cell & 1).tolist():
                value[i] = wide[value[i]]
        return cell >> 1, user, value, self._count[live]

    def put(self, cell: Int64, user: Int64, value: Array, count: Int64) -> None:
        """Counts of different (cell, user, value)."""
        entry = self.entries(*self.keys(cell, user, value))
        self.store(entry, count)

    def erase(self, users: Array) -> None:
        """Nothing has occurred with these users."""
        mine = np.flatnonzero((self._key >= 0) & np.isin(self._key & (2**_USERS - 1), users))
        wide = ((self._key[mine] >> _USERS) & 1).any()
        self._key[mine], self._value[mine], self._count[mine] = _ERASED, 0, 0
        if wide:
            live = self._live() & (((self._key >> _USERS) & 1) == 1)
            used = set(self._value[live].tolist())
            self._wide = {value: number for value, number in self._wide.items() if number in used}

    def dump(self) -> dict[str, Any]:
        live = self._live()
        return {
            "key": self._key[live], "value": self._value[live], "count": self._count[live],
            "wide": [(str(value), number) for value, number in self._wide.items()],
        }

    def load(self, state: dict[str, Any]) -> None:
        self._wide = {int(value): number for value, number in state["wide"]}
        self._wides = 1 + max(self._wide.values(), default=-1)
        self._allot(_SMALLEST)
        self._rebuild(len(state["key"]))
        self._count[self._find(state["key"], state["value"])] = state["count"]


def _hash(key: Int64, value: Int64) -> Int64:
    """Of 62 bits, spread well in the low ones."""
    mixed = key.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + value.view(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    return (mixed >> np.uint64(2)).view(np.int64)
