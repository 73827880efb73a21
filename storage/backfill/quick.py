"""Columns of Parquet as the reservoir keeps them, without a Python object per row.

Only what certainly means the same as row by row (segmentation.events.tables) is taken: the other rows of a table are
named as odd, and left to that; a file whose columns have other types raises NotQuick, and is read by it as a whole.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segmentation.events.decimals import scaled_floats
from segmentation.events.exact import ID_BYTES_MAX, allowed_as_held
from segmentation.events.rows import Bool
from segmentation.events.schema import EventColumn, Schema
from segmentation.events.times import EARLIEST, LATEST
from segmentation.types import Kind, Type
from storage.chunk_files import decimals

_MICROS = pa.timestamp("us", "UTC")
#: Longer texts are left to the reader of rows, which knows how large an event may be.
_LONG_TEXT = 1 << 16


class NotQuick(Exception):
    """Why the rows have to be read one by one."""


class Quick:
    """Of one file. names: its columns that are read; `columns` (the reservoir's) beyond those of events are NULL."""

    def __init__(
        self, found: pa.Schema, schema: Schema, columns: Mapping[str, Type], mapping: Mapping[str, str],
        timezone: str | None,
    ) -> None:  # fmt: skip
        self._schema, self._columns, self._timezone = schema, columns, timezone
        self._source = {
            column.name: _source(column, found, mapping) for column in schema.events.values() if not column.generated
        }
        if any(self._source.get(name) is None for name in ("user_id", "event_type", "event_time")):
            raise NotQuick("a column that every event has is missing")
        for name, source in self._source.items():
            if source is not None:
                self._check(schema.events[name], found.field(source).type)
        self.names = sorted({source for source in self._source.values() if source is not None})

    def texts(self, found: pa.Schema) -> list[str]:
        """The columns that are best read as dictionaries."""
        ids = {self._source.get("event_id")}
        return [name for name in self.names if name not in ids and _is_text(found.field(name).type)]

    def read(self, table: pa.Table, digest: str, first_row: int) -> tuple[pa.Table, Bool]:
        """(the rows as the reservoir's columns, without those that are odd; which of the rows are odd, bool[n]).

        first_row: the number in the file of the first one."""
        n = len(table)
        odd = np.zeros(n, np.bool_)
        out: dict[str, Any] = {}
        for name, column in self._schema.events.items():
            source = self._source.get(name)
            if name == "event_id":
                out[name] = _ids(None if source is None else _plain(table.column(source)), digest, first_row, n, odd)
            elif source is None:
                out[name] = nulls(column.type, n)
            else:
                out[name] = self._column(column, table.column(source), odd)
        for name, type_ in self._columns.items():
            out.setdefault(name, nulls(type_, n))
        result = pa.table({name: out[name] for name in ("user_id", "event_id", "event_time", *self._columns)})
        return (result.filter(pa.array(~odd)) if odd.any() else result), odd

    def _check(self, column: EventColumn, found: pa.DataType) -> None:
        kind = column.type.kind
        fits = {
            Kind.TEXT: _is_text(found),
            Kind.BIGINT: pa.types.is_integer(found) and found != pa.uint64(),
            Kind.NUMERIC: (pa.types.is_decimal128(found) and found.scale <= column.type.scale)
            or pa.types.is_float64(found) or (pa.types.is_integer(found) and found != pa.uint64()),
            Kind.DOUBLE: pa.types.is_float64(found),
            Kind.BOOLEAN: pa.types.is_boolean(found),
            Kind.TIMESTAMPTZ: pa.types.is_timestamp(found) and (found.tz is not None or self._zone(column) == "UTC"),
        }  # fmt: skip
        if not fits[kind]:
            raise NotQuick(f"{column.name} is {found}, and {column.type} is declared")

    def _zone(self, column: EventColumn) -> str | None:
        return self._timezone or column.timezone

    def _column(self, column: EventColumn, values: pa.ChunkedArray, odd: Bool) -> pa.Array:
        if column.type.kind is Kind.TEXT:
            return _text(column, values, odd)
        array = _one(values)
        valid: Bool = np.ones(len(array), np.bool_)
        if array.null_count:
            valid = array.is_valid().to_numpy(zero_copy_only=False)
        required = column.name == "event_time"
        try:
            data, strange = self._values(column, array, valid)
        except pa.ArrowInvalid as error:
            raise NotQuick(str(error)) from None
        strange &= valid
        one_of, least, most = allowed_as_held(column)
        if one_of is not None:
            strange |= valid & ~np.isin(data, np.array(one_of, data.dtype))
        if least is not None:
            strange |= valid & (data < least)
        if most is not None:
            strange |= valid & (data > most)
        odd |= strange | (~valid if required else False)
        return _arrow(column.type, data, None if valid.all() else ~valid)

    def _values(self, column: EventColumn, array: pa.Array, valid: Bool) -> tuple[NDArray[Any], Bool]:
        """(data[n] as columns hold it, which of them are to be read otherwise)."""
        none = np.zeros(len(array), np.bool_)
        match column.type.kind:
            case Kind.TIMESTAMPTZ:
                if array.type.unit == "ns":
                    array = pc.floor_temporal(array, unit="microsecond")
                array = array.cast(pa.timestamp("us", array.type.tz), safe=False).cast(pa.int64())
                data = _filled(array, 0)
                return data, (data < EARLIEST) | (data > LATEST)
            case Kind.BOOLEAN:
                return _filled(array, False), none
            case Kind.DOUBLE:
                data = _filled(array, 0.0) + 0.0
                return data, ~np.isfinite(data)
            case Kind.NUMERIC if pa.types.is_float64(array.type):
                data = _filled(array, 0.0)
                finite = np.isfinite(data)
                scaled, sure = scaled_floats(np.where(finite, data, 0.0), column.type.precision, column.type.scale)
                return scaled, ~(sure & finite)
            case Kind.NUMERIC:
                if not pa.types.is_decimal128(array.type):
                    array = array.cast(pa.int64()).cast(pa.decimal128(19, 0))
                array = array.cast(pa.decimal128(column.type.precision, column.type.scale))
                if array.null_count:
                    array = array.fill_null(0)
                words = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)
                return words[array.offset : array.offset + len(array), 0].copy(), none
        return _filled(array.cast(pa.int64()), 0), none


def _source(column: EventColumn, found: pa.Schema, mapping: Mapping[str, str]) -> str | None:
    """The column of the file; None: it has none. NotQuick where that is not the same for every row."""
    if column.name in mapping:
        if mapping[column.name] not in found.names:
            raise NotQuick("a mapping goes into objects")
        return mapping[column.name]
    if len(column.path) > 1 and column.path[0] in found.names:
        raise NotQuick("a column is inside an object")
    there = [name for name in dict.fromkeys((".".join(column.path), column.name)) if name in found.names]
    if len(there) > 1:
        raise NotQuick(f"{column.name} may be {' or '.join(there)}")
    return there[0] if there else None


def _is_text(found: pa.DataType) -> bool:
    if pa.types.is_dictionary(found):
        found = found.value_type
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found))


def _one(values: pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)


def _filled(array: pa.Array, value: Any) -> NDArray[Any]:
    """With `value` for NULL."""
    whole = array.fill_null(value) if array.null_count else array
    return np.asarray(whole.to_numpy(zero_copy_only=False))


def _plain(values: pa.ChunkedArray) -> pa.Array:
    array = _one(values)
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _ids(found: pa.Array | None, digest: str, first_row: int, n: int, odd: Bool) -> pa.Array:
    """Those of the file, and where it has none, those of its rows (segmentation.events.tables.file_event_id)."""
    if found is not None and not found.null_count:
        ids = found.cast(pa.string())
    else:
        numbers = pa.array(np.arange(first_row, first_row + n)).cast(pa.string())
        own = pc.binary_join_element_wise(digest[:16], numbers, "-")
        ids = own if found is None else pc.coalesce(found.cast(pa.string()), own)
    if found is not None:
        odd |= _strange(ids)
    return ids


def _strange(ids: pa.Array) -> Bool:
    """Empty, too long, or with NUL."""
    size = pc.binary_length(ids).to_numpy(zero_copy_only=False)
    nul = pc.match_substring(ids, "\0").to_numpy(zero_copy_only=False)
    return np.asarray((size == 0) | (size > ID_BYTES_MAX) | nul, np.bool_)


def _text(column: EventColumn, values: pa.ChunkedArray, odd: Bool) -> pa.DictionaryArray:
    array = _one(values)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    texts = array.dictionary.cast(pa.string())
    indices = array.indices.fill_null(-1) if array.null_count else array.indices
    codes = indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    bad = np.zeros(len(texts) + 1, np.bool_)  # the last is for NULL
    if len(texts):
        bad[:-1] = pc.match_substring(texts, "\0").to_numpy(zero_copy_only=False)
        bad[:-1] |= pc.binary_length(texts).to_numpy(zero_copy_only=False) > _LONG_TEXT
        if column.name == "user_id":
            bad[:-1] |= _strange(texts)
        if column.one_of is not None:
            bad[:-1] |= ~pc.is_in(texts, pa.array(column.one_of, pa.string())).to_numpy(zero_copy_only=False)
        if column.empty_as_null:
            empty = np.append(pc.equal(texts, "").to_numpy(zero_copy_only=False), False)
            codes = np.where(empty[codes], np.int32(-1), codes)
    bad[-1] = column.name in ("user_id", "event_type")
    odd |= bad[codes]
    null = codes < 0
    return pa.DictionaryArray.from_arrays(pa.array(codes, mask=null) if null.any() else pa.array(codes), texts)


def _arrow(type_: Type, data: NDArray[Any], mask: Bool | None) -> pa.Array:
    match type_.kind:
        case Kind.NUMERIC:
            return decimals(data, mask, type_)
        case Kind.TIMESTAMPTZ:
            return pa.array(data, pa.int64(), mask=mask).cast(_MICROS)
    return pa.array(data, mask=mask)


def nulls(type_: Type, n: int) -> pa.Array:
    match type_.kind:
        case Kind.TEXT:
            none = pa.array(np.zeros(n, np.int32), mask=np.ones(n, np.bool_))
            return pa.DictionaryArray.from_arrays(none, pa.array([""], pa.string()))
        case Kind.NUMERIC:
            return pa.nulls(n, pa.decimal128(type_.precision, type_.scale))
        case Kind.TIMESTAMPTZ:
            return pa.nulls(n, _MICROS)
    return pa.nulls(n, {Kind.BIGINT: pa.int64(), Kind.DOUBLE: pa.float64(), Kind.BOOLEAN: pa.bool_()}[type_.kind])
