"""Some users of one shard as its saved state knows them, with everything that is kept of their events and profiles.

A state file is what had been committed with one step. So a user's membership as of then is told by PostgreSQL, and the
events by the file and the chunks that it names; later commits do not matter. `at` is the instant up to which the state
had applied what concerns a user: the later of his last event's `known_at` and the shard's watermark.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from segmentation.compile.plan import Plan, profile_column
from segmentation.evaluate.costs import Cost, costs
from segmentation.evaluate.erasure import Erasures
from segmentation.events.rows import Int64
from segmentation.state.archive import ROW_BITS, ChunkRef, erased_arrays, of_erased
from segmentation.state.dump import unpack
from segmentation.types import NEVER, Kind, Type
from storage.audit.columns import KNOWN_AT, TIME, VERSION
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.reservoir import Reservoir, folder_of
from storage.saved_events import value_in_state

#: Instants of one sample at most: DuckDB is asked once for each.
INSTANTS = 4
_MICROS = pa.timestamp("us", "UTC")
_SIMPLE = {
    Kind.TEXT: pa.string(), Kind.BIGINT: pa.int64(), Kind.DOUBLE: pa.float64(), Kind.BOOLEAN: pa.bool_(),
    Kind.TIMESTAMPTZ: _MICROS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class User:
    """at: µs; seq: of the last transition up to then; whole: is everything there that ever counted for him?"""

    user_id: str
    at: int
    seq: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """events, versions: tables for `judge.Judging`, of these users alone. erased: who was erased by then, by digest,
    up to when (µs)."""

    record: CheckpointRecord
    users: Sequence[User]
    events: pa.Table
    versions: pa.Table
    erased: Mapping[bytes, int]


class Saved:
    """The state of one shard, loaded. Raises CheckpointError where its file is not what was saved.

    columns: of events, but the three that always exist; users: the columns of profiles. state: what the file says,
    or what has become of it by the step that `record` names."""

    def __init__(
        self, storage_url: Path, record: CheckpointRecord, columns: Mapping[str, Type], users: Mapping[str, Type],
        state: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.record = record
        self._url, self._columns, self._profile = storage_url, columns, users
        self._state: Mapping[str, Any] = unpack(CheckpointStore(storage_url).load(record)) if state is None else state
        self._ids: Sequence[str | None] = self._state["users"]
        # Expiries strictly below the watermark have been applied to everybody.
        self._at: Int64 = np.maximum(self._state["applied"], self._state["applied_to"] - 1)

    @property
    def structure(self) -> str:
        """Of the plan that wrote it (segmentation.compile.plan.structure)."""
        return str(self._state["structure"])

    def sample(self, count: int, draw: Random, wanted: Sequence[str] = ()) -> Sample:
        """`count` users at random, and those of `wanted` who are here. StorageError where a file is gone."""
        here = self._known()
        chosen = here[sorted(draw.sample(range(len(here)), min(count, len(here))))]
        named = [user for user in here.tolist() if self._ids[user] in set(wanted)] if wanted else []
        return self._of(np.union1d(self._few_instants(chosen), np.array(named, np.int64)))

    def costs(self, plan: Plan) -> dict[str, Cost]:
        """By segment; plan: the one that wrote the state."""
        return costs(plan, self._state)

    def of_user(self, user_id: str) -> Sample | None:
        """Of this one; None where nothing is known of him. StorageError where a file is gone."""
        if user_id not in self._ids:
            return None
        number = self._ids.index(user_id)
        return self._of(np.array([number], np.int64)) if self._state["applied"][number] > NEVER else None

    @property
    def state(self) -> Mapping[str, Any]:
        """What was saved, unpacked."""
        return self._state

    @property
    def applied_to(self) -> int:
        """The last instant, µs, that has been applied to everybody; NEVER where there was no event yet."""
        return int(max(self._state["applied_to"] - 1, NEVER))

    def _known(self) -> Int64:
        there = np.array([user_id is not None for user_id in self._ids], np.bool_)
        return np.flatnonzero(there & (self._state["applied"] > NEVER))

    def _few_instants(self, users: Int64) -> Int64:
        """Those of the commonest instants. Who has just had an event stands at an instant of his own."""
        instants, count = np.unique(self._at[users], return_counts=True)
        common = instants[np.argsort(-count, kind="stable")[:INSTANTS]]
        return users[np.isin(self._at[users], common)]

    def _of(self, numbers: Int64) -> Sample:
        lost = self._state["log"].get("lost")
        whole = np.zeros(len(self._ids), np.bool_) if lost is None else ~np.isin(np.arange(len(self._ids)), lost)
        users = []
        for number in numbers.tolist():
            user_id = self._ids[number]
            assert user_id is not None
            users.append(User(user_id, int(self._at[number]), int(self._state["seq"][number]), bool(whole[number])))
        every = pa.concat_tables([self._in_state(numbers), *self._in_files(numbers)])
        versions = pc.is_null(every["event_type"])
        events = every.filter(pc.invert(versions)).drop_columns([profile_column(name) for name in self._profile])
        erasures = Erasures()
        if "erasures" in self._state:  # not in those of an older version
            erasures.load(self._state["erasures"])
        versions_of = self._versions(every.filter(versions))
        return Sample(self.record, users, events, versions_of, dict(erasures.items()))

    def _versions(self, rows: pa.Table) -> pa.Table:
        table = {
            "user_id": rows["user_id"], TIME: rows["event_time"].cast(pa.int64()),
            VERSION: pc.utf8_slice_codeunits(rows["event_id"], 1), KNOWN_AT: rows[KNOWN_AT],
        }  # fmt: skip
        return pa.table(table | {name: rows[profile_column(name)] for name in self._profile})

    @property
    def _schema(self) -> dict[str, pa.DataType]:
        named = {profile_column(name): type_ for name, type_ in self._profile.items()}
        declared = {name: arrow_type(type_) for name, type_ in {**self._columns, **named}.items()}
        return {"user_id": pa.string(), "event_id": pa.string(), "event_time": _MICROS} | declared | {
            KNOWN_AT: pa.int64()
        }  # fmt: skip

    def _in_state(self, numbers: Int64) -> pa.Table:
        rows, texts = self._state["log"]["rows"], self._state["texts"]
        places = np.flatnonzero(np.isin(rows["user"], numbers)).tolist()
        found: dict[str, list[Any]] = {
            "user_id": [self._ids[user] for user in rows["user"][places].tolist()],
            "event_id": rows["event_id"][places].tolist(), "event_time": rows["time"][places].tolist(),
            KNOWN_AT: rows["known"][places].tolist(),
        }  # fmt: skip
        for name, type_ in self._types():
            found[name] = [value_in_state(rows, name, row, type_, texts) for row in places]
        return pa.table({name: pa.array(found[name], type_) for name, type_ in self._schema.items()})

    def _types(self) -> list[tuple[str, Type]]:
        return [*self._columns.items(), *((profile_column(name), type_) for name, type_ in self._profile.items())]

    def _in_files(self, numbers: Int64) -> list[pa.Table]:
        chunks = self._state["log"]["chunks"] or {"refs": [], "erased": []}
        erased = erased_arrays(dict(chunks["erased"]))
        return [self._in_file(ChunkRef(**ref), numbers, erased) for ref in chunks["refs"]]

    def _in_file(self, ref: ChunkRef, numbers: Int64, erased: tuple[Int64, Int64]) -> pa.Table:
        path = folder_of(self._url, self.record.shard) / f"{ref.file}.parquet"
        reservoir = Reservoir(self._url, self.record.shard, 0, self._columns)
        reservoir.check([ref])
        key = np.memmap(path.with_suffix(".index"), np.int64, "r", 16).reshape(2, -1)[1]
        edges = [np.searchsorted(key, (numbers + after) << ROW_BITS).tolist() for after in (0, 1)]
        mine = [key[first:last] for first, last in zip(*edges)]
        rows = np.sort(np.concatenate([np.zeros(0, np.int64), *mine]) & ((1 << ROW_BITS) - 1))
        if not len(rows):
            return pa.schema(list(self._schema.items())).empty_table()
        file = pq.ParquetFile(path)
        size = file.metadata.row_group(0).num_rows
        groups = np.unique(rows // size)
        names = [name for name in self._schema if name in file.schema_arrow.names]
        table = file.read_row_groups(groups.tolist(), [*names, "known_at", "_user"], use_threads=False)
        table = table.take(pa.array(np.searchsorted(groups, rows // size) * size + rows % size))
        time = table["event_time"].cast(pa.int64()).to_numpy()
        _, gone = of_erased(table["_user"].to_numpy(), time, *erased)
        table = table.filter(pa.array(~gone))
        return pa.table({
            name: table["known_at"].cast(type_) if name == KNOWN_AT
            else table[name].cast(type_) if name in names else pa.nulls(len(table), type_)
            for name, type_ in self._schema.items()
        })  # fmt: skip

    def verify(self) -> None:
        """Reads every byte of the shard's chunks; ReservoirError names the damaged one."""
        reservoir = Reservoir(self._url, self.record.shard, 0, self._columns)
        for ref in (self._state["log"]["chunks"] or {"refs": []})["refs"]:
            reservoir.verify(ChunkRef(**ref))


def arrow_type(type_: Type) -> pa.DataType:
    return pa.decimal128(type_.precision, type_.scale) if type_.kind is Kind.NUMERIC else _SIMPLE[type_.kind]
