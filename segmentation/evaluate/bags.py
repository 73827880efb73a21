"""Bags: the smallest, largest, first, last or most frequent value where rows also leave.

Rows are taken one by one in the order of steps; the value after each step goes to the formulas.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.compile.plan import BY_TIME, Bag
from segmentation.evaluate.registers import SettledRegisters
from segmentation.evaluate.rows import ValueRows
from segmentation.evaluate.steps import Steps
from segmentation.events.rows import Bool, Int64
from segmentation.state.dictionary import Dictionary, Translation
from segmentation.state.order import stable_order
from segmentation.state.picks import Best, Frequent, Key, Ordered
from segmentation.types import FOREVER, Kind

Array = NDArray[Any]
Pick = Best | Frequent | Ordered


class Bags:
    """texts: what the codes of text values stand for."""

    def __init__(self, bags: list[Bag], texts: Dictionary) -> None:
        self._bags, self._texts = bags, texts
        self._by_time = [bag.function in BY_TIME for bag in bags]
        self._text = [bag.type.kind is Kind.TEXT for bag in bags]
        self._picks: list[dict[int, Pick]] = [{} for _ in bags]  # by user

    def apply(self, rows: ValueRows, steps: Steps) -> SettledRegisters:
        """Stores the rows; where a (bag, user) was touched, its values."""
        order = stable_order(rows.cell * len(steps) + rows.step)
        step = rows.step[order]
        columns = (
            rows.cell[order], step, steps.user[step], steps.instant[step], rows.sign[order], rows.time[order],
            rows.event_id[order], rows.leaves[order], rows.value[order],
        )
        keys: list[int] = []
        after: list[int | None] = []
        before: list[int | None] = []
        last: tuple[int, int] = (-1, -1)
        started: int | None = None
        pick: Pick | None = None
        for cell, at, user, now, sign, time, event_id, leaves, value in zip(*(c.tolist() for c in columns)):
            if (cell, user) != last:
                last, pick = (cell, user), self._pick(cell, user)
                started = pick.value()
            if keys and keys[-1] == cell * len(steps) + at:
                del after[-1]
            else:
                keys.append(cell * len(steps) + at)
                before.append(started)
            if isinstance(pick, Best):
                pick.expire(now)
                if sign > 0:
                    pick.add(self._key(cell, time, event_id, value), leaves, value)
            elif pick is not None:
                key = self._key(cell, time, event_id, value)
                if sign > 0:
                    pick.add(key, value)
                else:
                    pick.remove(key, value)
            after.append(pick.value() if pick else None)
        self._forget({(int(c), int(u)) for c, u in zip(columns[0], columns[2])})
        return SettledRegisters(np.array(keys, np.int64), *_vector(after), *_vector(before))

    def _pick(self, bag: int, user: int) -> Pick:
        found = self._picks[bag].get(user)
        if found is None:
            found = self._picks[bag][user] = self._new_pick(self._bags[bag])
        return found

    def _new_pick(self, bag: Bag) -> Pick:
        moving = any(term.beside is not None for term in bag.terms)
        largest = bag.function in ("max", "arg_max")
        if bag.function == "mode":
            return Frequent(lasting=not moving and all(term.end == FOREVER for term in bag.terms))
        return Ordered(largest) if moving else Best(largest)

    def _key(self, bag: int, time: int, event_id: str, value: int) -> Key:
        if self._by_time[bag]:
            return time, event_id
        return self._texts.values[value] if self._text[bag] else value

    def _forget(self, touched: set[tuple[int, int]]) -> None:
        for bag, user in touched:
            if self._picks[bag][user].value() is None:
                del self._picks[bag][user]

    def peek(self, bag: int, users: Int64) -> tuple[Array, Bool]:
        """The bag's values as they are stored, and where there is one."""
        picks = self._picks[bag]
        return _vector([pick.value() if (pick := picks.get(user)) else None for user in users.tolist()])

    def adopt(self, other: "Bags", theirs: Int64, ours: Int64, texts: Translation) -> None:
        """What `other` holds of its users `theirs`, for our new users `ours` (int64[n] both)."""
        for bag, picks in enumerate(other._picks):
            found = [
                (our, row) for user, our in zip(theirs.tolist(), ours.tolist()) if user in picks
                for row in picks[user].rows()
            ]  # fmt: skip
            values = [value for _, (_, _, value) in found]
            if self._text[bag]:
                values = texts(np.array(values, np.int64)).tolist()
            for (our, (key, number, _)), value in zip(found, values):
                time, event_id = key if self._by_time[bag] else (0, "")
                self._restore(bag, our, time, event_id, number, value)

    def erase(self, users: Int64) -> None:
        """Lets go of these users' rows."""
        for picks in self._picks:
            for user in users.tolist():
                picks.pop(user, None)

    def texts(self, users: Int64) -> Int64:
        """Codes of all texts that are the value of a row of one of these users."""
        of = set(users.tolist())
        found = {
            value for picks, text in zip(self._picks, self._text) if text
            for user, pick in picks.items() if user in of for _, _, value in pick.rows()
        }  # fmt: skip
        return np.array(sorted(found), np.int64)

    def _restore(self, bag: int, user: int, time: int, event_id: str, number: int, value: int) -> None:
        pick = self._pick(bag, user)
        if isinstance(pick, Frequent):
            pick.add((time, event_id), value, number)
        elif isinstance(pick, Best):
            pick.add(self._key(bag, time, event_id, value), number, value)
        else:
            pick.add(self._key(bag, time, event_id, value), value)

    def dump(self) -> list[Any]:
        """Per bag: (user, time, event_id, leaves or how many, value) of each row."""
        return [
            [
                (user, *(key if self._by_time[bag] else (0, "")), number, str(value))
                for user, pick in picks.items() for key, number, value in pick.rows()
            ]
            for bag, picks in enumerate(self._picks)
        ]

    def load(self, state: list[Any]) -> None:
        for bag, rows in enumerate(state):
            for user, time, event_id, number, text in rows:
                self._restore(bag, user, time, event_id, number, int(text))


def _vector(values: list[int | None]) -> tuple[Array, Bool]:
    numbers = [0 if value is None else value for value in values]
    wide = any(not -(2**63) <= number < 2**63 for number in numbers)
    valid = np.array([value is not None for value in values], np.bool_)
    return np.array(numbers, object if wide else np.int64), valid
