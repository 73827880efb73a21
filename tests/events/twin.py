"""What decoding means, once more and independently: the standard library's JSON, fractions and datetime.

`read(schema, message)` gives every column's value, or the reason for the refusal. It is slow, and it shares
nothing with the decoder but the schema and the names of the reasons.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from segmentation.events.decode import Reason
from segmentation.events.schema import EventColumn, Schema
from segmentation.types import Kind

Value = str | int | float | bool | None
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Number(str):
    """A number's text."""


class Bad(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


def read(schema: Schema, message: bytes | None) -> dict[str, Value] | Reason:
    try:
        if message is None:
            raise Bad(Reason.NO_VALUE)
        if len(message) > 1024 * 1024:
            raise Bad(Reason.TOO_LARGE)
        if message[:1] == b"\0" and len(message) >= 5:
            raise Bad(Reason.SCHEMA_REGISTRY_FRAMING)
        try:
            value = json.loads(message.decode(), parse_int=Number, parse_float=Number, parse_constant=_constant)
            json.dumps(value, ensure_ascii=False).encode()  # half a character, anywhere in it, is no text
        except ValueError:
            raise Bad(Reason.NOT_JSON) from None
        if not isinstance(value, dict):
            raise Bad(Reason.NOT_AN_OBJECT)
        for column in schema.events.values():  # the decoder looks at every path before it looks at values
            _at(column.path, value)
        return {name: _column(column, _at(column.path, value)) for name, column in schema.events.items()}
    except Bad as bad:
        return bad.reason


def _constant(text: str) -> None:
    raise ValueError(text)


def _at(path: tuple[str, ...], value: object) -> object:
    for key in path:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise Bad(Reason.WRONG_TYPE)
        value = value.get(key)
    return value


def _column(column: EventColumn, value: object) -> Value:
    held = None if value is None else _value(column, value)
    if held is None:
        if column.name in ("user_id", "event_id", "event_type", "event_time"):
            raise Bad(Reason.MISSING_FIELD)
        return None
    if column.name in ("user_id", "event_id") and isinstance(held, str):
        if not held:
            raise Bad(Reason.EMPTY_USER_ID if column.name == "user_id" else Reason.MISSING_FIELD)
        if len(held.encode()) > 512:
            raise Bad(Reason.TOO_LARGE)
    shown: object = held
    if column.type.kind is Kind.NUMERIC:
        shown = Decimal(held).scaleb(-column.type.scale)
    if column.one_of is not None and shown not in column.one_of:
        raise Bad(Reason.NOT_ALLOWED)
    if column.min is not None and shown < column.min:  # type: ignore[operator]
        raise Bad(Reason.NOT_ALLOWED)
    if column.max is not None and shown > column.max:  # type: ignore[operator]
        raise Bad(Reason.NOT_ALLOWED)
    return held


def _value(column: EventColumn, value: object) -> Value:
    kind = column.type.kind
    text = value if isinstance(value, str) and not isinstance(value, Number) else None
    if text == "" and column.empty_as_null:
        return None
    if kind is Kind.TEXT and text is not None and "\0" not in text:
        return text
    if kind is Kind.BOOLEAN and isinstance(value, bool):
        return value
    if kind is Kind.TIMESTAMPTZ and text is not None:
        return time(text, column.timezone)
    if kind in (Kind.BIGINT, Kind.NUMERIC, Kind.DOUBLE):
        if isinstance(value, Number):
            return number(column, value)
        if text is not None and column.empty_as_null:
            return number(column, text)
    raise Bad(Reason.WRONG_TYPE)


def number(column: EventColumn, text: str) -> int | float:
    if not re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text):
        raise Bad(Reason.WRONG_TYPE)
    if column.type.kind is Kind.DOUBLE:
        held = float(text)
        if held in (float("inf"), float("-inf")):
            raise Bad(Reason.WRONG_TYPE)
        return 0.0 if held == 0 else held
    exact = Fraction(text if text[-1:] != "." else text + "0") if "e" not in text.lower() else _power(text)
    if column.type.kind is Kind.BIGINT:
        if exact.denominator != 1 or not -(2**63) <= exact < 2**63:
            raise Bad(Reason.WRONG_TYPE)
        return int(exact)
    whole: int = math.floor(abs(exact) * 10**column.type.scale + Fraction(1, 2))
    if whole >= 10**column.type.precision:
        raise Bad(Reason.WRONG_TYPE)
    return -whole if exact < 0 else whole


def _power(text: str) -> Fraction:
    digits, exponent = re.split("[eE]", text)
    mantissa = Fraction(digits.rstrip("."))
    power = max(-5_000, min(5_000, int(exponent)))  # the tests' mantissas are shorter than that
    return mantissa * Fraction(10) ** power


def time(text: str, zone: str | None) -> int:
    found = re.fullmatch(
        r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:)([0-9]{2})(\.[0-9]+)?(Z|z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
        text,
    )
    if not found:
        raise Bad(Reason.BAD_TIME)
    day, clock, second, fraction, suffix = found.groups()
    try:
        local = datetime.strptime(f"{day} {clock}{'59' if second == '60' else second}", "%Y-%m-%d %H:%M:%S")
        if suffix is None:
            if zone is None:
                raise Bad(Reason.TIME_WITHOUT_ZONE)
            offset = ZoneInfo(zone).utcoffset(local)
            assert offset is not None
        elif suffix in "Zz":
            offset = timedelta(0)
        else:
            digits = suffix[1:].replace(":", "").ljust(4, "0")
            if int(digits[:2]) > 23 or int(digits[2:]) > 59:
                raise Bad(Reason.BAD_TIME)
            offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:])) * (-1 if suffix[0] == "-" else 1)
        instant = local - offset  # OverflowError beyond the years 1 to 9999
        if second == "60":
            if instant.strftime("%H:%M:%S") != "23:59:59":
                raise Bad(Reason.BAD_TIME)
            instant += timedelta(seconds=1)
        instant += timedelta(microseconds=int(((fraction or ".0") + "00000")[1:7]))
    except (ValueError, OverflowError):
        raise Bad(Reason.BAD_TIME) from None
    return (instant.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def of_rows(rows: object, row: int, schema: Schema) -> Mapping[str, Value]:
    """The same form from decoded rows."""
    from segmentation.events.rows import Rows, TextColumn

    assert isinstance(rows, Rows)
    values: dict[str, Value] = {
        "user_id": rows.user_ids[rows.user[row]],
        "event_id": rows.event_id[row],
        "event_time": int(rows.time[row]),
    }
    for name, column in rows.columns.items():
        if isinstance(column, TextColumn):
            values[name] = None if column.codes[row] < 0 else column.values[column.codes[row]]
        else:
            null = column.valid is not None and not column.valid[row]
            values[name] = None if null else column.data[row].item()
    return {name: values[name] for name in schema.events}
