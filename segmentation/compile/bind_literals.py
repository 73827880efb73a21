"""Constants: what a written number, interval, instant or cast means, exactly, or why it is refused."""

import re
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo

from segmentation.compile import tree
from segmentation.compile.bind_types import DIGITS_MAX, EXACT, INT64_MAX, INT64_MIN, double_constant, literal_number
from segmentation.compile.problems import Position, Refused
from segmentation.events.times import BadTime, ZoneMissing, instant
from segmentation.types import BIGINT, BOOLEAN, DAY, INTERVAL, SECOND, TEXT, TIMESTAMP, TIMESTAMPTZ, Kind, numeric

_UNITS = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": SECOND,
    "sec": SECOND,
    "minute": 60 * SECOND,
    "min": 60 * SECOND,
    "hour": 3600 * SECOND,
    "day": DAY,
    "week": 7 * DAY,
}
_CALENDAR = ("mon", "month", "quarter", "y", "yr", "year", "decade", "century", "centurie", "millennium", "millennia")
_MONTHS = {"mon": 1, "month": 1, "quarter": 3, "y": 12, "yr": 12, "year": 12}
_PART = re.compile(r"\s*(-?\d+)\s*([A-Za-z]+)\s*", re.ASCII)
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)\s*", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
LONGEST = 1000 * 366 * DAY
_EXAMPLE = "Write for example INTERVAL '30 days', '2 weeks', '90 minutes' or '1 day 12 hours'."
_UTC = ZoneInfo("UTC")
_WITH_ZONE = "TIMESTAMPTZ '2026-01-01 00:00:00+00'"

_INTEGERS = {
    "smallint": 15, "int2": 15, "int": 31, "integer": 31, "int4": 31, "bigint": 63, "int8": 63,
}  # fmt: skip
LOCAL = ("timestamp", "timestamp without time zone")
_ZONELESS = ("date", "time", "datetime", "timetz", "time without time zone")


def number(text: str, at: Position) -> tree.Literal:
    if not _NUMBER.fullmatch(text) and "e" not in text.lower():
        raise Refused(at, "This is not a number.", "Write for example 12.50.")
    if "e" in text.lower():
        raise Refused(
            at, "In DuckDB a number with an exponent is a double, in PostgreSQL it is exact.", "Write all its digits."
        )
    return literal_number(Decimal(text), at)


def interval(text: str, unit: str, at: Position) -> tree.Literal:
    """Of fixed length: weeks to microseconds, a day being 24 hours (the session is in UTC)."""
    return tree.Literal(_length(text, unit, at, calendar=False)[1], INTERVAL, at=at)


def calendar_interval(text: str, unit: str, at: Position) -> tuple[int, int]:
    """(months, µs), of what may have months and years in it."""
    return _length(text, unit, at, calendar=True)


def _length(text: str, unit: str, at: Position, calendar: bool) -> tuple[int, int]:
    written = f"{text} {unit}" if unit else text
    months, micros, index = 0, 0, 0
    while index < len(written):
        part = _PART.match(written, index)
        if part is None:
            reason = f"The interval '{written}' is not whole numbers with units."
            raise Refused(at, reason, _EXAMPLE)
        if len(part[1]) > DIGITS_MAX:
            raise too_long(at)
        if calendar and (size := _MONTHS.get(_singular(part[2]))):
            months += int(part[1]) * size
        else:
            micros += int(part[1]) * _unit(part[2], at)
        index = part.end()
    if not written.strip():
        raise Refused(at, "The interval is empty.", _EXAMPLE)
    if abs(micros) > LONGEST or abs(months) > 12_000:
        raise too_long(at)
    return months, micros


def too_long(at: Position) -> Refused:
    return Refused(at, "The interval is longer than a thousand years.", "Leave the window out, or shorten it.")


def _singular(word: str) -> str:
    unit = word.lower()
    return unit[:-1] if unit.endswith("s") and len(unit) > 2 else unit


def _unit(word: str, at: Position) -> int:
    singular = _singular(word)
    if singular in _UNITS:
        return _UNITS[singular]
    if singular in _CALENDAR:
        raise Refused(
            at,
            f"An interval in {word} has no fixed length: subtracting a month is not monotone "
            "(28 and 31 March less a month are both 28 February).",
            "Write days: INTERVAL '30 days', INTERVAL '365 days'.",
        )
    raise Refused(at, f"Unknown unit {word} in the interval.", _EXAMPLE)


def timestamp(text: str, at: Position) -> tree.Literal:
    """An instant, from text with an explicit offset."""
    if _DATE.fullmatch(text):
        reason = f"The date '{text}' has no zone, so when it begins depends on the session."
        raise Refused(at, reason, f"Write its first instant with the zone: TIMESTAMPTZ '{text} 00:00:00+00'.")
    try:
        if ":60" in text:
            raise BadTime("DuckDB knows no second 60")
        return tree.Literal(instant(text, None), TIMESTAMPTZ, at=at)
    except ZoneMissing:
        raise Refused(
            at, f"The time '{text}' has no zone, so it depends on the session.", f"Write the zone: {_WITH_ZONE}."
        ) from None
    except BadTime as error:
        raise Refused(at, f"'{text}' is not a time: {error}.", f"Write for example {_WITH_ZONE}.") from None


def local(text: str, at: Position) -> tree.Literal:
    """A local time, from text without a zone."""
    example = "TIMESTAMP '2026-01-01 00:00:00'"
    try:
        if ":60" in text:
            raise BadTime("DuckDB knows no second 60")
        whole = f"{text} 00:00:00" if _DATE.fullmatch(text) else text
        value = instant(whole, _UTC)
        try:
            instant(whole, None)
        except ZoneMissing:
            return tree.Literal(value, TIMESTAMP, at=at)
    except BadTime as error:
        raise Refused(at, f"'{text}' is not a local time: {error}.", f"Write for example {example}.") from None
    raise Refused(at, f"The local time '{text}' has a zone.", f"Write TIMESTAMPTZ, or leave the zone out: {example}.")


def cast(value: tree.Literal, type: tuple[str, ...], at: Position) -> tree.Literal:
    """A constant cast to a type, `at` where the type is written: its name in lower case, then its numbers."""
    name, numbers = type[0], type[1:]
    if value.value is None:
        raise Refused(value.at, "A NULL constant is never true, equal or less.", "Write IS NULL.")
    if name in ("timestamptz", "timestamp with time zone"):
        return timestamp(_text(value, name), value.at)
    if name in LOCAL and not numbers:
        return local(_text(value, name), at)
    if name in (*LOCAL, *_ZONELESS):
        raise Refused(at, f"A {name} has no zone, so it cannot be compared exactly.", f"Write {_WITH_ZONE}.")
    if name == "interval":
        return interval(_text(value, name), "", value.at)
    if name in ("text", "varchar", "character varying", "string") and not numbers:
        return tree.Literal(_text(value, name), TEXT, at=value.at)
    if name in ("boolean", "bool"):
        return _boolean(value)
    if name in _INTEGERS:
        return _integer(value, name)
    if name in ("numeric", "decimal", "dec"):
        return _decimal(value, numbers, at)
    if name in ("double precision", "double", "float8"):
        return double_constant(literal_number(_exact(value, name), value.at))
    if name in ("float", "real", "float4"):
        reason = f"{name} means different things in PostgreSQL and DuckDB."
        raise Refused(at, reason, "Write double precision or numeric(p,s).")
    raise Refused(
        at,
        f"A cast to {name} is not supported.",
        "Constants can be cast to timestamptz, interval, bigint, numeric(p,s), double precision, boolean and text.",
    )


def _text(value: tree.Literal, name: str) -> str:
    if not isinstance(value.value, str):
        raise Refused(value.at, f"Only a text can be cast to {name}.", "Put it in single quotes.")
    return value.value


def _boolean(value: tree.Literal) -> tree.Literal:
    if isinstance(value.value, bool):
        return value
    known = {"true": True, "false": False}.get(value.value.lower()) if isinstance(value.value, str) else None
    if known is None:
        raise Refused(value.at, "This is neither true nor false.", "Write TRUE or FALSE.")
    return tree.Literal(known, BOOLEAN, at=value.at)


def _exact(value: tree.Literal, name: str) -> Decimal:
    if isinstance(value.value, bool | float) or value.type.kind in (Kind.TIMESTAMPTZ, Kind.INTERVAL):
        raise Refused(value.at, f"This cannot be cast to {name}.", "Write the number itself.")
    text = str(value.value)
    try:
        if not _NUMBER.fullmatch(text):
            raise InvalidOperation
        return Decimal(text.strip())
    except InvalidOperation:
        raise Refused(value.at, f"'{text}' is not a number in digits.", "Write for example '12.50'.") from None


def _integer(value: tree.Literal, name: str) -> tree.Literal:
    exact = _exact(value, name)
    if exact != exact.to_integral_value():
        raise Refused(value.at, f"{exact} is not a whole number.", "Remove the cast, or write a whole number.")
    bits = _INTEGERS[name]
    if not max(INT64_MIN, -(2**bits)) <= exact <= min(INT64_MAX, 2**bits - 1):
        raise Refused(value.at, f"{exact} is too large for {name}.", "Write bigint, or a smaller number.")
    return tree.Literal(int(exact), BIGINT, at=value.at)


def _decimal(value: tree.Literal, numbers: tuple[str, ...], at: Position) -> tree.Literal:
    if not numbers:
        reason = "numeric without digits is exact in PostgreSQL and numeric(18,3) in DuckDB."
        raise Refused(at, reason, "Write numeric(18,2), or leave the cast out.")
    precision, scale = (int(each) if len(each) <= 3 else DIGITS_MAX + 1 for each in (*numbers, "0")[:2])
    if len(numbers) > 2 or not 1 <= precision <= DIGITS_MAX or scale > precision:
        raise Refused(at, "numeric(p,s) needs 1 <= p <= 38 and s <= p.", "Write for example numeric(18,2).")
    exact = _exact(value, "numeric")
    whole = len(str(abs(int(exact)))) if int(exact) else 0
    rounded = exact.quantize(Decimal(1).scaleb(-scale), context=EXACT) if whole <= DIGITS_MAX else None
    if rounded is None or exact != rounded or whole > precision - scale:
        raise Refused(value.at, f"{exact} does not fit numeric({precision},{scale}) unrounded.", "Leave the cast out.")
    return tree.Literal(rounded, numeric(precision, scale), at=value.at)
