"""A file of events as batches of the reservoir's columns: Parquet by whole columns where that can be, else by rows.

What a row means, and why one is refused, is what it is for `tidegate evaluate`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from segmentation.events.decode import Decoded
from segmentation.events.rows import Int64, Rows
from segmentation.events.schema import Schema
from segmentation.events.tables import Record, rows_of
from segmentation.types import Type
from storage.backfill.quick import NotQuick, Quick, nulls
from storage.chunk_files import arrow_column
from storage.files import EventFile, RefusedRow, Unreadable, microseconds

log = logging.getLogger("tidegate.backfill")

#: Rows of one batch, about, by columns and by rows.
UNIT_ROWS, CHUNK_ROWS = 400_000, 200_000
_MICROS = pa.timestamp("us", "UTC")


@dataclass(slots=True)
class Batch:
    """rows: event_time and the others as a chunk has them, user_id as a dictionary; end: the number of the last row
    of the file that has been read (from 1)."""

    rows: pa.Table
    end: int
    refused: list[RefusedRow] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reading:
    """columns: the reservoir's (storage.reservoir.kept_columns)."""

    schema: Schema
    columns: Mapping[str, Type]
    mapping: Mapping[str, str]
    timezone: str | None


def batches(path: Path, digest: str, reading: Reading, done: int = 0) -> Iterator[Batch]:
    """In the file's order, after its row number `done`, at which a batch must have ended. TidegateError for a bad
    file or mapping."""
    file = EventFile(path)
    if file.format == "parquet" and not file.gzipped:
        try:
            source = pq.ParquetFile(path)
            quick = Quick(source.schema_arrow, reading.schema, reading.columns, reading.mapping, reading.timezone)
        except (NotQuick, pa.ArrowException) as error:
            log.info("%s is read row by row, which is slower: %s", path, str(error).split("\n")[0])
        else:
            yield from _by_columns(path, quick, digest, reading, done)
            return
    records = ((row, record) for row, record in file.records() if row > done)
    while chunk := list(islice(records, CHUNK_ROWS)):
        yield _of_records(chunk, digest, reading)


def _by_columns(path: Path, quick: Quick, digest: str, reading: Reading, done: int) -> Iterator[Batch]:
    schema = pq.read_schema(path)
    source = pq.ParquetFile(path, read_dictionary=quick.texts(schema), memory_map=True)
    waiting: list[int] = []
    rows = 0
    groups, before = _groups_after(source, done)
    skip = done - before
    for group in groups:
        waiting.append(group)
        rows += source.metadata.row_group(group).num_rows
        if rows >= UNIT_ROWS or group == groups[-1]:
            table = source.read_row_groups(waiting, columns=quick.names, use_threads=False).slice(skip)
            # One that was written as a single group of rows is still taken in portions.
            for first in range(0, len(table), UNIT_ROWS * 2):
                batch = _of_columns(table.slice(first, UNIT_ROWS * 2), quick, digest, reading, done)
                yield batch
                done = batch.end
            waiting, rows, skip = [], 0, 0


def _groups_after(source: pq.ParquetFile, done: int) -> tuple[list[int], int]:
    """(the row groups that have a row after number `done`, how many rows are before them)."""
    before = 0
    for group in range(source.num_row_groups):
        rows = source.metadata.row_group(group).num_rows
        if before + rows > done:
            return list(range(group, source.num_row_groups)), before
        before += rows
    return [], before


def _of_columns(
    table: pa.Table, quick: Quick, digest: str, reading: Reading, before: int
) -> Batch:  # fmt: skip
    table = table.unify_dictionaries().combine_chunks()
    end = before + len(table)
    try:
        table.validate(full=True)  # texts are UTF-8
        rows, odd = quick.read(table, digest, before + 1)
    except (NotQuick, pa.ArrowInvalid):
        rows, odd = None, np.ones(len(table), np.bool_)
    if not odd.any():
        return Batch(rows, end)
    places = np.flatnonzero(odd)
    strange = microseconds(table.take(pa.array(places)).combine_chunks().to_batches()[0]).to_pylist()
    batch = _of_records(list(zip((before + 1 + places).tolist(), strange)), digest, reading)
    pieces_ = [batch.rows] if rows is None else [rows, batch.rows]
    return Batch(pa.concat_tables(pieces_).unify_dictionaries().combine_chunks(), end, batch.refused)


def _of_records(chunk: Sequence[tuple[int, Any]], digest: str, reading: Reading) -> Batch:
    refused = [RefusedRow(row, "unreadable", bad.detail) for row, bad in chunk if isinstance(bad, Unreadable)]
    good: Sequence[tuple[int, Record]] = chunk
    if refused:
        good = [(row, record) for row, record in chunk if not isinstance(record, Unreadable)]
    decoded: Decoded = rows_of(good, reading.schema, digest, reading.mapping, reading.timezone)
    refused += [RefusedRow(good[one.index][0], str(one.reason), one.detail) for one in decoded.rejects]
    return Batch(_table(decoded.rows, reading.columns), chunk[-1][0], sorted(refused, key=lambda one: one.row))


def _table(rows: Rows, columns: Mapping[str, Type]) -> pa.Table:
    out = {
        "user_id": pa.DictionaryArray.from_arrays(pa.array(rows.user), pa.array(rows.user_ids, pa.string())),
        "event_id": pa.array(rows.event_id, pa.string()), "event_time": micros(rows.time),
    }  # fmt: skip
    for name, type_ in columns.items():
        found = rows.columns.get(name)
        out[name] = nulls(type_, len(rows)) if found is None else arrow_column(found, type_)
    return pa.table(out)


def micros(time: Int64) -> pa.Array:
    return pa.array(time, pa.int64()).cast(_MICROS)
