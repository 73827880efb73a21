"""Rows of files (NDJSON lines, CSV and Parquet records) as the messages that the decoder reads.

`Messages(schema, mapping, timezone).of(record)` gives the bytes of one JSON message; what is wrong with a record
stays wrong in the message, so that the decoder says it with its own reasons. `rows_of` also decodes.

- A line of NDJSON is left as it is, except for what `mapping` and `timezone` change.
- A record, that is a mapping of names to values, gives one field per declared column, at the column's path. It is
  looked for under the path (a name with dots in it, or nested mappings), then under the column's name. None is a
  missing field. Values from text files become what the column is: numbers digit for digit, `true` and `false` in
  any case; an empty text in a column that is not text is missing. Typed values: a Decimal keeps its digits, a
  float the shortest that mean it, a datetime its microseconds; an int, bool, date, Decimal or UUID in a text column
  becomes its text; a date in a time column is its first instant in the zone that applies.
- mapping: column to the field that it is in instead. timezone: the IANA zone of times that have none; it wins over
  the schema's, and a time's own zone wins over both.
- A missing event id becomes `file_event_id(digest, row)`, so the same file always gives the same ids.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from segmentation.errors import TidegateError
from segmentation.events.decimals import json_number
from segmentation.events.decode import Decoded, Decoder
from segmentation.events.schema import EventColumn, Schema
from segmentation.events.schema_check import timezone_problem, zone_of
from segmentation.events.times import BadTime, ZoneMissing, instant, text_of
from segmentation.types import Kind

Record = bytes | Mapping[str, object]

_BOOLEANS = {"true": b"true", "t": b"true", "false": b"false", "f": b"false"}

#: An object's fields, each value as it is written in JSON.
_Fields = dict[str, bytes]
_raws = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


def file_event_id(digest: str, row: int) -> str:
    """digest: hex, of the file's bytes; row: its number in the file."""
    return f"{digest[:16]}-{row}"


def rows_of(
    records: Sequence[tuple[int, Record]],
    schema: Schema,
    digest: str,
    mapping: Mapping[str, str] | None = None,
    timezone: str | None = None,
) -> Decoded:
    """records: (row number in the file, record), numbers increasing; `offset` of the rows is the row number.

    No time is too far in the future in a file. Raises TidegateError as Messages does.
    """
    values = Messages(schema, mapping, timezone).of_all([record for _, record in records])
    numbers = [row for row, _ in records]
    rows = np.array(numbers, np.int64)
    event_ids = [file_event_id(digest, row) for row in numbers]
    return Decoder(schema, None).decode(values, rows, np.zeros(len(rows), np.int64), event_ids=event_ids)


def message_of(
    record: Record,
    schema: Schema,
    mapping: Mapping[str, str] | None = None,
    timezone: str | None = None,
    event_id: str | None = None,
) -> bytes:
    """`Messages` for a single record."""
    return Messages(schema, mapping, timezone).of(record, event_id)


class Messages:
    """Makes messages. Raises TidegateError for a mapping of what is no column, and for an unknown zone."""

    def __init__(self, schema: Schema, mapping: Mapping[str, str] | None = None, timezone: str | None = None) -> None:
        self.schema, self.mapping = schema, dict(mapping or {})
        for name in self.mapping:
            if name not in schema.events:
                known = ", ".join(schema.events)
                raise TidegateError(
                    f"There is no column {name!r} to map. Map one of {known}, or declare it in schema.yml."
                )
            if schema.events[name].generated:
                raise TidegateError(f"{name} is generated, so it cannot be mapped. Remove `generated` from schema.yml.")
        if timezone is not None and (wrong := timezone_problem(timezone)):
            raise TidegateError(f"{wrong[0].capitalize()} {wrong[1]}")
        self.zone = None if timezone is None else zone_of(timezone)
        self.columns = [column for column in schema.events.values() if not column.generated]

    def of(self, record: Record, event_id: str | None = None) -> bytes:
        """The message; `event_id` goes in where it has none (and the schema does not generate it)."""
        if isinstance(record, bytes):
            return self._line(record, event_id)
        fields: _Fields = {}
        for column in self.columns:
            value = self._value(column, self._found(column, record))
            if value is not None:
                _put(fields, column.path, value)
        return _write(self._with_id(fields, event_id))

    def of_all(self, records: Sequence[Record]) -> list[bytes]:
        """`of` each, without an event id."""
        if self.mapping or self.zone is not None:
            return [self.of(record) for record in records]
        return [record if isinstance(record, bytes) else self.of(record) for record in records]

    def _line(self, line: bytes, event_id: str | None) -> bytes:
        if not self.mapping and self.zone is None and event_id is None:
            return line
        try:
            before = _fields(line)
            fields = dict(before)  # its inner objects are bytes, so `before` stays as it was
            for name, source in self.mapping.items():
                way = (source,) if source in before else tuple(source.split("."))
                _put(fields, self.schema.events[name].path, _get(before, way) or b"null")
            for column in self.columns if self.zone else ():
                raw = _get(fields, column.path) if column.type.kind is Kind.TIMESTAMPTZ else None
                if raw is not None and raw[:1] == b'"':
                    _put(fields, column.path, _string(self._zoned(_text(raw))))
            fields = self._with_id(fields, event_id)
            return line if fields == before else _write(fields)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return line  # no JSON object: the decoder says so

    def _with_id(self, fields: _Fields, event_id: str | None) -> _Fields:
        path = self.schema.events["event_id"].path
        if event_id is not None and path and (_get(fields, path) or b"null") == b"null":
            _put(fields, path, _string(event_id))
        return fields

    def _found(self, column: EventColumn, record: Mapping[str, object]) -> object:
        source = self.mapping.get(column.name)
        if source is not None:
            return record[source] if source in record else _inside(record, tuple(source.split(".")))
        dotted = ".".join(column.path)
        for value in (record.get(dotted), _inside(record, column.path), record.get(column.name)):
            if value is not None:
                return value
        return None

    def _value(self, column: EventColumn, value: object) -> bytes | None:
        """The value in JSON; None where it is missing."""
        kind = column.type.kind
        if value is None:
            return None
        if isinstance(value, str):
            if kind is Kind.TEXT:
                return _string(value)
            return self._from_text(kind, value.strip()) if value.strip() else None
        if kind is Kind.TIMESTAMPTZ and isinstance(value, date):
            return _string(self._zoned(_iso(value)))
        if kind is Kind.TEXT and isinstance(value, bool):
            return _string(str(value).lower())
        if kind is Kind.TEXT and isinstance(value, int | Decimal | UUID):
            return _string(f"{value:f}" if isinstance(value, Decimal) and value.is_finite() else str(value))
        if kind is Kind.TEXT and isinstance(value, date):
            return _string(_iso(value))
        return _typed(value)

    def _from_text(self, kind: Kind, text: str) -> bytes:
        if kind is Kind.TIMESTAMPTZ:
            return _string(self._zoned(text))
        if kind is Kind.BOOLEAN:
            known = _BOOLEANS.get(text.lower())
            return _string(text) if known is None else known
        number = json_number(text)
        return _string(text) if number is None else number.encode()

    def _zoned(self, text: str) -> str:
        """The same text, or, where it has no zone and one was given, the instant in UTC."""
        if self.zone is None:
            return text
        try:
            instant(text, None)
        except ZoneMissing:
            try:
                return text_of(instant(text, self.zone))
            except BadTime:
                return text
        except BadTime:
            return text
        return text


def _iso(value: date) -> str:
    if not isinstance(value, datetime):
        return f"{value.isoformat()}T00:00:00"
    if value.tzinfo is None:
        return value.isoformat(timespec="microseconds")
    try:
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    except OverflowError:  # beyond the years 1 to 9999 in UTC: the decoder says so
        return value.isoformat(timespec="microseconds")


def _typed(value: object) -> bytes:
    """A number, or what no column takes, in JSON."""
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, int | float | Decimal):
        number = json_number(repr(value) if isinstance(value, float) else str(value))
        return _string(str(value)) if number is None else number.encode()
    return json.dumps(value, default=str).encode()


def _string(text: str) -> bytes:
    try:
        return _encode(text)
    except UnicodeEncodeError:  # half a character: as an escape, which the decoder refuses
        return json.dumps(text).encode()


def _inside(record: Mapping[str, object], way: Sequence[str]) -> object:
    value: Any = record
    for key in way:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def _fields(text: bytes) -> _Fields:
    return {key: bytes(raw) for key, raw in _raws(text).items()}


def _write(fields: _Fields) -> bytes:
    return _encode({key: msgspec.Raw(raw) for key, raw in fields.items()})


def _get(fields: _Fields, way: Sequence[str]) -> bytes | None:
    raw = fields.get(way[0])
    if raw is None or len(way) == 1:
        return raw
    return _get(_fields(raw), way[1:]) if raw[:1] == b"{" else None


def _put(fields: _Fields, way: Sequence[str], value: bytes) -> None:
    """Sets the value; what stands on the way and is no object is replaced by one."""
    key = way[0]
    if len(way) > 1:
        raw = fields.get(key)
        inner = _fields(raw) if raw is not None and raw[:1] == b"{" else {}
        _put(inner, way[1:], value)
        value = _write(inner)
    fields[key] = value
