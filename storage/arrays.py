"""Columns as PostgreSQL binary arrays, to be unnested into rows by the server.

Fixed-width columns are packed by numpy without a Python object per value; psycopg sends the bytes
as they are. Format: PostgreSQL's array_recv (dimensions, null flag, element type, then length and
value of each element, big-endian).
"""

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import adapters as _global_adapters
from psycopg.abc import Buffer
from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

from segmentation.types import FOREVER, NEVER

BOOL, INT4, INT8, TEXT, BYTEA, TIMESTAMPTZ = 16, 23, 20, 25, 17, 1184
_ARRAY_OF = {BOOL: 1000, INT4: 1007, INT8: 1016, TEXT: 1009, BYTEA: 1001, TIMESTAMPTZ: 1185}

_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 in µs since 1970
_EARLIEST = -210_866_803_200_000_000  # 4714-11-24 BC in µs since 1970, PostgreSQL's first instant
_MINUS_INFINITY = np.iinfo(np.int64).min

_length = struct.Struct(">i").pack


class BinaryArray:
    """The bytes of one array and its element type; use it as a query parameter with `register`."""

    __slots__ = ("data", "element")

    def __init__(self, element: int, count: int, body: bytes, nulls: bool = False) -> None:
        self.element = element
        head = struct.pack(">iii", 1, nulls, element) + struct.pack(">ii", count, 1)
        self.data = head + body if count else struct.pack(">iii", 0, 0, element)


def bigints(values: NDArray[np.int64] | Iterable[int]) -> BinaryArray:
    return _fixed(INT8, ">i8", 8, np.asarray(values, np.int64))


def integers(values: NDArray[Any] | Iterable[int]) -> BinaryArray:
    return _fixed(INT4, ">i4", 4, np.asarray(values))


def booleans(values: NDArray[np.bool_]) -> BinaryArray:
    return _fixed(BOOL, "u1", 1, np.asarray(values))


def timestamps(micros: NDArray[np.int64]) -> BinaryArray:
    """From µs since 1970, exact. Before PostgreSQL's first instant (NEVER, say): -infinity; FOREVER: infinity."""
    micros = np.asarray(micros, np.int64)
    early, endless = micros < _EARLIEST, micros >= FOREVER
    shifted = np.where(early, 0, micros) - _POSTGRES_EPOCH
    shifted[early] = _MINUS_INFINITY
    shifted[endless] = np.iinfo(np.int64).max
    return _fixed(TIMESTAMPTZ, ">i8", 8, shifted)


def texts(values: Iterable[str]) -> BinaryArray:
    return byte_strings([value.encode() for value in values], TEXT)


def byte_strings(values: Iterable[bytes | None], element: int = BYTEA) -> BinaryArray:
    parts: list[bytes] = []
    count, nulls = 0, False
    for value in values:
        count += 1
        if value is None:
            nulls = True
            parts.append(b"\xff\xff\xff\xff")
        else:
            parts += (_length(len(value)), value)
    return BinaryArray(element, count, b"".join(parts), nulls)


def micros_sql(expression: str) -> str:
    """SQL that gives a timestamptz as µs since 1970, exactly; the inverse of `timestamps`."""
    return (
        f"CASE {expression} WHEN '-infinity' THEN {NEVER} WHEN 'infinity' THEN {FOREVER} "
        f"ELSE (extract(epoch FROM {expression}) * 1000000)::bigint END"
    )


def _fixed(element: int, dtype: str, size: int, values: NDArray[Any]) -> BinaryArray:
    body = np.empty(len(values), np.dtype([("length", ">i4"), ("value", dtype)]))
    body["length"] = size
    body["value"] = values
    return BinaryArray(element, len(values), body.tobytes())


class _BinaryArrayDumper(Dumper):
    format = Format.BINARY

    def get_key(self, obj: BinaryArray, format: Any) -> Any:
        return (BinaryArray, obj.element)

    def upgrade(self, obj: BinaryArray, format: Any) -> "_BinaryArrayDumper":
        dumper = type(self)(BinaryArray)
        dumper.oid = _ARRAY_OF[obj.element]
        return dumper

    def dump(self, obj: BinaryArray) -> Buffer:
        return obj.data


def register(adapters: AdaptersMap = _global_adapters) -> None:
    adapters.register_dumper(BinaryArray, _BinaryArrayDumper)


register()
