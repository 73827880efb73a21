"""The reservoir: a shard's older events as Parquet files below `storage_url`.

    reservoir/shard-0003/00000017-00000042.parquet     rows, in order of event time
    reservoir/shard-0003/00000017-00000042.index       their times, and from users to rows

A file's name is the writer's fencing token and a number, so an engine that was shut out never
touches its successor's files. Files are written under another name, flushed and renamed; whole
under their own name or absent, and never written again. Their digests are in the shard's saved
state, and are compared when a file is opened for the first time. Any Parquet reader reads them:

    SELECT * FROM read_parquet('.tidegate/storage/reservoir/*/*.parquet')
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from xxhash import xxh3_128

from segmentation.compile.plan import profile_column
from segmentation.events.rows import Int64
from segmentation.events.schema import Schema
from segmentation.state.archive import ROW_BITS, ChunkRef, FoundRows, StoredRows, erased_arrays, of_erased
from segmentation.types import Type
from storage import chunk_files
from storage.chunk_files import GROUP_ROWS, Rows
from storage.disk import StorageError, explained, flush_folder

_NAME = re.compile(r"((\d{8,})-(\d{8,}))\.(?:parquet|index)(?:\.tmp)?")
_FIXED = ("user_id", "event_id", "event_time")
_HEADER = 16
_MAGIC = b"TIDEIDX1"


class ReservoirError(StorageError):
    """A chunk is missing or damaged; the message names it."""


class Writing:
    """A chunk that is being written (segmentation.state.archive.Pending)."""

    def __init__(self, future: "Future[ChunkRef | None]", taken: Callable[[], None]) -> None:
        self._future, self._taken = future, taken

    def done(self) -> bool:
        return self._future.done()

    def result(self) -> ChunkRef | None:
        ref = self._future.result()
        self._taken()
        return ref


class OpenChunk:
    """See segmentation.state.archive.Chunk. The index is mapped, not read."""

    def __init__(self, path: Path, columns: Mapping[str, Type], group_rows: int) -> None:
        self._path, self._columns, self._group_rows = path, columns, group_rows
        index = np.memmap(path.with_suffix(".index"), np.int64, "r", _HEADER)
        self.time: Int64
        self.key: Int64
        self.time, self.key = index.reshape(2, -1)
        self._file: chunk_files.ChunkFile | None = None

    def read(self, group: int, columns: Sequence[str], event_ids: bool) -> FoundRows:
        first = group * self._group_rows
        with _damage(self._path):
            return self._rows().read(group, self.time[first : first + self._group_rows], columns, event_ids)

    def event_ids(self, group: int) -> NDArray[np.object_]:
        with _damage(self._path):
            return self._rows().event_ids(group)

    def _rows(self) -> chunk_files.ChunkFile:
        if self._file is None:
            self._file = chunk_files.ChunkFile(self._path, self._columns)
        return self._file


class Reservoir:
    """One shard's chunks (segmentation.state.archive.Archive), for its one writer.

    columns: the declared columns of events but user_id, event_id and event_time. pool: where files
    are written; None writes at once. first_number: files are numbered from the next one. read_only: for who only
    looks, beside the writer: a log above it writes nothing. A file from before a column was declared has NULL there.
    """

    def __init__(
        self, storage_url: Path, shard: int, token: int, columns: Mapping[str, Type],
        pool: ThreadPoolExecutor | None = None, group_rows: int = GROUP_ROWS, first_number: int = 0,
        read_only: bool = False,
    ) -> None:  # fmt: skip
        self.read_only = read_only
        self.group_rows = group_rows
        self.folder = folder_of(storage_url, shard)
        self.columns = columns
        self._token, self._pool = token, pool
        self._number = first_number
        self._known: set[str] = set()  # files whose digests were compared
        self._unfinished: set[str] = set()

    def write(self, rows: StoredRows, late: bool) -> "Writing":
        return self._submit(lambda path: self._written(path, chunk_files.rows_of(rows, self.columns), late=late))

    def merge(self, refs: Sequence[ChunkRef], without: Mapping[int, int]) -> "Writing":
        """One chunk of several, without the rows of each of these users up to a time (µs)."""
        refs = list(refs)

        def work(path: Path) -> ChunkRef | None:
            rows = self._read_whole(refs)
            rows = _without(rows, without)
            if not len(rows):
                return None
            level = refs[0].level + (len(refs) > 1)
            return self._written(path, rows.in_order(), level=level, late=refs[0].late)

        return self._submit(work)

    def leaving(
        self, ref: ChunkRef, owner: Int64, number: Int64, parts: int, without: Mapping[int, int]
    ) -> list[Rows]:
        """owner, number int64[users]: see segmentation.state.archive.Archive."""
        rows = _without(self._read_whole([ref]), without)
        to = owner[rows.user]
        rows = replace(rows, user=number[rows.user].astype(np.int32)).take(np.argsort(to, kind="stable"))
        edges = np.searchsorted(np.sort(to), np.arange(parts + 1)).tolist()
        return [rows.slice(first, last) for first, last in pairwise(edges)]

    def arrived(self, pieces: Sequence[Rows], late: bool) -> ChunkRef:
        return self._written(self._next(), Rows.joined(pieces).in_order(), late=late)

    def take_over(self, other: "Reservoir", ref: ChunkRef) -> ChunkRef:
        """A chunk of another reservoir on the same disk, under a name of this one's; it stays there, too."""
        return self.take_over_all(other, [ref])[0]

    def take_over_all(self, other: "Reservoir", refs: Sequence[ChunkRef]) -> list[ChunkRef]:
        """Several, in their order."""
        found: list[ChunkRef] = []
        with explained(self.folder, "chunk"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for ref in refs:
                path = self._next()
                for theirs, ours in zip(other._files(ref), (path, path.with_suffix(".index"))):
                    os.link(theirs[0], ours)
                found.append(replace(ref, file=path.stem))
            flush_folder(self.folder)
        return found

    def open(self, ref: ChunkRef) -> OpenChunk:
        self._verify(ref)
        with _damage(self._path(ref)):
            return OpenChunk(self._path(ref), self.columns, self.group_rows)

    def check(self, refs: Iterable[ChunkRef]) -> None:
        """Quickly: are all files there, and as long as they were? ReservoirError otherwise."""
        for ref in refs:
            for path, size in self._files(ref):
                try:
                    found = path.stat().st_size
                except OSError as error:
                    raise ReservoirError(
                        f"The chunk {path} cannot be read ({error.strerror}). Does every process see the same "
                        f"storage_url? {_REMEDY}"
                    ) from None
                if found != size:
                    raise ReservoirError(f"The chunk {path} has {found:,} bytes instead of {size:,}. {_REMEDY}")

    def verify(self, ref: ChunkRef) -> None:
        """Every byte; ReservoirError names the file that is not what was written."""
        self.check([ref])
        for path, digest in zip((path for path, _ in self._files(ref)), (ref.digest, ref.index_digest)):
            if _digest(path) != digest:
                raise ReservoirError(f"The chunk {path} is damaged (its digest is not the recorded one). {_REMEDY}")

    def continue_after(self, number: int) -> None:
        """The next file gets the number after this one."""
        self._number = number

    def unfinished(self) -> tuple[int, frozenset[str]]:
        """(the last number given, the files that nobody has taken over yet): for `clean`."""
        return self._number, frozenset(self._unfinished)

    # files

    def _submit(self, work: Callable[[Path], ChunkRef | None]) -> "Writing":
        path = self._next()
        future: Future[ChunkRef | None]
        if self._pool is not None:
            future = self._pool.submit(work, path)
        else:
            future = Future()
            future.set_result(work(path))
        self._unfinished.add(path.stem)
        return Writing(future, lambda: self._unfinished.discard(path.stem))

    def _next(self) -> Path:
        self._number += 1
        return self.folder / f"{self._token:08d}-{self._number:08d}.parquet"

    def _written(self, path: Path, rows: Rows, *, level: int = 0, late: bool = False) -> ChunkRef:
        key = np.sort((rows.user.astype(np.int64) << ROW_BITS) | np.arange(len(rows)))
        index = path.with_suffix(".index")
        header = _MAGIC + len(rows).to_bytes(8, "little")
        with explained(path, "chunk"):
            index_digest = chunk_files.write_bytes(index, [header, rows.time.tobytes(), key.tobytes()])
            digest = chunk_files.write(path, rows, self.group_rows)
            flush_folder(self.folder)
        self._known.add(path.stem)
        return ChunkRef(
            path.stem, len(rows), int(rows.time[0]), int(rows.time[-1]), path.stat().st_size, digest, index_digest,
            level, late,
        )

    def _read_whole(self, refs: Sequence[ChunkRef]) -> Rows:
        for ref in refs:
            self._verify(ref)
        with _damage(self._path(refs[0])):
            return chunk_files.read_whole([self._path(ref) for ref in refs], self.columns)

    def _verify(self, ref: ChunkRef) -> None:
        if ref.file not in self._known:
            self.verify(ref)
            self._known.add(ref.file)

    def _path(self, ref: ChunkRef) -> Path:
        return self.folder / f"{ref.file}.parquet"

    def _files(self, ref: ChunkRef) -> list[tuple[Path, int]]:
        path = self._path(ref)
        return [(path, ref.size), (path.with_suffix(".index"), _HEADER + 16 * ref.rows)]


def _without(rows: Rows, without: Mapping[int, int]) -> Rows:
    _, gone = of_erased(rows.user, rows.time, *erased_arrays(without))
    return rows.where(~gone) if gone.any() else rows


_REMEDY = "Restore the file from a copy, or start with --rebuild."


def columns_of(schema: Schema) -> dict[str, Type]:
    """The columns of events that a reservoir keeps as such."""
    return {name: column.type for name, column in schema.events.items() if name not in _FIXED}


def kept_columns(schema: Schema) -> dict[str, Type]:
    """All that an engine's reservoir keeps, those of users included, whether a definition reads them now or later."""
    return columns_of(schema) | {profile_column(name): column.type for name, column in schema.users.items()}


def clean(storage_url: Path, shard: int, token: int, keep: frozenset[str], until: int) -> int:
    """Deletes files that no saved state needs, and returns how many. token: the caller's. keep: the files
    of the committed state and those being written when it was made; until: the last number given then."""
    deleted = 0
    for path in folder_of(storage_url, shard).glob("*"):
        match = _NAME.fullmatch(path.name)
        if match is None or match[1] in keep:
            continue
        writer, number = int(match[2]), int(match[3])
        if writer < token or (writer == token and number <= until):
            path.unlink(missing_ok=True)
            deleted += 1
    return deleted


def discard(storage_url: Path, shard: int, token: int, after: int) -> None:
    """Deletes what a writer with this token has written with numbers above `after`, and has not committed."""
    for path in folder_of(storage_url, shard).glob("*"):
        match = _NAME.fullmatch(path.name)
        if match and int(match[2]) == token and int(match[3]) > after:
            path.unlink(missing_ok=True)


def clean_beyond(storage_url: Path, shards: int) -> None:
    """Deletes the files of shards that do not exist where there are `shards` of them."""
    for folder in (Path(storage_url) / "reservoir").glob("shard-*"):
        number = folder.name.removeprefix("shard-")
        if number.isdigit() and int(number) >= shards:
            shutil.rmtree(folder, ignore_errors=True)


def folder_of(storage_url: Path, shard: int) -> Path:
    return Path(storage_url) / "reservoir" / f"shard-{shard:04d}"


def _digest(path: Path) -> str:
    state = xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What Parquet says of a file that changed after it was verified."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ReservoirError(f"The chunk {path} cannot be read ({reason}). {_REMEDY}") from error
