"""The events that the engine has saved, as plain values: those in the reservoir's files, and the newest in the states.

Read for people (a first test of a segment from real events), not for the engine: with a limit, a part of the
users is taken with all of their events, the same part each time.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from segmentation.state.archive import ChunkRef, erased_arrays, of_erased
from segmentation.state.dump import unpack
from segmentation.types import Kind, Type
from storage import chunk_files
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.reservoir import Reservoir, folder_of

#: An event: columns by name, user_id, event_id and event_time (µs) among them; timestamptz are µs, NULLs are left out.
SavedEvent = dict[str, Any]


def saved_events(
    storage_url: Path, records: list[CheckpointRecord], columns: Mapping[str, Type], limit: int
) -> Iterator[SavedEvent]:
    """columns: the declared ones but the three that always exist; limit: about how many events at most.

    Raises CheckpointError where a file is missing or damaged. A column that was declared later is NULL in files
    from before.
    """
    states = [(record, unpack(CheckpointStore(storage_url).load(record))) for record in records]
    total = sum(len(state["log"]["rows"]["time"]) + sum(ref.rows for ref in _refs(state)) for _, state in states)
    every = max(1, -(-total // limit))
    for record, state in states:
        yield from _in_files(storage_url, record.shard, state, columns, every)
        yield from _in_state(state, columns, every)


def _refs(state: Mapping[str, Any]) -> list[ChunkRef]:
    return [ChunkRef(**ref) for ref in (state["log"]["chunks"] or {"refs": []})["refs"]]


def _in_files(
    storage_url: Path, shard: int, state: Mapping[str, Any], columns: Mapping[str, Type], every: int
) -> Iterator[SavedEvent]:
    refs = _refs(state)
    if not refs:
        return
    erased = dict(state["log"]["chunks"]["erased"])
    reservoir = Reservoir(storage_url, shard, 0, columns)
    for ref in refs:
        reservoir.verify(ref)
        rows = chunk_files.read_whole([folder_of(storage_url, shard) / f"{ref.file}.parquet"])
        _, gone = of_erased(rows.user, rows.time, *erased_arrays(erased))
        table = rows.where(~gone & (rows.user % every == 0)).table
        present = [name for name in columns if name in table.column_names]
        for place, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type):
                table = table.set_column(place, field.name, table.column(place).cast(pa.int64()))
        for event in table.select(["user_id", "event_id", "event_time", *present]).to_pylist():
            yield {name: value for name, value in event.items() if value is not None}


def _in_state(state: Mapping[str, Any], columns: Mapping[str, Type], every: int) -> Iterator[SavedEvent]:
    rows, users, texts = state["log"]["rows"], state["users"], state["texts"]
    for row in np.flatnonzero(rows["user"] % every == 0).tolist():
        event: SavedEvent = {
            "user_id": users[rows["user"][row]], "event_id": rows["event_id"][row],
            "event_time": int(rows["time"][row]),
        }  # fmt: skip
        for name, type_ in columns.items():
            value = value_in_state(rows, name, row, type_, texts)
            if value is not None:
                event[name] = value
        yield event


def value_in_state(rows: Mapping[str, Any], name: str, row: int, type_: Type, texts: list[str | None]) -> Any:
    """Of a row that a state file holds, as a plain value; None for NULL."""
    column = rows.get(f"={name}")
    if column is None:  # declared after this state was saved
        return None
    if type_.kind is Kind.TEXT:
        if column.dtype == object:
            return column[row]
        return texts[column[row]] if column[row] >= 0 else None
    if not rows[f"?{name}"][row]:
        return None
    held = column[row].item()
    return Decimal(held).scaleb(-type_.scale) if type_.kind is Kind.NUMERIC else held
