"""The chunks of one shard's log: which there are, and reading the rows that are asked for.

Groups of rows that were read lately are kept, so that a cursor that walks through a chunk reads
each group once. Erased rows, those of a user up to a time, are hidden at once and leave the files
when these have been written again. Chunks of late rows span long times; four of a level are merged into one, so that
no instant lies in more than a few.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import distinct
from segmentation.events.rows import Int64
from segmentation.state.archive import (
    ROW_BITS,
    Archive,
    Chunk,
    ChunkRef,
    FoundRows,
    Pending,
    StoredRows,
    erased_arrays,
    of_erased,
)
from segmentation.types import FOREVER, NEVER

Array = NDArray[Any]
Columns = dict[str, Array]
#: Open chunks, and decoded groups of rows, that are kept.
OPEN_CHUNKS, KEPT_GROUPS = 256, 64
#: Late chunks of one level that become one of the next.
MERGED = 4
_ROW = (1 << ROW_BITS) - 1


@dataclass(slots=True)
class Format:
    """How the shard's columns and the files' go into each other. columns: what is read of the files."""

    stored: Callable[[Columns], StoredRows]
    restored: Callable[[FoundRows], Columns]
    columns: Sequence[str]
    event_ids: bool


@dataclass(slots=True)
class _Job:
    """Chunks that are written again: merged, or without erased rows."""

    inputs: list[ChunkRef]
    pending: Pending


@dataclass(slots=True)
class Chunks:
    archive: Archive
    format: Format
    refs: list[ChunkRef] = field(default_factory=list)
    _first: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    _last: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    _open: "OrderedDict[str, Chunk]" = field(default_factory=OrderedDict)
    _groups: "OrderedDict[tuple[str, int], Columns]" = field(default_factory=OrderedDict)
    _ids: "OrderedDict[tuple[str, int], Array]" = field(default_factory=OrderedDict)
    _erased: dict[int, int] = field(default_factory=dict)  # user -> the time up to which, µs
    _dirty: set[str] = field(default_factory=set)  # chunks that hold erased rows
    _jobs: list[_Job] = field(default_factory=list)
    least: int = FOREVER  # no row of a chunk is older than that, µs
    _writes: int = 0  # chunks that are being written for the first time

    # reading

    def between(self, first: int, last: int) -> Iterator[Columns]:
        """Rows with first <= time < last, in pieces."""
        for ref in self._touching(first, last - 1):
            a, b = np.searchsorted(self._chunk(ref).time, (first, last), "left").tolist()
            while a < b:
                group, start = divmod(a, self.archive.group_rows)
                end = min(b - a + start, self.archive.group_rows)
                yield self._visible(ref, {name: data[start:end] for name, data in self._group(ref, group).items()})
                a += end - start

    def of_users(self, users: Int64, first: int, last: int) -> Iterator[Columns]:
        """Rows of `users` (sorted, distinct) with first <= time < last."""
        for ref in self._touching(first, last - 1):
            chunk = self._chunk(ref)
            a, b = np.searchsorted(chunk.time, (first, last), "left").tolist()
            if a < b:
                rows = _keys(chunk.key, users, np.full(len(users), a), np.full(len(users), b)) & _ROW
                yield from (self._visible(ref, part) for part in self._at(ref, rows))

    def same(self, user: Int64, time: Int64) -> list[Columns]:
        """`time`, `user`, `event_id` of the rows that agree with one of n pairs (user, time) in both."""
        found = []
        for ref in self._touching(int(time.min()), int(time.max())):
            inside = (time >= ref.first) & (time <= ref.last)
            if not inside.any():
                continue
            chunk = self._chunk(ref)
            who, when = user[inside].astype(np.int64), time[inside]
            a, b = np.searchsorted(chunk.time, when, "left"), np.searchsorted(chunk.time, when, "right")
            some = a < b
            keys = distinct(_keys(chunk.key, who[some], a[some], b[some]))
            keys = keys[np.argsort(keys & _ROW, kind="stable")]
            for group, places in _by_group(keys & _ROW, self.archive.group_rows):
                ids = self._group_ids(ref, group)[places % self.archive.group_rows]
                owner = keys[np.searchsorted(keys & _ROW, places)] >> ROW_BITS
                rows: Columns = {"time": chunk.time[places], "user": owner.astype(np.int32), "event_id": ids}
                found.append(self._visible(ref, rows))
        return found

    def everything(self, first: int = NEVER) -> Iterator[Columns]:
        """All rows, with their event ids, group by group, but of no chunk whose rows are all older than `first` (µs);
        nothing is kept for a next time."""
        for ref in (ref for ref in self.refs if ref.last >= first):
            chunk = self.archive.open(ref)
            for group in range(-(-ref.rows // self.archive.group_rows)):
                yield self._visible(ref, self.format.restored(chunk.read(group, self.format.columns, True)))

    def rows_between(self, first: int, last: int) -> int:
        """At least as many rows as there are with first <= time < last: those of the chunks that may hold some."""
        return sum(ref.rows for ref in self._touching(first, last - 1))

    def _at(self, ref: ChunkRef, rows: Int64) -> Iterator[Columns]:
        for group, places in _by_group(np.sort(rows), self.archive.group_rows):
            whole, inside = self._group(ref, group), places % self.archive.group_rows
            yield {name: column[inside] for name, column in whole.items()}

    def _visible(self, ref: ChunkRef, rows: Columns) -> Columns:
        if ref.file not in self._dirty:
            return rows
        _, gone = of_erased(rows["user"], rows["time"], *erased_arrays(self._erased))
        return {name: column[~gone] for name, column in rows.items()}

    def _touching(self, first: int, last: int) -> list[ChunkRef]:
        """Chunks that may hold a row with first <= time <= last."""
        if not self.refs:
            return []
        places = ((self._last >= first) & (self._first <= last)).nonzero()[0].tolist()
        return [self.refs[place] for place in places]

    def _chunk(self, ref: ChunkRef) -> Chunk:
        if ref.file not in self._open:
            self._open[ref.file] = self.archive.open(ref)
            if len(self._open) > OPEN_CHUNKS:
                self._open.popitem(last=False)
        self._open.move_to_end(ref.file)
        return self._open[ref.file]

    def _group(self, ref: ChunkRef, group: int) -> Columns:
        key = ref.file, group
        if key not in self._groups:
            found = self._chunk(ref).read(group, self.format.columns, self.format.event_ids)
            self._groups[key] = self.format.restored(found)
            if len(self._groups) > KEPT_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]

    def _group_ids(self, ref: ChunkRef, group: int) -> Array:
        key = ref.file, group
        if key not in self._ids:
            self._ids[key] = self._chunk(ref).event_ids(group)
            if len(self._ids) > KEPT_GROUPS:
                self._ids.popitem(last=False)
        self._ids.move_to_end(key)
        return self._ids[key]

    # writing

    def write(self, rows: Columns, late: bool) -> Pending:
        self._writes += 1
        return self.archive.write(self.format.stored(rows), late)

    def add(self, ref: ChunkRef) -> None:
        """A chunk has been written. It may still hold rows that were erased meanwhile."""
        self._writes -= 1
        self.refs.append(ref)
        self._mark(ref)
        self._changed()
        self._tidy()

    def receive(self, ref: ChunkRef) -> None:
        """A chunk of rows that others had."""
        self.refs.append(ref)
        self._changed()

    def hidden(self, ref: ChunkRef) -> dict[int, int]:
        """Users of whom rows up to a time (µs) are not to be seen in this chunk."""
        return dict(self._erased) if ref.file in self._dirty else {}

    def has_before(self, time: int) -> bool:
        """Is there a chunk of which every row is older than `time`?"""
        return bool(len(self._last)) and int(self._last.min()) < time

    def drop_before(self, time: int) -> Int64:
        """Forgets chunks of which every row is older; the users who had rows in them, int64[n]."""
        users = [np.zeros(0, np.int64)]
        if self.has_before(time):
            users += [distinct(self._chunk(ref).key >> ROW_BITS) for ref in self.refs if ref.last < time]
            self.refs = [ref for ref in self.refs if ref.last >= time]
            self._changed()
        return np.concatenate(users)

    def erase(self, users: Int64, until: Int64) -> list[Columns]:
        """Hides the rows of users (int64[n], ascending, distinct) with time <= until[n] for good.

        Returns the other rows of these users, event ids included."""
        for user, last in zip(users.tolist(), until.tolist()):
            self._erased[user] = max(last, self._erased.get(user, last))
        for ref in self.refs:
            self._mark(ref)
        stay = []
        for ref in self._touching(int(until.min()) + 1, FOREVER):
            chunk = self._chunk(ref)
            first = np.searchsorted(chunk.time, until, "right")
            rows = _keys(chunk.key, users, first, np.full(len(users), ref.rows)) & _ROW
            for group, places in _by_group(np.sort(rows), self.archive.group_rows):
                whole, inside = self._group(ref, group), places % self.archive.group_rows
                ids = self._group_ids(ref, group)[inside]
                stay.append({name: column[inside] for name, column in whole.items()} | {"event_id": ids})
        self._tidy()
        return stay

    @property
    def erasing(self) -> bool:
        """Is a file of which some rows are erased still there?"""
        return bool(self._erased)

    def let_go(self) -> None:
        """Of the decoded groups: codes of texts are about to change."""
        self._groups.clear()

    def collect(self) -> None:
        """Chunks that have been written again take the place of the old ones."""
        if not self._jobs:
            return
        for job in [job for job in self._jobs if job.pending.done()]:
            self._jobs.remove(job)
            ref = job.pending.result()
            gone = {old.file for old in job.inputs}
            kept = [old for old in self.refs if old.file not in gone]
            still = len(kept) < len(self.refs)  # else all of it was dropped meanwhile
            self.refs = kept
            if ref is not None and still:
                self.refs.append(ref)
                self._mark(ref)
            self._changed()
        self._tidy()

    def _mark(self, ref: ChunkRef) -> None:
        if self._erased:
            users, until = erased_arrays(self._erased)
            chunk = self._chunk(ref)
            end = np.searchsorted(chunk.time, until, "right")
            if len(_keys(chunk.key, users, np.zeros(len(users), np.int64), end)):
                self._dirty.add(ref.file)

    def _tidy(self) -> None:
        """Begins to write again what holds erased rows, and late chunks that have become many."""
        if self.archive.read_only:
            return
        busy = {ref.file for job in self._jobs for ref in job.inputs}
        for ref in self.refs:
            if ref.file in self._dirty and ref.file not in busy:
                self._again([ref])
                busy.add(ref.file)
        levels: dict[int, list[ChunkRef]] = {}
        for ref in self.refs:
            if ref.late and ref.file not in busy:
                levels.setdefault(ref.level, []).append(ref)
        for refs in levels.values():
            if len(refs) >= MERGED:
                self._again(refs[:MERGED])
        if not (self._dirty or self._jobs or self._writes):
            self._erased.clear()

    def _again(self, refs: list[ChunkRef]) -> None:
        self._jobs.append(_Job(refs, self.archive.merge(refs, dict(self._erased))))

    def _changed(self) -> None:
        self._first = np.array([ref.first for ref in self.refs], np.int64)
        self._last = np.array([ref.last for ref in self.refs], np.int64)
        self.least = int(self._first.min(initial=FOREVER))
        here = {ref.file for ref in self.refs}
        self._dirty &= here
        for kept in (self._groups, self._ids):
            for key in [key for key in kept if key[0] not in here]:
                del kept[key]
        for file in [file for file in self._open if file not in here]:
            del self._open[file]

    def files(self) -> tuple[int, frozenset[str]]:
        """(the last number that a file was given, the files that are needed now)."""
        number, unfinished = self.archive.unfinished()
        return number, unfinished | {ref.file for ref in self.refs}

    def dump(self) -> dict[str, Any]:
        refs = [asdict(ref) for ref in self.refs]
        return {"refs": refs, "erased": sorted(self._erased.items()), "dirty": sorted(self._dirty)}

    def load(self, state: dict[str, Any]) -> None:
        self.refs = [ChunkRef(**ref) for ref in state["refs"]]
        self.archive.check(self.refs)
        self._erased, self._dirty = dict(state["erased"]), set(state["dirty"])
        self._changed()
        self._tidy()


def _keys(key: Int64, user: Int64, a: Array, b: Array) -> Int64:
    """Of a chunk's index, the keys of each user's rows within [a, b)."""
    low = np.searchsorted(key, (user << ROW_BITS) | a)
    high = np.searchsorted(key, (user << ROW_BITS) | b)
    return key[_ranges(low, high)]


def _ranges(low: Array, high: Array) -> Int64:
    """The numbers low[0] .. high[0]-1, low[1] .. high[1]-1, ..."""
    count = high - low
    return np.repeat(low - (np.cumsum(count) - count), count) + np.arange(int(count.sum()))


def _by_group(rows: Int64, size: int) -> list[tuple[int, Int64]]:
    """Sorted rows by the group they are in."""
    if not len(rows):
        return []
    group = rows // size
    edges = np.flatnonzero(np.concatenate(([True], group[1:] != group[:-1], [True]))).tolist()
    return [(int(group[a]), rows[a:b]) for a, b in pairwise(edges)]
