"""Chunks of a load that is not committed yet, by shard, and the journal that says what they hold.

    backfill/journal                                   one line of JSON for the beginning, and one for each batch
    backfill/reservoir/shard-0003/...                  chunks as the reservoir has them

A batch counts once its line is in the journal: its chunks have been flushed before. Whoever begins again after a kill
finds the line or does the batch again. Chunks have the users' numbers that the shards' states gave and will give; so a
journal is of use only as long as the states are those that it began with (`binding`), else all is done anew.

Of rows with the same user, time and event id one is taken, also where the shard has had it from Kafka.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int64
from segmentation.shards import shards_of
from segmentation.state.archive import ROW_BITS, ChunkRef, erased_arrays, of_erased
from segmentation.types import NEVER, Type
from storage.backfill.batches import Batch
from storage.backfill.repeats import Seen
from storage.backfill.shard_log import ShardLog
from storage.chunk_files import Rows
from storage.disk import explained, flush_folder
from storage.files import RefusedRow
from storage.reservoir import Reservoir

#: Rows of a chunk at most.
CHUNK_ROWS = 1 << 18
FOLDER = "backfill"


@dataclass(slots=True)
class Counts:
    """Of all batches: rows taken, repeats, refused, those of erased users."""

    taken: int = 0
    repeated: int = 0
    refused: int = 0
    erased: int = 0


@dataclass(slots=True)
class _Shard:
    log: ShardLog
    reservoir: Reservoir
    refs: list[ChunkRef] = field(default_factory=list)
    new_users: list[str] = field(default_factory=list)
    told: int = 0  # how many of them are in the journal
    erased: dict[int, int] = field(default_factory=dict)  # user's number -> until, µs


class Staging:
    """logs: of the shards, in order. limit: µs, later events are no history. binding: what the shards' states are."""

    def __init__(
        self, storage_url: Path, logs: Sequence[ShardLog], columns: Mapping[str, Type], limit: int, binding: Any
    ) -> None:  # fmt: skip
        self.folder = Path(storage_url) / FOLDER
        self.counts, self.refused = Counts(), list[RefusedRow]()
        self._limit, self._binding = limit, json.loads(json.dumps(binding))  # as the journal has it
        self._done: dict[str, int] = {}  # by the file's digest: its last row that is in the journal
        self._codes: dict[str, int] = {}  # user -> shard, and number in the shard
        self._shards = [
            _Shard(log, Reservoir(self.folder, number, 0, columns)) for number, log in enumerate(logs)
        ]  # fmt: skip
        self._recent: tuple[pa.Array, Int64] = (pa.array([], pa.string()), np.zeros(0, np.int64))
        self._any_erased = any(len(log.shard.erasures) for log in logs)
        self._seen = [Seen(shard.reservoir) for shard in self._shards]
        self.resumed = self._resume()
        self._journal = (self.folder / "journal").open("ab")

    def done(self, digest: str) -> int:
        """The last row of the file that need not be read again; 0 for none."""
        return self._done.get(digest, 0)

    def add(self, batch: Batch, digest: str) -> None:
        """Its rows are in chunks, and in the journal, when this returns. StorageError where the disk is full."""
        before = Counts(**asdict(self.counts))
        table, time = self._history(batch)
        codes = self._numbered(table.column("user_id"))
        owner = (codes >> ROW_BITS).astype(np.int16)
        line: dict[str, Any] = {"file": digest, "end": batch.end, "refs": {}, "users": {}}
        for number, shard in enumerate(self._shards):
            place = np.flatnonzero(owner == number)
            if not len(place):
                continue
            user = codes[place] & ((1 << ROW_BITS) - 1)
            refs = self._write(number, table, place, user, time[place])
            shard.refs += refs
            line["refs"][number] = [asdict(ref) for ref in refs]
        for number, shard in enumerate(self._shards):
            line["users"][number] = shard.new_users[shard.told :]
            shard.told = len(shard.new_users)
        self.counts.refused += len(batch.refused)
        self.refused += batch.refused
        line["counts"] = {name: value - getattr(before, name) for name, value in asdict(self.counts).items()}
        self._write_line(line)
        self._done[digest] = batch.end

    def staged(self, number: int) -> tuple[list[ChunkRef], list[str], Reservoir]:
        """(chunks, the users that the shard does not know yet in the order of their numbers, where they are)."""
        shard = self._shards[number]
        return shard.refs, shard.new_users, shard.reservoir

    def newest(self, number: int) -> Int64:
        """int64[users, the new ones included]: each one's latest event in the chunks, µs; NEVER for none."""
        shard = self._shards[number]
        newest = np.full(shard.log.users + len(shard.new_users), NEVER, np.int64)
        for ref in shard.refs:
            chunk = shard.reservoir.open(ref)
            np.maximum.at(newest, chunk.key >> ROW_BITS, chunk.time[chunk.key & ((1 << ROW_BITS) - 1)])
        return newest

    def close(self) -> None:
        self._journal.close()

    def discard(self) -> None:
        """After the commit, or where nothing of it is of use."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # rows

    def _history(self, batch: Batch) -> tuple[pa.Table, Int64]:
        table = batch.rows
        time = _micros(table)
        late = time > self._limit
        if late.any():
            batch.refused.append(RefusedRow(
                batch.end, "not_history",
                f"{int(late.sum()):,} rows of the batch that ends here are later than what has been counted already; "
                "send those with `tidegate replay`",
            ))  # fmt: skip
            self.counts.refused += int(late.sum()) - 1
            keep = ~late
            table, time = table.filter(pa.array(keep)), time[keep]
        return table, time

    def _numbered(self, users: pa.ChunkedArray) -> Int64:
        """int64[rows]: shard << ROW_BITS | number; new users get the next numbers of their shard."""
        array = users.combine_chunks() if users.num_chunks != 1 else users.chunk(0)
        places = array.indices.to_numpy(zero_copy_only=False)
        there = np.zeros(len(array.dictionary), np.bool_)
        there[places] = True
        ids = array.dictionary.filter(pa.array(there))
        codes = np.full(len(there), -1, np.int64)
        codes[there] = self._codes_of(ids)
        return np.asarray(codes[places], np.int64)

    def _codes_of(self, ids: pa.Array) -> Int64:
        """int64[n], of different users. Most are those of the batch before: looked up without a Python string each."""
        found = np.full(len(ids), -1, np.int64)
        before, theirs = self._recent
        if len(before):
            place = pc.index_in(ids, value_set=before).fill_null(-1).to_numpy(zero_copy_only=False)
            found = np.where(place >= 0, theirs[place], -1)
        other = np.flatnonzero(found < 0)
        if len(other):
            find, texts = self._codes.get, ids.take(pa.array(other)).to_pylist()
            known = np.array([find(user_id, -1) for user_id in texts], np.int64)
            new = np.flatnonzero(known < 0).tolist()
            known[new] = self._new_users([texts[place] for place in new])
            found[other] = known
        self._recent = ids, found
        return found

    def _new_users(self, user_ids: Sequence[str]) -> list[int]:
        codes = []
        finds = [shard.log.find if shard.log.users else None for shard in self._shards]
        for user_id, number in zip(user_ids, shards_of(user_ids, len(self._shards)).tolist()):
            find = finds[number]
            found = -1 if find is None else find(user_id)
            if found < 0:
                shard = self._shards[number]
                found = shard.log.users + len(shard.new_users)
                shard.new_users.append(user_id)
            codes.append(self._remember(user_id, number, found))
        return codes

    def _remember(self, user_id: str, shard: int, number: int) -> int:
        if self._any_erased and (until := self._shards[shard].log.erased_until(user_id)) > NEVER:
            self._shards[shard].erased[number] = until
        code = self._codes[user_id] = shard << ROW_BITS | number
        return code

    def _write(self, number: int, table: pa.Table, place: Int64, user: Int64, time: Int64) -> list[ChunkRef]:
        shard = self._shards[number]
        if shard.erased:
            _, erased = of_erased(user.astype(np.int32), time, *erased_arrays(shard.erased))
            self.counts.erased += int(erased.sum())
            place, user, time = place[~erased], user[~erased], time[~erased]
        if len(time) > 1 and not (time[1:] >= time[:-1]).all():
            order = np.argsort(time, kind="stable")
            place, user, time = place[order], user[order], time[order]
        ids = table.column("event_id")
        again = self._again(number, user, time, lambda rows: ids.take(pa.array(place[rows])).to_pylist())
        if again.any():
            self.counts.repeated += int(again.sum())
            place, user, time = place[~again], user[~again], time[~again]
        self.counts.taken += len(place)
        refs = []
        for first in range(0, len(place), CHUNK_ROWS):
            cut = slice(first, first + CHUNK_ROWS)
            rows = _rows(table.take(pa.array(place[cut])), user[cut], time[cut])
            refs.append(shard.reservoir.arrived([rows], late=False))
            self._seen[number].add(refs[-1], user[cut], time[cut])
        return refs

    def _again(self, number: int, user: Int64, time: Int64, ids: Any) -> Bool:
        return self._seen[number].repeats(user, time, ids) | self._shards[number].log.repeats(user, time, ids)

    # the journal

    def _resume(self) -> bool:
        """Takes up what the journal says, if it is of these states; else begins a new one."""
        lines = list(_lines(self.folder / "journal"))
        if not lines or lines[0].get("binding") != self._binding or lines[0].get("limit") != self._limit:
            shutil.rmtree(self.folder, ignore_errors=True)
            with explained(self.folder, "folder"):
                self.folder.mkdir(parents=True)
                begun = json.dumps({"binding": self._binding, "limit": self._limit}).encode() + b"\n"
                with (self.folder / "journal").open("wb") as file:
                    file.write(begun)
                    file.flush()
                    os.fsync(file.fileno())
                flush_folder(self.folder)
            return False
        for line in lines[1:]:
            self._done[line["file"]] = line["end"]
            for number, shard in enumerate(self._shards):
                shard.new_users += line["users"].get(str(number), [])
                shard.refs += [ChunkRef(**ref) for ref in line["refs"].get(str(number), [])]
            for name, value in line["counts"].items():
                setattr(self.counts, name, getattr(self.counts, name) + value)
        for number, shard in enumerate(self._shards):
            shard.told = len(shard.new_users)
            for place, user_id in enumerate(shard.new_users):
                self._remember(user_id, number, shard.log.users + place)
            last = max((int(ref.file.split("-")[1]) for ref in shard.refs), default=0)
            shard.reservoir.continue_after(last)
            for ref in shard.refs:
                self._seen[number].add(ref, *_of_chunk(shard.reservoir, ref))
        return True

    def _write_line(self, line: Mapping[str, Any]) -> None:
        with explained(self.folder / "journal", "journal"):
            self._journal.write(json.dumps(line).encode() + b"\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Whole ones; a last one that a kill cut off is taken away."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    for line in whole.splitlines():
        yield json.loads(line)


def _of_chunk(reservoir: Reservoir, ref: ChunkRef) -> tuple[Int64, Int64]:
    """(user, time) of its rows, in their order."""
    chunk = reservoir.open(ref)
    user = np.empty(ref.rows, np.int64)
    user[chunk.key & ((1 << ROW_BITS) - 1)] = chunk.key >> ROW_BITS
    return user, np.array(chunk.time)


def _rows(table: pa.Table, user: Int64, time: Int64) -> Rows:
    """As a chunk has them: known when they happened, of no partition."""
    n = len(time)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        columns[name] = _compact(column) if pa.types.is_dictionary(column.type) else column
    columns["user_id"] = columns["user_id"].cast(pa.string())  # a dictionary would be written with each group of rows
    none: NDArray[np.int32] = np.full(n, -1, np.int32)
    columns |= {
        "known_at": columns["event_time"], "_user": pa.array(user.astype(np.int32)), "_partition": pa.array(none),
        "_offset": pa.array(np.full(n, -1, np.int64)),
    }  # fmt: skip
    return Rows(pa.table(columns), time, user.astype(np.int32))


def _compact(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """With only those texts that occur."""
    used = pc.unique(column.indices.drop_null()).to_numpy(zero_copy_only=False)
    if len(used) == len(column.dictionary):
        return column
    new = np.zeros(len(column.dictionary), np.int32)
    new[used] = np.arange(len(used), dtype=np.int32)
    codes = column.indices
    numbers = new[codes.fill_null(0).to_numpy(zero_copy_only=False)]
    mask = codes.is_null().to_numpy(zero_copy_only=False) if codes.null_count else None
    return pa.DictionaryArray.from_arrays(pa.array(numbers, mask=mask), column.dictionary.take(pa.array(used)))


def _micros(table: pa.Table) -> Int64:
    return np.asarray(table.column("event_time").cast(pa.int64()).to_numpy(), np.int64)
