"""Rows of users that are kept while they may count: columns in arrays, and which rows are whose.

A row has a slot as long as it is kept. What a row needs is its columns, one byte for whether it
counts, and eight bytes in its user's list of slots.
"""

from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import distinct
from segmentation.events.rows import Bool, Int64
from segmentation.state.dictionary import Translation

Array = NDArray[Any]
Columns = dict[str, Array]
_SMALLEST = 64


class Kept:
    """columns: dtypes by name, `user` among them; texts: those that are codes of the shard's texts, -1 is NULL."""

    def __init__(self, columns: Mapping[str, np.dtype[Any]], texts: set[str]) -> None:
        self._columns: Columns = {name: np.zeros(_SMALLEST, dtype) for name, dtype in columns.items()}
        self._counts = np.zeros(_SMALLEST, np.bool_)
        self._texts = texts
        self._used = 0
        self._free: list[int] = []
        self._slots: dict[int, array[int]] = {}  # by user

    def add(self, rows: Mapping[str, Array]) -> Int64:
        """The slots of these new rows, which do not count yet; of the columns those that are kept are taken."""
        n = len(rows["user"])
        again = self._free[len(self._free) - min(n, len(self._free)) :]
        del self._free[len(self._free) - len(again) :]
        more = n - len(again)
        slots = np.array([*again, *range(self._used, self._used + more)], np.int64)
        self._used += more
        if self._used > len(self._counts):
            room = 2 * self._used
            self._columns = {name: grown(column, room) for name, column in self._columns.items()}
            self._counts = grown(self._counts, room)
        for name, column in self._columns.items():
            column[slots] = rows[name]
        self._counts[slots] = False
        for user, slot in zip(rows["user"].tolist(), slots.tolist()):
            if user not in self._slots:
                self._slots[user] = array("q")
            self._slots[user].append(slot)
        return slots

    def of_users(self, users: Array) -> Int64:
        """The slots of all rows of these different users."""
        found = [np.array(self._slots[user], np.int64) for user in users.tolist() if user in self._slots]
        return np.concatenate([np.zeros(0, np.int64), *found])

    def take(self, slots: Int64) -> Columns:
        """The rows' columns, copied."""
        return {name: column[slots] for name, column in self._columns.items()}

    def counts(self, slots: Int64) -> Bool:
        return self._counts[slots]

    def count(self, slots: Int64, counts: Bool) -> None:
        """From now on these rows count, or do not."""
        self._counts[slots] = counts

    def drop(self, slots: Int64) -> None:
        """Lets go of these different rows."""
        user = self._columns["user"][slots]
        order = np.argsort(user, kind="stable")
        slots, user = slots[order], user[order]
        heads = np.flatnonzero(np.concatenate(([True], user[1:] != user[:-1]))) if len(slots) else slots
        for a, b in zip(heads.tolist(), [*heads[1:].tolist(), len(slots)]):
            mine = np.array(self._slots.pop(int(user[a])), np.int64)
            left = mine[~np.isin(mine, slots[a:b])]
            if left.size:
                self._slots[int(user[a])] = array("q", left.tobytes())
        self._let_go(slots)

    def erase(self, users: Int64) -> None:
        """Lets go of all rows of these users."""
        slots = self.of_users(users)
        for user in users.tolist():
            self._slots.pop(user, None)
        self._let_go(slots)

    def _let_go(self, slots: Int64) -> None:
        for column in self._columns.values():
            column[slots] = "" if column.dtype == object else 0
        self._free.extend(slots.tolist())

    def texts(self, users: Int64) -> Int64:
        """Codes of all texts in rows of these users."""
        slots = self.of_users(users)
        codes = [np.zeros(0, np.int64), *(self._columns[name][slots] for name in self._texts)]
        found = distinct(np.concatenate(codes))
        return found[found >= 0]

    def dump(self) -> dict[str, Any]:
        slots = self.of_users(np.array(sorted(self._slots), np.int64))
        return {"columns": self.take(slots), "counts": self._counts[slots]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Into an empty one."""
        self._counts[self.add(state["columns"])] = state["counts"]

    def adopt(self, other: "Kept", theirs: Int64, ours: Int64, texts: Translation) -> None:
        """What `other` keeps of its users `theirs`, for our new users `ours` (int64[n] both)."""
        slots = other.of_users(theirs)
        rows = other.take(slots)
        order = np.argsort(theirs)
        rows["user"] = ours[order][np.searchsorted(theirs[order], rows["user"])]
        for name in self._texts:
            rows[name] = texts(rows[name])
        new = self.add(rows)
        self._counts[new] = other._counts[slots]


def grown(column: Array, room: int, fill: int = 0) -> Array:
    """The column with room for so many values, `fill` where there is none yet."""
    out = np.full(room, fill, column.dtype)
    out[: len(column)] = column
    return out
