"""The numbers of users: each id gets the next one, forever.

With millions of users a shard spends its time on waiting for the memory that holds them, so the table is in C
(segmentation/native/ids.c), where the look-ups of a poll wait together, and an id takes its own bytes and some twenty
more. The slow twin is a dict. Both are saved as a list of texts, None where an id was forgotten.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Int32, Int64
from segmentation.native import ENABLED, code
from segmentation.state.dictionary import Dictionary

Array = NDArray[Any]


class Users(Protocol):
    """Numbers count up from 0 and are never given again, also where the id was forgotten.

    Of an id that was forgotten the name is "" and `ids` has None; if it comes again it gets a new number. Arrays of
    numbers are integers, and IndexError is raised for one that was not given.
    """

    def __len__(self) -> int:
        """How many numbers were given."""
        ...

    def find(self, user_id: str) -> int:
        """-1 where it was never seen."""
        ...

    def numbers(self, user_ids: list[str], places: Int64 | None = None, /) -> Int64:
        """int64[n]; new ones get the next numbers, in their order. places: of those in the list that are asked for, in
        this order; None: all."""
        ...

    def names(self, numbers: Array) -> list[str]:
        """[n]"""
        ...

    def packed(self, numbers: Array) -> tuple[Int32, bytes] | None:
        """The names in UTF-8, one after the other: where each begins, and the last one ends, [n + 1], and the bytes.
        None where they are too long for int32."""
        ...

    def forget(self, numbers: Array) -> None: ...

    def ids(self) -> list[str | None]:
        """By number."""
        ...

    def restore(self, user_ids: Sequence[str | None]) -> None:
        """Only these, as `ids` gave them. ValueError where one is there twice."""
        ...

    def saved(self) -> msgspec.Raw:
        """`ids` as part of a state (segmentation.state.dump)."""
        ...


class NativeUsers:
    """bits: how much of the ids' hashes is used, for tests that want them to meet."""

    def __init__(self, bits: int = 32) -> None:
        self._ids = code.Ids(bits)
        self.find, self.numbers, self.ids = self._ids.find, self._ids.numbers, self._ids.all

    def __len__(self) -> int:
        return len(self._ids)

    def names(self, numbers: Array) -> list[str]:
        return self._ids.names(np.ascontiguousarray(numbers, np.int64))

    def packed(self, numbers: Array) -> tuple[Int32, bytes] | None:
        return self._ids.packed(np.ascontiguousarray(numbers, np.int64))

    def forget(self, numbers: Array) -> None:
        self._ids.forget(np.ascontiguousarray(numbers, np.int64))

    def restore(self, user_ids: Sequence[str | None]) -> None:
        self._ids.restore(list(user_ids))

    def saved(self) -> msgspec.Raw:
        return msgspec.Raw(self._ids.saved())


class DictUsers:
    """The slow twin."""

    def __init__(self) -> None:
        self._ids = Dictionary()
        self.find, self.ids = self._ids.find, self._ids.dump

    def __len__(self) -> int:
        return len(self._ids)

    def numbers(self, user_ids: list[str], places: Int64 | None = None, /) -> Int64:
        return self._ids.codes(user_ids if places is None else [user_ids[place] for place in places.tolist()])

    def names(self, numbers: Array) -> list[str]:
        values = self._ids.values
        return [values[number] for number in self._given(numbers)]

    def packed(self, numbers: Array) -> tuple[Int32, bytes] | None:
        names = [name.encode() for name in self.names(numbers)]
        ends = np.cumsum([0, *map(len, names)])
        return (ends.astype(np.int32), b"".join(names)) if ends[-1] <= np.iinfo(np.int32).max else None

    def forget(self, numbers: Array) -> None:
        self._ids.forget(self._given(numbers))

    def restore(self, user_ids: Sequence[str | None]) -> None:
        known = [user_id for user_id in user_ids if user_id is not None]
        if len(set(known)) < len(known):
            raise ValueError("ids: one of them twice")
        self._ids.restore(user_ids)

    def saved(self) -> msgspec.Raw:
        return msgspec.Raw(msgspec.msgpack.encode(self.ids()))

    def _given(self, numbers: Array) -> list[int]:
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < len(self):
            raise IndexError("numbers: one that was not given")
        given: list[int] = numbers.tolist()
        return given


def new_users(user_ids: Sequence[str] = ()) -> Users:
    """Of these."""
    users: Users = NativeUsers() if ENABLED else DictUsers()
    users.numbers(list(user_ids))
    return users
