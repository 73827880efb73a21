"""A shard's events in order of event time, for windows to leave by and repeats to be found in.

Rows that come nearly in order are put into one sorted body; late ones go to small sorted runs, merged
so that there are never more than a logarithm of them. Both happens when the log is read, with all that came since.
All columns are parallel arrays. With an archive the older rows move to its chunks, so that memory does not grow with
the windows; then `wide` columns are kept for the files only.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import distinct
from segmentation.events.rows import Int64
from segmentation.state.archive import Pending, of_erased
from segmentation.state.body import Body, Fresh, in_order, merged
from segmentation.state.chunks import Chunks
from segmentation.state.chunks import Columns as Columns
from segmentation.state.lost import Lost
from segmentation.state.order import rows_at
from segmentation.types import FOREVER, NEVER

Array = NDArray[Any]
#: Rows of a chunk; one is cut off when twice as many wait that came in time for it.
CHUNK_ROWS = 1 << 16
#: Rows that came after their time's chunk was written, until they get one of their own.
LATE_ROWS = CHUNK_ROWS // 4
#: Chunks that may await their writing before the log waits for the disk.
WRITING = 2
#: More rows of chunks than this are not read through for some users' sake.
LONG_ROWS = 4 * CHUNK_ROWS
#: Pieces that may come before they are put in order without anybody's reading.
FRESH = 16


class Log:
    """dtypes: of the columns that are asked for, `time` (int64 µs), `user` and `event_id` among them.
    wide: of further ones that only the archive gets; chunks: None keeps everything in memory."""

    def __init__(
        self, dtypes: dict[str, np.dtype[Any]], wide: dict[str, np.dtype[Any]] | None = None,
        chunks: Chunks | None = None,
    ) -> None:  # fmt: skip
        self.dtypes = dtypes
        self._all = dtypes | (wide or {})
        self._fresh: list[Fresh] = []  # have not been put anywhere yet
        self._body = Body(self._all)
        self._runs: list[Columns] = []
        self.chunks = chunks
        self._writing: list[tuple[Columns, Pending]] = []
        self._cut_at = NEVER  # rows before it that arrive now are late for their chunk
        self._oldest = FOREVER  # no row that is in no chunk is older than that, µs
        self.lost = Lost()
        self.dropped_before = NEVER  # of rows from before this time (µs) some may have been forgotten

    def append(self, rows: Columns) -> None:
        """Takes rows in any order of time, with all columns."""
        fresh = Fresh.of(rows)
        if not len(fresh.time):
            return
        self._fresh.append(fresh)
        self._oldest = min(self._oldest, int(fresh.time[0]))
        if len(self._fresh) >= FRESH:
            self._place()

    def _place(self) -> None:
        """Puts what came into the body and the runs, and what has become too much there into files."""
        if not self._fresh:
            return
        rows = in_order(self._fresh, self._all)
        self._fresh.clear()
        if early := self._body.put(rows, self._cut_at):
            self._runs.append({name: column[:early].copy() for name, column in rows.items()})
            while len(self._runs) > 1 and len(self._runs[-1]["time"]) * 2 > len(self._runs[-2]["time"]):
                self._runs.append(merged([self._runs.pop(), self._runs.pop()]))
        if self.chunks is not None and not self.chunks.archive.read_only:
            self._collect(self.chunks)
            while self.waiting - self._late() >= 2 * CHUNK_ROWS:
                self._cut(self.chunks)
            if self._late() >= LATE_ROWS:
                self._write_late(self.chunks)

    def between(self, first: int, last: int) -> Iterator[Columns]:
        """Rows with first <= time < last, as views, each piece in order of time."""
        if first >= last or last <= self.oldest:
            return
        self._place()
        if self.chunks is not None:
            yield from self.chunks.between(first, last)
        yield from self._in_memory(first, last)

    def of_users(self, users: Int64, first: int, last: int) -> Iterator[Columns]:
        """Like `between`, but of chunks at least the rows of `users` (sorted, distinct) and perhaps no others."""
        if first >= last or last <= self.oldest:
            return
        self._place()
        if self.chunks is not None:
            yield from self.chunks.of_users(users, first, last)
        yield from self._in_memory(first, last)

    def is_long(self, first: int, last: int) -> bool:
        """Is there so much with first <= time < last that the rows of some users are better looked up?"""
        return self.chunks is not None and self.chunks.rows_between(first, last) > LONG_ROWS

    def _in_memory(self, first: int, last: int) -> Iterator[Columns]:
        time = self._body.time()
        a, b = np.searchsorted(time, (first, last), "left").tolist()
        if a < b:
            piece = self._body.slice(a, b)
            yield {name: piece[name] for name in self.dtypes}
        for run in self._pieces():
            a, b = np.searchsorted(run["time"], (first, last), "left").tolist()
            if a < b:
                yield {name: run[name][a:b] for name in self.dtypes}

    def _pieces(self) -> list[Columns]:
        """Sorted pieces in memory beside the body."""
        return [*self._runs, *(rows for rows, _ in self._writing)]

    def same(self, user: Int64, time: Int64) -> Columns:
        """`time`, `user` and `event_id` of at least all rows that agree with one of (user, time), n pairs, in both."""
        times = distinct(time)
        parts: list[Columns] = []
        if self.chunks is not None:
            parts += self.chunks.same(user, time)
        if len(body := self._body.time()) and times[-1] >= body[0]:
            rows = rows_at(body, times)
            if rows.size:
                whole = self._body.slice(0, len(self._body))
                parts.append({name: whole[name][rows] for name in ("time", "user", "event_id")})
        for run in self._pieces():
            rows = rows_at(run["time"], times)
            if rows.size:
                parts.append({name: run[name][rows] for name in ("time", "user", "event_id")})
        for fresh in self._fresh:
            if times[-1] < fresh.time[0] or times[0] > fresh.time[-1]:
                continue
            rows = fresh.order[rows_at(fresh.time, times)]
            if rows.size:
                parts.append({name: fresh.rows[name][rows] for name in ("time", "user", "event_id")})
        return joined(parts, {name: self.dtypes[name] for name in ("time", "user", "event_id")})

    def joined(self, parts: list[Columns]) -> Columns:
        """Parts of the columns that are asked for, one after the other."""
        return joined(parts, self.dtypes)

    def drop_before(self, time: int) -> None:
        """Forgets rows older than `time`: late ones and chunks when it is worth it."""
        if time <= self.oldest:
            return
        self._place()
        old = int(np.searchsorted(self._body.time(), time, "left"))
        forgets = old > 0 or (self.chunks is not None and self.chunks.has_before(time))
        if old:
            self.lost.add(self._body.slice(0, old)["user"])
            self._body.drop(old)
        for i, run in enumerate(self._runs):
            gone = int(np.searchsorted(run["time"], time, "left"))
            if 2 * gone > len(run["time"]):
                forgets = True
                self.lost.add(run["user"][:gone])
                self._runs[i] = {name: column[gone:].copy() for name, column in run.items()}
        self._runs = [run for run in self._runs if len(run["time"])]
        if self.chunks is not None:
            self.lost.add(self.chunks.drop_before(time))
            self._collect(self.chunks)
        if forgets:
            self.dropped_before = max(self.dropped_before, time)
        self._oldest = self._least()

    @property
    def oldest(self) -> int:
        """No row is older than that, µs."""
        return self._oldest if self.chunks is None else min(self._oldest, self.chunks.least)

    def _least(self) -> int:
        """The oldest that is in no chunk, µs, when all are in their places."""
        pieces = [self._body.time(), *(rows["time"] for rows in self._pieces())]
        return min((int(time[0]) for time in pieces if len(time)), default=FOREVER)

    def erase(self, users: Int64, until: Int64) -> Columns:
        """Takes the rows of `users` (int64[n], ascending, distinct) with time <= until[n] (µs) away for good.

        Returns the rows of these users that stay, the columns that are asked for, in any order; event ids
        included, also where chunks are otherwise read without."""
        self._place()
        stay: list[Columns] = [] if self.chunks is None else self.chunks.erase(users, until)
        self.lost.erase(users)

        def left(rows: Columns) -> Columns:
            theirs, gone = of_erased(rows["user"], rows["time"], users, until)
            if not theirs.any():
                return rows
            stay.append({name: rows[name][theirs & ~gone] for name in self.dtypes})
            return {name: column[~gone] for name, column in rows.items()}

        body = self._body.slice(0, len(self._body))
        if (rest := left(body)) is not body:
            self._body = Body(self._all)
            self._body.put(rest, NEVER)
        self._runs = [rows for run in self._runs if len((rows := left(run))["time"])]
        self._writing = [(left(rows), pending) for rows, pending in self._writing]
        return self.joined(stay)

    @property
    def erasing(self) -> bool:
        """Do files still hold rows that were erased?"""
        return self.chunks is not None and self.chunks.erasing

    def held(self) -> Iterator[Columns]:
        """All rows that are in memory, in pieces: those whose codes of texts must stay what they are."""
        self._place()
        if self.chunks is not None:
            self.chunks.let_go()
        yield self._body.slice(0, len(self._body))
        yield from self._pieces()

    def adopt(self, others: Sequence["Log"], rows: list[Columns]) -> None:
        """An empty log takes over what others hold in memory: `rows`, with all columns."""
        self._cut_at = min(other._cut_at for other in others)
        self.dropped_before = max(other.dropped_before for other in others)
        if any(len(part["time"]) for part in rows):
            self.append(joined(rows, self._all))

    def in_memory(self) -> list[Columns]:
        """The rows that are in no chunk, with all columns."""
        self._place()
        return [self._body.slice(0, len(self._body)), *self._pieces()]

    def parts(self) -> Iterator[Columns]:
        """All rows, the columns that are asked for."""
        yield from self.between(NEVER, 2**63 - 1)

    # the archive

    @property
    def waiting(self) -> int:
        """Rows that are in no chunk, nor on their way into one."""
        self._place()
        return len(self._body) + sum(len(run["time"]) for run in self._runs)

    def _late(self) -> int:
        """How many of the rows in memory came after their time's chunk was cut off."""
        return sum(int(np.searchsorted(run["time"], self._cut_at, "left")) for run in self._runs)

    def _cut(self, chunks: Chunks) -> None:
        """Moves the oldest of the rows that came in time for it into a chunk. Of those at its very end, which
        have one time, some may be left behind; they go into the next."""
        begin = [0, *(int(np.searchsorted(run["time"], self._cut_at, "left")) for run in self._runs)]
        times = [self._body.time(), *(run["time"][a:] for run, a in zip(self._runs, begin[1:]))]
        until = int(np.partition(np.concatenate(times), CHUNK_ROWS)[CHUNK_ROWS])
        ends = [int(np.searchsorted(time, until, "left")) for time in times]
        more = CHUNK_ROWS - sum(ends)
        for i, time in enumerate(times):
            tied = min(more, int(np.searchsorted(time, until, "right")) - ends[i])
            ends[i], more = ends[i] + tied, more - tied
        pieces = [self._body.slice(0, ends[0])]
        kept: list[Columns] = []
        for run, a, size in zip(self._runs, begin[1:], ends[1:]):
            pieces.append({name: column[a : a + size] for name, column in run.items()})
            if size < len(run["time"]):
                kept.append({name: np.concatenate((column[:a], column[a + size :])) for name, column in run.items()})
        self._runs, self._cut_at = kept, until
        self._write(chunks, merged(pieces), False)
        self._body.drop(ends[0])

    def _write_late(self, chunks: Chunks) -> None:
        pieces, kept = [], []
        for run in self._runs:
            a = int(np.searchsorted(run["time"], self._cut_at, "left"))
            pieces.append({name: column[:a] for name, column in run.items()})
            if a < len(run["time"]):
                kept.append({name: column[a:].copy() for name, column in run.items()})
        self._runs = kept
        self._write(chunks, merged(pieces), True)

    def _write(self, chunks: Chunks, rows: Columns, late: bool) -> None:
        self._writing.append((rows, chunks.write(rows, late)))
        while len(self._writing) > WRITING:
            self._written(chunks)

    def _collect(self, chunks: Chunks) -> None:
        """Chunks that have been written take the place of their rows in memory."""
        while self._writing and self._writing[0][1].done():
            self._written(chunks)
        chunks.collect()

    def _written(self, chunks: Chunks) -> None:
        _, pending = self._writing.pop(0)
        ref = pending.result()
        assert ref is not None
        chunks.add(ref)

    def files(self) -> tuple[int, frozenset[str]]:
        """(the last number that a file was given, the files that this log needs now)."""
        self._place()
        return (0, frozenset()) if self.chunks is None else self.chunks.files()

    def dump(self) -> dict[str, Any]:
        """Chunks by name, and the rows that are in none."""
        self._place()
        if self.chunks is not None:
            self._collect(self.chunks)
        return {
            "rows": joined(self.in_memory(), self._all), "cut_at": self._cut_at, "lost": self.lost.dump(),
            "dropped": self.dropped_before, "chunks": None if self.chunks is None else self.chunks.dump(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Into an empty log, whose chunks' archive has the files."""
        if state["chunks"] is not None:
            assert self.chunks is not None, "the saved state has chunks: give the shard its archive"
            self.chunks.load(state["chunks"])
        self.lost.load(state.get("lost"))  # not in those of the version before
        self._cut_at, self.dropped_before = state["cut_at"], state.get("dropped", NEVER)
        rows = self._completed(state["rows"])
        late = rows["time"] < self._cut_at
        if late.any():
            some = {name: column[late] for name, column in rows.items()}  # of several pieces, one after the other
            self._runs = [in_order([Fresh.of(some)], self._all)]
            rows = {name: column[~late] for name, column in rows.items()}
        self._oldest = self._least()
        if len(rows["time"]):
            self.append(rows)

    def _completed(self, rows: Columns) -> Columns:
        """With NULL in the columns for the archive that a state from before they were kept does not have."""
        n = len(rows["time"])
        missing = self._all.keys() - self.dtypes.keys() - rows.keys()
        return {name: _nulls(n, self._all[name]) if name in missing else rows[name] for name in self._all}


def _nulls(n: int, dtype: np.dtype[Any]) -> Array:
    return np.full(n, None, object) if dtype.hasobject else np.zeros(n, dtype)


def joined(parts: Sequence[Columns], dtypes: Mapping[str, np.dtype[Any]]) -> Columns:
    """Those columns of the parts, one part after the other; copies only where there are several."""
    if len(parts) == 1:
        return {name: parts[0][name] for name in dtypes}
    return {
        name: np.concatenate([part[name] for part in parts]) if parts else np.empty(0, dtype)
        for name, dtype in dtypes.items()
    }
