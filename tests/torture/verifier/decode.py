"""Messages as events or as refusals, by docs/events.md alone: a decoder that shares no line with the engine's."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

REQUIRED = ("user_id", "event_id", "event_type", "event_time")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_NUMERIC = re.compile(r"numeric\((\d+),\s*(\d+)\)")
_BIGINT = 1 << 63


@dataclass(frozen=True, slots=True)
class Message:
    """As it lies in Kafka; timestamp_ms is the message's own."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """An accepted message; time in µs; columns in the schema's order, event_type first."""

    partition: int
    offset: int
    user_id: str
    event_id: str
    time: int
    columns: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    path: tuple[str, ...]
    least: Decimal | None = None


class Refused(Exception):
    """The argument is the reason, as the dead letter has it."""


class Decoder:
    """`columns` are the declared ones without the three that every event has beside event_type."""

    def __init__(self, schema: Path, max_skew_us: int) -> None:
        declared: Mapping[str, Mapping[str, Any]] = yaml.safe_load(schema.read_text())["events"]
        self.columns = [Column("event_type", "text", ("event_type",))]
        for name, given in declared.items():
            path = tuple(str(given.get("path", name)).split("."))
            least = given.get("min")
            self.columns.append(Column(name, given["type"], path, None if least is None else Decimal(str(least))))
        self._max_skew_us = max_skew_us

    def read(self, message: Message) -> Event:
        """Raises Refused."""
        fields = _object(message.value)
        for name in REQUIRED:
            if fields.get(name) is None:
                raise Refused("missing_field")
            if not isinstance(fields[name], str):
                raise Refused("wrong_type")
        if not fields["user_id"]:
            raise Refused("empty_user_id")
        time = _time(fields["event_time"])
        values = tuple(_value(column, _at(fields, column.path)) for column in self.columns)
        if time - message.timestamp_ms * 1_000 > self._max_skew_us:
            raise Refused("event_time_in_future")
        return Event(message.partition, message.offset, fields["user_id"], fields["event_id"], time, values)


def _object(value: bytes | None) -> dict[str, Any]:
    if value is None:
        raise Refused("no_value")
    if value[:1] == b"\0" and len(value) >= 5:
        raise Refused("schema_registry_framing")
    try:
        found = json.loads(value.decode(), parse_float=Decimal, parse_constant=_no_constant)
    except ValueError:  # what is not UTF-8 too
        raise Refused("not_json") from None
    if not isinstance(found, dict):
        raise Refused("not_an_object")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(text)


def _at(fields: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if fields is None:
            return None
        if not isinstance(fields, dict):
            raise Refused("wrong_type")
        fields = fields.get(name)
    return fields


def _time(text: str) -> int:
    found = _TIME.fullmatch(text)
    if found is None:
        raise Refused("bad_time")
    clock, fraction, zone = found.groups()
    if zone is None:
        raise Refused("time_without_zone")
    try:
        at = datetime.fromisoformat(clock.upper() + ("+00:00" if zone in "Zz" else zone))
    except ValueError:
        raise Refused("bad_time") from None
    return round(at.timestamp()) * 1_000_000 + int((fraction or "")[:6].ljust(6, "0"))


def _value(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.type in ("text", "boolean"):
        if not isinstance(value, str if column.type == "text" else bool):
            raise Refused("wrong_type")
        return value
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise Refused("wrong_type")
    number = _number(column.type, Decimal(value))
    if column.least is not None and number < column.least:
        raise Refused("not_allowed")
    return number


def _number(type_: str, number: Decimal) -> Decimal | int:
    if type_ == "bigint":
        if number != number.to_integral_value() or not -_BIGINT <= number < _BIGINT:
            raise Refused("wrong_type")
        return int(number)
    found = _NUMERIC.fullmatch(type_)
    assert found is not None, f"the verifier does not know the type {type_}"
    precision, scale = map(int, found.groups())
    try:
        rounded = number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)
    except InvalidOperation:
        raise Refused("wrong_type") from None
    if abs(rounded) >= Decimal(10) ** (precision - scale):
        raise Refused("wrong_type")
    return rounded
