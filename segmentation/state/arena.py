"""Running values of cells x users, kept only where something happened.

Cells are grouped into families (cells that the same events touch); the values of one (family,
user) pair lie side by side in a block, made from the family's template on first touch. A user who
never bought has no block for purchases. Where a user's blocks begin stands side by side, too.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import distinct
from segmentation.errors import TidegateError
from segmentation.events.rows import Int32, Int64

Array = NDArray[Any]
_SPILLED = np.iinfo(np.int64).min
SAFE = 2**62
#: Values of one step of a copy.
_AT_ONCE = 1 << 20
#: More values have no int32 address.
_MOST = 2**31 - 1


class Arena:
    """`family` and `slot` int[cells] place each cell; templates[f] is the first content of a block.

    Values are integers of any size: int64 as a rule, and in a side table beyond +-2**62. With a
    narrower `dtype` they must fit it.
    """

    def __init__(
        self, family: Array, slot: Array, templates: list[list[int]], dtype: type[np.signedinteger[Any]] = np.int64
    ) -> None:
        self.family = family
        self.slot = slot
        self.templates = [np.array(template, dtype) for template in templates]
        self._width = np.array([len(template) for template in templates], np.int64)
        self._block = np.full((1024, len(templates)), -1, np.int32)  # by user and family, -1: none
        self._data: Array = np.zeros(1024, dtype)
        self._used = 0
        self._big: dict[int, int] = {}

    def addresses(self, cell: Array, user: Array) -> Int64:
        """Where the values of (cell, user) are; makes the blocks that do not exist yet."""
        family = self.family[cell]
        self._make_room(user)
        block = self._block[user, family]
        if (missing := block < 0).any():
            self._allot(family[missing], user[missing])
            block = self._block[user, family]
        return block.astype(np.int64) + self.slot[cell]

    def peek(self, cell: int, user: Array, nth: int = 0, *, raw: bool = False) -> Array:
        """The values of one cell (of its nth slot) without making blocks."""
        family = int(self.family[cell])
        slot = int(self.slot[cell]) + nth
        block = self._blocks(family, user)
        here = block >= 0
        address = np.where(here, block + slot, 0)
        return np.where(here, self.raw(address) if raw else self.get(address), self.templates[family][slot])

    def get(self, address: Array) -> Array:
        values = self._data[address]
        if self._big and (spilled := np.flatnonzero(values == _SPILLED)).size:
            values = values.astype(object)
            values[spilled] = [self._big[a] for a in address[spilled].tolist()]
        return values

    def put(self, address: Array, values: Array) -> None:
        if values.dtype != object and not self._big:
            self._data[address] = values
            return
        for a, value in zip(address.tolist(), values.tolist()):
            if -SAFE < value < SAFE:
                self._big.pop(a, None)
                self._data[a] = value
            else:
                self._big[a] = value
                self._data[a] = _SPILLED

    def raw(self, address: Array) -> Int64:
        """int64 as it lies there: for cells that never spill."""
        return self._data[address]

    def put_raw(self, address: Array, values: Int64) -> None:
        self._data[address] = values

    def existing(self, cell: int, users: Array) -> Int64:
        """Where the values of one cell are, for those of the users who have any."""
        block = self._blocks(int(self.family[cell]), users)
        return block[block >= 0] + int(self.slot[cell])

    def adopt(self, other: "Arena", theirs: Int64, ours: Int64) -> None:
        """What `other`, an arena of the same cells, holds of its users `theirs`, for our users `ours`.

        int64[n] both; ours have no values here yet."""
        self._make_room(ours)
        for family, width in enumerate(self._width.tolist()):
            block = other._blocks(family, theirs)
            here = block >= 0
            source = block[here]
            first = self._room(len(source) * width)
            self._block[ours[here], family] = first + np.arange(len(source)) * width
            target = self._data[first : first + len(source) * width].reshape(len(source), width)
            some = max(1, _AT_ONCE // width)
            for start in range(0, len(source), some):
                rows = source[start : start + some, None] + np.arange(width)
                target[start : start + some] = other._data[rows]
            if other._big:
                for row, column in zip(*(places.tolist() for places in np.nonzero(target == _SPILLED))):
                    # A value that is stored raw may look like a mark without being one.
                    value = other._big.get(int(source[row]) + column)
                    if value is not None:
                        self._big[first + row * width + column] = value

    def _blocks(self, family: int, users: Array) -> Int64:
        """Where each user's block begins, -1 for none."""
        inside = users < len(self._block)
        return np.where(inside, self._block[np.where(inside, users, 0), family], -1).astype(np.int64)

    def erase(self, users: Int64) -> None:
        """These users (int64[n]) have no values any more; their blocks' room stays empty."""
        users = users[users < len(self._block)]
        for family, width in enumerate(self._width.tolist()):
            block = self._block[users, family]
            address = (block[block >= 0, None] + np.arange(width)).ravel()
            self._data[address] = 0
            for place in address.tolist() if self._big else ():
                self._big.pop(place, None)
            self._block[users, family] = -1

    def _make_room(self, users: Array) -> None:
        """For the blocks of these users."""
        if users.size and (most := int(users.max()) + 1) > len(self._block):
            before = len(self._block)
            self._block = extended(self._block, larger(before, most))
            self._block[before:] = -1

    def _allot(self, family: Array, user: Array) -> None:
        pair = distinct(family.astype(np.int64) * len(self._block) + user)
        family, user = np.divmod(pair, len(self._block))
        width = self._width[family]
        start = self._room(int(width.sum())) + np.cumsum(width) - width
        self._block[user, family] = start
        for f in distinct(family).tolist():
            at = start[family == f]
            self._data[at[:, None] + np.arange(self._width[f])] = self.templates[f]

    def _room(self, values: int) -> int:
        """The first address of that many new values."""
        first, end = self._used, self._used + values
        if end > _MOST:
            raise TidegateError(
                f"One shard would keep more than {_MOST:,} values of users: stop the engine and give it "
                "more shards with `tidegate reshard`. Nothing is lost."
            )
        if end > len(self._data):
            self._data = extended(self._data, min(_MOST, larger(len(self._data), end)))
        self._used = end
        return first

    # what the C code works on

    @property
    def spills(self) -> bool:
        """Is there a value that does not lie in the data?"""
        return bool(self._big)

    def places(self, users: Array) -> tuple[Int32, Array, int]:
        """(table of blocks, int32, users one after the other; data; how much of it is used), with room for these
        users in the table. C code writes into both, and makes blocks; `taken` then tells how much is used."""
        self._make_room(users)
        assert self._block.flags.c_contiguous, "else C would write into a copy"
        return self._block.reshape(-1), self._data, self._used

    def taken(self, used: int) -> None:
        self._used = used

    def grow(self, used: int) -> None:
        """Makes room for that many values."""
        before = self._used
        self._room(used - before)
        self._used = before

    def dump(self) -> dict[str, Any]:
        big = [(address, str(value)) for address, value in self._big.items()]
        return {"blocks": self._block, "data": self._data[: self._used], "big": big}

    def load(self, state: dict[str, Any]) -> None:
        self._block = np.array(saved_blocks(state), np.int32, order="C")
        self._used = len(state["data"])
        self._data = np.concatenate((state["data"], np.zeros(1024, self._data.dtype)))
        self._big = {int(a): int(v) for a, v in state["big"]}


def saved_blocks(state: dict[str, Any]) -> Array:
    """Of what `dump` gave: int[users, families], below 0 where a user has no block of the family."""
    # Before there was "blocks" families came one after the other.
    blocks: Array = state["blocks"] if "blocks" in state else state["block"].T
    return blocks


def larger(room: int, needed: int) -> int:
    """To how much an array with that much room grows: not often, and without taking far more than is needed."""
    return max(needed, room + (room >> 2 if room > 1 << 16 else room))


def extended(array: Array, room: int) -> Array:
    """The array with room for so many items, those that it did not have being anything; it is not to be used itself any
    more, for what comes back may be the same memory seen further.

    With many users every value is a wait for memory, and a longer one where the processor must find the page first. So
    what grows gets new memory, for which numpy asks in large pages; what is made longer where it is, is left in small
    ones. It gets twice as much, so that it is seldom copied; what is not used yet takes no memory.
    """
    whole = array.base
    if whole is None or len(whole) < room or whole.shape[1:] != array.shape[1:]:
        whole = np.empty((2 * room, *array.shape[1:]), array.dtype)
        whole[: len(array)] = array
    longer: Array = whole[:room]
    return longer


def families(kinds: list[str], widths: list[int]) -> tuple[Array, Array, list[str]]:
    """Places cells: family int[cells], first slot int[cells], and the families' names in order."""
    names: dict[str, int] = {}
    used: list[int] = []
    family, slot = [], []
    for kind, width in zip(kinds, widths):
        number = names.setdefault(kind, len(names))
        if number == len(used):
            used.append(0)
        family.append(number)
        slot.append(used[number])
        used[number] += width
    return np.array(family, np.int64), np.array(slot, np.int64), list(names)
