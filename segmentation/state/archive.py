"""What a shard's log asks of the files that hold its older events; `storage.reservoir` has them.

A chunk is an immutable file of events in order of event time. Beside the rows it has an index:
their times, and from users to rows. Rows are read back in groups of `group_rows`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int32, Int64, TextColumn, ValueColumn
from segmentation.state.users import Users

#: How a chunk's index holds (user, row) in one number, in order: user << ROW_BITS | row.
ROW_BITS = 32


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A chunk and what its bytes must be. file: its name in the archive; first, last: event times, µs;
    size, digest: of the rows' file; index_digest: of the index; level: 0 as written, higher after merges;
    late: of rows that came long after their time."""

    file: str
    rows: int
    first: int
    last: int
    size: int
    digest: str
    index_digest: str
    level: int = 0
    late: bool = False


@dataclass(slots=True)
class StoredRows:
    """n events to be written, in order of time. user int32[n] indexes user_ids; text columns that no
    definition reads may come as object[n] of str or None."""

    time: Int64
    known: Int64
    user: Int32
    user_ids: Users
    event_id: NDArray[np.object_]
    partition: Int32
    offset: Int64
    columns: Mapping[str, TextColumn | ValueColumn | NDArray[np.object_]]


@dataclass(slots=True)
class FoundRows:
    """n events as read back: those columns that were asked for. event_id None: not asked for."""

    time: Int64
    known: Int64
    user: Int32
    event_id: NDArray[np.object_] | None
    columns: dict[str, TextColumn | ValueColumn]


class Chunk(Protocol):
    """An open chunk. time int64[rows], sorted; key int64[rows], sorted: user << ROW_BITS | row."""

    @property
    def time(self) -> Int64: ...
    @property
    def key(self) -> Int64: ...
    def read(self, group: int, columns: Sequence[str], event_ids: bool) -> FoundRows: ...
    def event_ids(self, group: int) -> NDArray[np.object_]: ...


class Pending(Protocol):
    """A chunk that is being written. result waits; None: no row was left."""

    def done(self) -> bool: ...
    def result(self) -> ChunkRef | None: ...


class Leaving(Protocol):
    """Rows of a chunk on their way to another archive of the same columns, in order of time."""

    @property
    def time(self) -> Int64: ...
    def slice(self, first: int, last: int) -> "Leaving": ...


class Archive(Protocol):
    """One shard's files. `write` and `merge` go on beside the caller, who changes nothing of what he gave
    them. merge: the rows of a user with time <= without[user] (µs) are left out; leaving: of a chunk without
    such, the rows by the owners (below `parts`) of their users, with the users' numbers there; arrived: a
    chunk of rows that have left others. `check` raises where a file is missing or cut off. unfinished: the
    last number that a file was given, and the files whose `result` nobody has asked for."""

    @property
    def group_rows(self) -> int: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def read_only(self) -> bool: ...
    def write(self, rows: StoredRows, late: bool) -> Pending: ...
    def merge(self, refs: Sequence[ChunkRef], without: Mapping[int, int]) -> Pending: ...
    def leaving(
        self, ref: ChunkRef, owner: Int64, number: Int64, parts: int, without: Mapping[int, int]
    ) -> Sequence[Leaving]: ...
    def arrived(self, pieces: Sequence[Any], late: bool) -> ChunkRef: ...
    def open(self, ref: ChunkRef) -> Chunk: ...
    def check(self, refs: Sequence[ChunkRef]) -> None: ...
    def unfinished(self) -> tuple[int, frozenset[str]]: ...


def of_erased(user: Int32, time: Int64, users: Int64, until: Int64) -> tuple[Bool, Bool]:
    """bool[n] both: which rows are of `users` (ascending, distinct), and which of them have time <= its until."""
    if not len(users):
        none = np.zeros(len(user), np.bool_)
        return none, none
    place = np.minimum(np.searchsorted(users, user), len(users) - 1)
    theirs = users[place] == user
    return theirs, theirs & (time <= until[place])


def erased_arrays(without: Mapping[int, int]) -> tuple[Int64, Int64]:
    """(users ascending, until of each)."""
    users = sorted(without)
    return np.array(users, np.int64), np.array([without[user] for user in users], np.int64)
