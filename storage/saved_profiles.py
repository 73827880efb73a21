"""The latest profiles of some users, as plain values, from a shard's saved state and the files that it names."""

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segmentation.compile.plan import profile_column
from segmentation.state.archive import ChunkRef
from segmentation.types import Type
from storage.reservoir import Reservoir, folder_of
from storage.saved_events import value_in_state

#: The event id of a version begins with it, that of an event never does (segmentation.evaluate.versions).
_VERSION = "\0"


def latest_profiles(
    storage_url: Path, shard: int, state: Mapping[str, Any], users: Collection[str], columns: Mapping[str, Type]
) -> dict[str, dict[str, Any]]:
    """User id -> columns that are not NULL (timestamptz in µs), of those of `users` who have a profile there.

    state: unpacked; columns: those of `users:` that were deployed when it was saved. Versions that the archive has
    let go of are not known. CheckpointError where a file is missing or damaged.
    """
    ids = state["users"]
    wanted = set(users)
    numbers = np.array([number for number, name in enumerate(ids) if name in wanted], np.int64)
    if not numbers.size or not columns:
        return {}
    latest: dict[int, tuple[tuple[int, str], dict[str, Any]]] = {}
    versions = chain(_in_state(state, numbers, columns), _in_files(storage_url, shard, state, numbers, columns))
    for user, order, values in versions:
        if user not in latest or order > latest[user][0]:
            latest[user] = order, values
    return {ids[user]: values for user, (_, values) in latest.items()}


_Version = tuple[int, tuple[int, str], dict[str, Any]]


def _in_state(state: Mapping[str, Any], users: Any, columns: Mapping[str, Type]) -> Iterator[_Version]:
    rows, texts = state["log"]["rows"], state["texts"]
    for row in np.flatnonzero(np.isin(rows["user"], users)).tolist():
        if rows["event_id"][row].startswith(_VERSION):
            values = {
                name: value_in_state(rows, profile_column(name), row, type_, texts) for name, type_ in columns.items()
            }
            yield int(rows["user"][row]), (int(rows["time"][row]), rows["event_id"][row]), _known(values)


def _in_files(
    storage_url: Path, shard: int, state: Mapping[str, Any], users: Any, columns: Mapping[str, Type]
) -> Iterator[_Version]:
    reservoir = Reservoir(storage_url, shard, 0, {})
    chunks = state["log"]["chunks"] or {"refs": [], "erased": []}
    erased = dict(chunks["erased"])
    names = {name: profile_column(name) for name in columns}
    for ref in (ChunkRef(**each) for each in chunks["refs"]):
        reservoir.verify(ref)
        path = folder_of(storage_url, shard) / f"{ref.file}.parquet"
        for user, micros, event_id, values in _rows(path, users, names):
            if event_id.startswith(_VERSION) and micros > erased.get(user, micros - 1):
                yield user, (micros, event_id), _known(values)


def _rows(path: Path, users: Any, columns: Mapping[str, str]) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """(user, event time µs, event id, values). columns: what a value is called -> the file's column, which it may
    not have."""
    there = {name: column for name, column in columns.items() if column in pq.read_schema(path).names}
    wanted = list(dict.fromkeys(["_user", "event_time", "event_id", *there.values()]))
    table = pq.read_table(path, columns=wanted, filters=[("_user", "in", users.tolist())], use_threads=False)
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
    for row in table.to_pylist():
        yield row["_user"], row["event_time"], row["event_id"], {name: row.get(there.get(name, "")) for name in columns}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
