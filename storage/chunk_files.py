"""The rows' file of a chunk: Parquet, one column per declared column of the events, with their types.

Besides those: user_id, event_id, event_time and known_at (when the event took effect), and with an
underscore what only Tidegate needs: _user (the shard's number of the user), _partition, _offset.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from xxhash import xxh3_128

from segmentation.distinct import used_codes
from segmentation.events.rows import Int32, Int64, TextColumn, ValueColumn
from segmentation.native import ENABLED, code
from segmentation.state.archive import FoundRows, StoredRows
from segmentation.state.users import Users
from segmentation.types import Kind, Type
from storage.disk import write_whole

#: Rows of a Parquet row group: what is decoded at once. Files from before must have as many.
GROUP_ROWS = 8_192
_TIME = pa.timestamp("us", "UTC")
_FIRST, _LAST = ("user_id", "event_id", "event_time"), ("known_at", "_user", "_partition", "_offset")
#: Columns of integers that are near to each other: their differences, in as few bits as these take, are smaller than
#: what zstd makes of them, and sooner written and read. So are numerics, which a file has as integers, too.
_DELTAS = ("event_time", "known_at", "_user", "_partition", "_offset")
#: A row group has the whole dictionary of a column again. So texts are written as codes where there are at most so many
#: times fewer of them than a group has rows; else, as with the ids of a million users, each row has its text.
CODED = 2
_SIMPLE = {
    Kind.BIGINT: pa.int64(), Kind.DOUBLE: pa.float64(), Kind.BOOLEAN: pa.bool_(), Kind.TIMESTAMPTZ: _TIME,
}  # fmt: skip


@dataclass(slots=True)
class Rows:
    """A table with its two columns that are needed for the index."""

    table: pa.Table
    time: Int64
    user: Int32

    def __len__(self) -> int:
        return len(self.time)

    def where(self, keep: NDArray[np.bool_]) -> "Rows":
        table = self.table.filter(pa.array(keep))
        for place, field in enumerate(table.schema):
            if pa.types.is_dictionary(field.type):  # whose values would stay, those of nobody's rows too
                table = table.set_column(place, field.name, _encoded(table.column(place).cast(pa.string())))
        return Rows(table, self.time[keep], self.user[keep])

    def slice(self, first: int, last: int) -> "Rows":
        return Rows(self.table.slice(first, last - first), self.time[first:last], self.user[first:last])

    def take(self, places: Int64) -> "Rows":
        return Rows(self.table.take(pa.array(places)), self.time[places], self.user[places])

    def in_order(self) -> "Rows":
        return self.take(np.argsort(self.time, kind="stable"))

    @staticmethod
    def joined(pieces: "Sequence[Rows]") -> "Rows":
        """One after the other."""
        table = pa.concat_tables([piece.table for piece in pieces]).unify_dictionaries().combine_chunks()
        return Rows(
            table, np.concatenate([piece.time for piece in pieces]), np.concatenate([piece.user for piece in pieces])
        )


def rows_of(rows: StoredRows, columns: Mapping[str, Type]) -> Rows:
    """columns: the declared ones, in the order that the file is to have."""
    ids = rows.user_ids
    used, place = used_codes(rows.user, len(ids))
    table = {
        "user_id": pa.DictionaryArray.from_arrays(pa.array(place.astype(np.int32)), _names(ids, used)),
        "event_id": texts_of(rows.event_id),
        "event_time": _int64(rows.time, _TIME),
    }
    for name, type_ in columns.items():
        table[name] = arrow_column(rows.columns[name], type_)
    table |= {
        "known_at": _int64(rows.known, _TIME), "_user": pa.array(rows.user.astype(np.int32)),
        "_partition": pa.array(rows.partition), "_offset": pa.array(rows.offset),
    }  # fmt: skip
    return Rows(pa.table(table), rows.time, rows.user)


def write(path: Path, rows: Rows, group_rows: int) -> str:
    """Flushed to disk when this returns; the digest of its bytes. What `rows.user` says is written as _user."""
    table = rows.table
    place = table.schema.get_field_index("_user")
    table = table.set_column(place, "_user", pa.array(rows.user.astype(np.int32)))
    texts = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    coded = [name for name in texts if _values(table.column(name)) <= group_rows // CODED]
    for name in set(texts) - set(coded):
        table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(pa.string()))
    deltas = [*_DELTAS, *(field.name for field in table.schema if pa.types.is_decimal(field.type))]
    others = [name for name in table.column_names if name not in (*deltas, *texts)]
    compression = dict.fromkeys(others, "zstd") | dict.fromkeys(texts, "lz4") | dict.fromkeys(deltas, "none")
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, row_group_size=group_rows, use_dictionary=coded, write_statistics=["event_time"],
        store_schema=False, column_encoding=dict.fromkeys(deltas, "DELTA_BINARY_PACKED"), compression=compression,
        compression_level=dict.fromkeys(others, 1), store_decimal_as_integer=True,
    )  # fmt: skip
    return write_bytes(path, [sink.getvalue()])


def _values(column: pa.ChunkedArray) -> int:
    """Of how many texts the dictionaries of this column are, at most."""
    return max((len(chunk.dictionary) for chunk in column.chunks), default=0)


def write_bytes(path: Path, pieces: Sequence[Any]) -> str:
    """Written under another name, flushed, renamed; the digest of all bytes."""
    digest = xxh3_128()
    for piece in pieces:
        digest.update(piece)
    write_whole(path, path.with_name(f"{path.name}.tmp"), pieces)
    return digest.hexdigest()


def read_whole(paths: Iterable[Path], columns: Mapping[str, Type] | None = None) -> Rows:
    """All rows of several files, one after the other. columns: the declared ones, if the files may have others:
    what they lack is NULL, what is not declared any more is left out. None: as they are, all the same."""
    tables = [pq.read_table(path, use_threads=False, memory_map=False) for path in paths]
    if columns is not None:
        tables = [_declared(table, columns) for table in tables]
    table = pa.concat_tables(tables).combine_chunks()
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name != "event_id":
            table = table.set_column(place, field.name, _encoded(table.column(place)))
    return Rows(table, _micros(table.column("event_time")), table.column("_user").to_numpy())


def _declared(table: pa.Table, columns: Mapping[str, Type]) -> pa.Table:
    if table.column_names == [*_FIRST, *columns, *_LAST]:
        return table
    there = set(table.column_names)
    wanted = {name: table.column(name) for name in (*_FIRST, *columns, *_LAST) if name in there}
    nulls = {name: pa.nulls(len(table), _stored_type(type_)) for name, type_ in columns.items() if name not in there}
    return pa.table({name: wanted.get(name, nulls.get(name)) for name in (*_FIRST, *columns, *_LAST)})


def _stored_type(type_: Type) -> pa.DataType:
    if type_.kind is Kind.TEXT:
        return pa.string()
    return pa.decimal128(type_.precision, type_.scale) if type_.kind is Kind.NUMERIC else _SIMPLE[type_.kind]


class ChunkFile:
    """An open file; not for use by two threads at once."""

    def __init__(self, path: Path, columns: Mapping[str, Type]) -> None:
        self._columns = columns
        texts = [name for name, type_ in columns.items() if type_.kind is Kind.TEXT]
        self._file = pq.ParquetFile(path, read_dictionary=texts)
        self._there = set(self._file.schema_arrow.names)

    def read(self, group: int, time: Int64, columns: Sequence[str], event_ids: bool) -> FoundRows:
        """Those columns of a row group, NULL where the file is from before the column was declared. time: the
        event times of its rows, from the index."""
        there = [name for name in columns if name in self._there]
        wanted = ["known_at", "_user", *there, *(["event_id"] if event_ids else [])]
        table = self._file.read_row_group(group, columns=wanted, use_threads=False)
        return FoundRows(
            np.array(time), _micros(table.column("known_at")), table.column("_user").to_numpy(),
            _texts(table.column("event_id")) if event_ids else None,
            {
                name: _found(table.column(name), self._columns[name]) if name in self._there
                else nulls(self._columns[name], len(time))
                for name in columns
            },
        )

    def event_ids(self, group: int) -> NDArray[np.object_]:
        return _texts(self._file.read_row_group(group, columns=["event_id"], use_threads=False).column(0))


def texts_of(texts: NDArray[np.object_]) -> pa.Array:
    """Of distinct texts, so not by their codes."""
    if ENABLED and (packed := code.packed_texts(np.ascontiguousarray(texts))) is not None:
        first, content = packed
        return pa.StringArray.from_buffers(len(texts), pa.py_buffer(first), pa.py_buffer(content))
    return pa.array(texts, pa.string())


def _names(users: Users, numbers: Int64) -> pa.Array:
    if (packed := users.packed(numbers)) is None:
        return pa.array(users.names(numbers), pa.string())
    first, content = packed
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(first), pa.py_buffer(content))


def nulls(type_: Type, n: int) -> TextColumn | ValueColumn:
    """A column that these rows do not have."""
    if type_.kind is Kind.TEXT:
        return TextColumn(np.full(n, -1, np.int32), [])
    dtype = {Kind.DOUBLE: np.float64, Kind.BOOLEAN: np.bool_}.get(type_.kind, np.int64)
    return ValueColumn(np.zeros(n, dtype), np.zeros(n, np.bool_))


def _encoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.combine_chunks().dictionary_encode()


def arrow_column(column: TextColumn | ValueColumn | NDArray[np.object_], type_: Type) -> pa.Array:
    """As it stands in a file."""
    if isinstance(column, TextColumn):
        values = column.values
        used, place = used_codes(column.codes, len(values))
        null = int(used[0] < 0) if len(used) else 0
        mask = place < null if null else None
        return _dictionary(place - null, [values[c] for c in used[null:].tolist()], mask)
    if isinstance(column, np.ndarray):
        if not ENABLED:
            return pa.array(column, pa.string()).dictionary_encode()
        codes, texts = code.codes_of(column.tolist())
        missing = codes < 0
        return _dictionary(codes, texts, missing if missing.any() else None)
    mask = None if column.valid is None or column.valid.all() else ~column.valid
    if type_.kind is Kind.NUMERIC:
        return decimals(column.data, mask, type_)
    if type_.kind is Kind.TIMESTAMPTZ:
        return pa.array(column.data, pa.int64(), mask=mask).cast(_TIME)
    return pa.array(column.data, _SIMPLE[type_.kind], mask=mask)


def _found(column: pa.ChunkedArray, type_: Type) -> TextColumn | ValueColumn:
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if type_.kind is Kind.TEXT:
        codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        return TextColumn(codes, array.dictionary.to_pylist())
    valid = None if not array.null_count else array.is_valid().to_numpy(zero_copy_only=False)
    if type_.kind is Kind.NUMERIC:
        words = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)
        data = words[array.offset : array.offset + len(array), 0].copy()
        if valid is not None:
            data[~valid] = 0
        return ValueColumn(data, valid)
    if type_.kind is Kind.TIMESTAMPTZ:
        array = array.cast(pa.int64())
    if valid is not None:
        array = array.fill_null(False if type_.kind is Kind.BOOLEAN else 0)
    return ValueColumn(array.to_numpy(zero_copy_only=False), valid)


def decimals(data: Int64, mask: NDArray[np.bool_] | None, type_: Type) -> pa.Array:
    """Of a numeric column's whole numbers; mask: where it is NULL."""
    words = np.empty((len(data), 2), np.int64)
    words[:, 0], words[:, 1] = data, data >> 63
    valid = None if mask is None else pa.py_buffer(np.packbits(~mask, bitorder="little").tobytes())
    return pa.Array.from_buffers(
        pa.decimal128(type_.precision, type_.scale), len(data), [valid, pa.py_buffer(words.tobytes())]
    )


def _dictionary(codes: NDArray[Any], values: list[str], mask: NDArray[np.bool_] | None = None) -> pa.Array:
    indices = pa.array(codes.astype(np.int32), mask=mask)
    return pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))


def _int64(values: Int64, type_: pa.DataType) -> pa.Array:
    return pa.array(values, pa.int64()).cast(type_)


def _micros(column: pa.ChunkedArray) -> Int64:
    return np.asarray(column.cast(pa.int64()).to_numpy(), np.int64)


def _texts(column: pa.ChunkedArray) -> NDArray[np.object_]:
    out = np.empty(len(column), object)
    out[:] = column.to_pylist()
    return out
