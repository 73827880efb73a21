"""Messages to columns in C: `QuickDecoder.of(schema)`, None where the C part is not built or not for this schema.

It reads the messages that are plainly right, and leaves the others: what is no JSON, keys given twice, values of
another type or out of range, numbers of more than 19 digits, leap seconds. What it reads is exactly
what `structs` would give; it never says that a message is wrong.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation import native
from segmentation.events.columns import DTYPES, not_allowed
from segmentation.events.paths import Node, tree
from segmentation.events.rows import Bool, Int32, Int64, Rows, TextColumn, ValueColumn
from segmentation.events.schema import EventColumn, Schema
from segmentation.events.schema_check import zone_of
from segmentation.events.times import moved
from segmentation.types import Kind

# What decoding.c calls the types, and what a time without a zone means.
_TEXT, _USER, _EVENT_ID = 0, 1, 2
_TYPES = {Kind.TEXT: _TEXT, Kind.BIGINT: 3, Kind.NUMERIC: 4, Kind.DOUBLE: 5, Kind.BOOLEAN: 6, Kind.TIMESTAMPTZ: 7}
_NO_ZONE, _UTC, _LATER = 0, 1, 2
_DEEP_MAX = 24

_Nodes = list[tuple[tuple[bytes, int, int], ...]]


class QuickDecoder:
    """Keeps a guess of the order of keys, and memory, between polls; nothing that could change an outcome."""

    @staticmethod
    def of(schema: Schema) -> "QuickDecoder | None":
        columns = list(schema.events.values())
        return QuickDecoder(columns) if native.ENABLED and all(map(_readable, columns)) else None

    def __init__(self, columns: Sequence[EventColumn]) -> None:
        # Texts last: what is left for another reason leaves nothing in their dictionaries then, mostly.
        self._columns = sorted(columns, key=lambda column: column.type.kind is Kind.TEXT)
        spans: dict[tuple[str, ...], int] = {}
        nodes: _Nodes = []
        _compile(tree(columns), (), nodes, spans)
        described = tuple(_described(column, spans.get(column.path, -1)) for column in self._columns)
        self._shape = native.code.message_shape(tuple(nodes), len(spans), described)
        self._names = [name for name in (column.name for column in columns) if name not in _FIXED]

    def decode(
        self, values: Sequence[bytes | None], offsets: Int64, event_ids: Sequence[str] | None
    ) -> tuple[Rows, Bool]:
        """(rows, one a message, without `high`; bool[n]: where nobody has read the message yet, and they mean nothing).

        event_ids[n]: of the messages that have none.
        """
        count = len(values)
        arrays = [_arrays(column, count) for column in self._columns]
        ids = None if event_ids is None else list(event_ids)
        odd, notes = native.code.decode_messages(self._shape, list(values), ids, tuple(map(_plain, arrays)))
        left = np.zeros(count, np.bool_)
        left[odd] = True
        found: dict[str, Any] = {}
        for column, own, note in zip(self._columns, arrays, notes, strict=True):
            if column.name == "event_id":
                found[column.name] = own[0]
            elif column.type.kind is Kind.TEXT:
                found[column.name] = TextColumn(own[0], note)
                _check_texts(column, found[column.name], left)
            else:
                found[column.name] = _values(column, own, note, left)
        user: TextColumn = found["user_id"]
        time: Int64 = found["event_time"].data
        columns = {name: found[name] for name in self._names}
        return Rows(offsets, user.codes, user.values, time, time, found["event_id"], columns), left


_FIXED = ("user_id", "event_id", "event_time")


def _readable(column: EventColumn) -> bool:
    """Whether the keys on its path are written in a message as they are."""
    try:
        keys = [key.encode() for key in column.path]
    except UnicodeEncodeError:
        return False
    return len(keys) <= _DEEP_MAX and all(min(key, default=32) >= 32 and not set(key) & set(b'"\\') for key in keys)


def _compile(node: Node, way: tuple[str, ...], nodes: _Nodes, spans: dict[tuple[str, ...], int]) -> int:
    """Appends the node and those below it; gives its number. `spans` numbers the paths that hold a value."""
    number = len(nodes)
    nodes.append(())
    children = [(key.encode(), spans.setdefault((*way, key), len(spans)), -1) for key in node.leaves]
    children += [(key.encode(), -1, _compile(inner, (*way, key), nodes, spans)) for key, inner in node.inner.items()]
    nodes[number] = tuple(children)
    return number


def _described(column: EventColumn, span: int) -> tuple[int, int, bool, bool, int, int, int]:
    kind = {"user_id": _USER, "event_id": _EVENT_ID}.get(column.name, _TYPES[column.type.kind])
    zone = _NO_ZONE
    if column.timezone is not None:
        zone = _UTC if column.timezone in ("UTC", "Etc/UTC") else _LATER
    return kind, span, column.required, column.empty_as_null, column.type.precision, column.type.scale, zone


def _arrays(column: EventColumn, count: int) -> list[NDArray[Any]]:
    """What C fills: codes; or data, where it is valid, and, of times, where a zone is still to be applied."""
    if column.name == "event_id":
        return [np.empty(count, np.object_)]
    kind = column.type.kind
    if kind is Kind.TEXT:
        return [np.full(count, -1, np.int32)]
    arrays = [np.zeros(count, DTYPES[kind]), np.zeros(count, np.bool_)]
    return [*arrays, np.zeros(count, np.bool_)] if kind is Kind.TIMESTAMPTZ else arrays


def _plain(arrays: list[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """Doubles as 64 bits: C moves them only."""
    return tuple(array.view(np.int64) if array.dtype == np.float64 else array for array in arrays)


def _check_texts(column: EventColumn, texts: TextColumn, left: Bool) -> None:
    if column.one_of is not None:
        wrong = [code for code, text in enumerate(texts.values) if text not in column.one_of]
        if wrong:
            left |= np.isin(texts.codes, wrong)


def _values(column: EventColumn, arrays: list[NDArray[Any]], nulls: bool, left: Bool) -> ValueColumn:
    data, valid = arrays[:2]
    if column.type.kind is Kind.TIMESTAMPTZ and column.timezone is not None and arrays[2].any():
        zone = zone_of(column.timezone)
        assert zone is not None
        rows = np.flatnonzero(arrays[2])
        data[rows], good = moved(data[rows], zone)
        left[rows[~good]] = True
    if column.one_of is not None or column.min is not None or column.max is not None:
        left |= not_allowed(column, data, valid if nulls else None)
    return ValueColumn(data, valid if nulls and not valid.all() else None)


def put_rows(rows: Rows, found: Rows) -> None:
    """`found`, whose offsets are places in `rows`, into those places."""
    places = found.offset
    rows.user[places] = _recoded(found.user, found.user_ids, rows.user_ids)
    rows.time[places] = found.time
    rows.event_id[places] = found.event_id
    for name, more in found.columns.items():
        column = rows.columns[name]
        if isinstance(column, TextColumn):
            assert isinstance(more, TextColumn)
            column.codes[places] = _recoded(more.codes, more.values, column.values)
            continue
        assert isinstance(more, ValueColumn)
        column.data[places] = more.data
        if column.valid is None and more.valid is not None:
            column.valid = np.ones(len(column.data), np.bool_)
        if column.valid is not None:
            column.valid[places] = True if more.valid is None else more.valid


def _recoded(codes: Int32, texts: Iterable[str], into: list[str]) -> Int32:
    """The same texts by their codes in `into`, to which new ones are added."""
    index = {text: code for code, text in enumerate(into)}
    new = np.array([index.setdefault(text, len(index)) for text in texts] + [-1], np.int32)
    into.extend(list(index)[len(into) :])
    return new[codes]
