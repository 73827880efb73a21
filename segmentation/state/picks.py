"""What one user's rows come to where rows also leave: the best of them, or the most frequent value.

Each class holds the rows of one (bag, user) and answers with one value. Rows come one by one, so
everything is in plain Python, in sorted lists.
"""

from bisect import bisect_left, insort
from typing import Any

#: A key by which rows compare: a value, or (time µs, event_id).
Key = Any


class Best:
    """The row with the smallest or largest key, of rows that leave by time alone.

    A row is only kept while it can still be the best: one that is no better and leaves no later
    than another never will. So kept rows get worse as they stay longer, and the best leaves first.
    """

    __slots__ = ("_largest", "_rows")

    def __init__(self, largest: bool) -> None:
        self._largest = largest
        self._rows: list[tuple[Key, int, int]] = []  # by key; leaves (negative for the smallest), value

    def add(self, key: Key, leaves: int, value: int) -> None:
        rows, largest = self._rows, self._largest
        mark = leaves if largest else -leaves
        at = bisect_left(rows, (key, mark))
        if largest:
            if at < len(rows) and rows[at][1] >= leaves:
                return
            first = at
            while first and rows[first - 1][1] <= leaves:
                first -= 1
            rows[first:at] = [(key, mark, value)]
        else:
            if at and -rows[at - 1][1] >= leaves:
                return
            last = at
            while last < len(rows) and -rows[last][1] <= leaves:
                last += 1
            rows[at:last] = [(key, mark, value)]

    def expire(self, now: int) -> None:
        """Lets go of the rows that leave at or before `now`."""
        rows = self._rows
        if self._largest:
            while rows and rows[-1][1] <= now:
                rows.pop()
            return
        gone = 0
        while gone < len(rows) and -rows[gone][1] <= now:
            gone += 1
        del rows[:gone]

    def value(self) -> int | None:
        if not self._rows:
            return None
        return self._rows[-1 if self._largest else 0][2]

    def rows(self) -> list[tuple[Key, int, int]]:
        """(key, leaves, value) of the rows that are kept."""
        return [(key, mark if self._largest else -mark, value) for key, mark, value in self._rows]


class Ordered:
    """The row with the smallest or largest key, of rows that come and go in any order; so each is kept."""

    __slots__ = ("_largest", "_rows")

    def __init__(self, largest: bool) -> None:
        self._largest = largest
        self._rows: list[tuple[Key, int]] = []  # key, value

    def add(self, key: Key, value: int) -> None:
        insort(self._rows, (key, value))

    def remove(self, key: Key, value: int) -> None:
        del self._rows[bisect_left(self._rows, (key, value))]

    def value(self) -> int | None:
        return self._rows[-1 if self._largest else 0][1] if self._rows else None

    def rows(self) -> list[tuple[Key, int, int]]:
        """(key, 0, value) of each row."""
        return [(key, 0, value) for key, value in self._rows]


class Frequent:
    """The value that most rows have; of several, the one whose first row is earliest.

    Unless `lasting`, rows may leave, so each is kept; else of each value the first alone.
    """

    __slots__ = ("_lasting", "_order", "_values")

    def __init__(self, lasting: bool) -> None:
        self._lasting = lasting
        self._values: dict[int, tuple[int, list[Key]]] = {}  # how many rows, and those kept, in order
        self._order: list[tuple[int, Key, int]] = []  # -how many, first row, value: the best first

    def add(self, key: Key, value: int, times: int = 1) -> None:
        count, keys = self._take(value)
        insort(keys, key)
        self._put(value, count + times, keys[:1] if self._lasting else keys)

    def remove(self, key: Key, value: int) -> None:
        count, keys = self._take(value)
        del keys[bisect_left(keys, key)]
        if count > 1:
            self._put(value, count - 1, keys)
        else:
            del self._values[value]

    def _take(self, value: int) -> tuple[int, list[Key]]:
        if value not in self._values:
            return 0, []
        count, keys = self._values[value]
        del self._order[bisect_left(self._order, (-count, keys[0], value))]
        return count, keys

    def _put(self, value: int, count: int, keys: list[Key]) -> None:
        self._values[value] = (count, keys)
        insort(self._order, (-count, keys[0], value))

    def value(self) -> int | None:
        return self._order[0][2] if self._order else None

    def rows(self) -> list[tuple[Key, int, int]]:
        """(key, times, value): each row once; where `lasting`, the first of each value for all of its rows."""
        return [
            (key, count if self._lasting else 1, value)
            for value, (count, keys) in self._values.items() for key in keys
        ]
