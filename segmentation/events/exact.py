"""One message at a time, exactly, with the reason if it is refused: what decoding means.

`decode` is the same for whole batches; whatever it is not sure of comes here, so here is every rule:

- Bytes must be UTF-8, JSON, an object, at most 1 MiB. Of a key given twice the last counts. Fields that no column
  reads are only skipped: their syntax is checked, nothing else. Where a path leads through null or a missing
  field, the column is NULL; through anything that is no object, the type is wrong.
- user_id, event_id, event_type and event_time must be there, and not null. user_id and event_id are at most 512
  bytes, not empty, and strings: a number is refused, since 7 and "7" would be two spellings of one user.
- text: a JSON string without NUL, which PostgreSQL's text cannot hold. boolean: true or false.
- bigint: a number that is whole and within 64 bits, 12.0 and 1.2e1 being 12. numeric: see `decimals`.
  double: the nearest one; -0 is 0; beyond the largest is refused.
- timestamptz: a JSON string; see `times`.
- With `empty_as_null`, "" is NULL, for every type; and a number may stand in quotes.
- one_of, min and max look at the value as it is kept, so after numeric's rounding. NULL passes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import msgspec

from segmentation.events import decimals
from segmentation.events.paths import Field, Node, struct, tree
from segmentation.events.rejects import Reason, Refusal, shown
from segmentation.events.schema import FIXED, EventColumn
from segmentation.events.schema_check import zone_of
from segmentation.events.times import BadTime, ZoneMissing, instant
from segmentation.types import Kind

MESSAGE_BYTES_MAX = 1 << 20
ID_BYTES_MAX = 512

#: A value as a numpy column holds it (numeric and timestamptz as int), text as str.
Held = str | int | float | bool | None

_MISSING = msgspec.Raw(b"")
_text = msgspec.json.Decoder(str).decode
_whole = msgspec.json.Decoder(msgspec.Raw).decode


@dataclass(frozen=True, slots=True)
class _Level:
    """How one object of the message is taken apart, its values left as they are written."""

    decoder: "msgspec.json.Decoder[msgspec.Struct]"
    names: tuple[tuple[str, str], ...]  # (field name, key) of the leaves
    inner: tuple[tuple[str, str, "_Level"], ...]

    @staticmethod
    def of(node: Node) -> "_Level":
        names = {key: name for name, key in node.fields.items()}
        return _Level(
            msgspec.json.Decoder(struct(node, [Field(msgspec.Raw, _MISSING, _MISSING)] * len(names))),
            tuple((names[key], key) for key in node.leaves),
            tuple((names[key], key, _Level.of(inner)) for key, inner in node.inner.items()),
        )

    def read(self, message: msgspec.Struct, way: tuple[str, ...], found: dict[tuple[str, ...], bytes]) -> None:
        """Every leaf that the message has, null included, into `found`."""
        for name, key in self.names:
            raw = bytes(getattr(message, name))
            if raw:
                found[*way, key] = raw
        for name, key, level in self.inner:
            raw = bytes(getattr(message, name))
            if raw in (b"", b"null"):
                continue
            here = (*way, key)
            if raw[:1] != b"{":
                raise Refusal(Reason.WRONG_TYPE, f"{'.'.join(here)}: expected an object, got {described(raw)}")
            level.read(level.decoder.decode(raw), here, found)


class Exact:
    """Reads messages by the columns of a schema's section; required: names that must be there, and not null."""

    def __init__(self, columns: Mapping[str, EventColumn], required: Collection[str] = FIXED) -> None:
        self.columns, self._required = columns, required
        self.root = _Level.of(tree(columns.values()))

    def read(self, message: bytes | None, event_id: str | None = None) -> dict[str, Held]:
        """Every column's value by name, or Refusal. `event_id` stands in where the message has none."""
        found = self._fields(message)
        return {name: self._column(column, found, event_id) for name, column in self.columns.items()}

    def _fields(self, message: bytes | None) -> Mapping[tuple[str, ...], bytes]:
        if message is None:
            raise Refusal(Reason.NO_VALUE, "the message has no value (a tombstone), expected a JSON object")
        if len(message) > MESSAGE_BYTES_MAX:
            detail = f"the message has {len(message)} bytes, expected at most {MESSAGE_BYTES_MAX}"
            raise Refusal(Reason.TOO_LARGE, detail)
        if message[:1] == b"\0" and len(message) >= 5:
            detail = (
                f"the message is framed for a schema registry (schema {int.from_bytes(message[1:5], 'big')}), expected "
                "plain JSON: let the producer use a JSON serializer without a registry"
            )
            raise Refusal(Reason.SCHEMA_REGISTRY_FRAMING, detail)
        try:
            message.decode()
            _whole(message)  # first, since a struct stops at what is no object, whatever follows
            found: dict[tuple[str, ...], bytes] = {}
            self.root.read(self.root.decoder.decode(message), (), found)
            return found
        except UnicodeDecodeError as error:
            raise Refusal(Reason.NOT_JSON, f"the message is not UTF-8: {error.reason} at byte {error.start}") from None
        except RecursionError:
            raise Refusal(Reason.NOT_JSON, "the message is nested too deeply") from None
        except msgspec.ValidationError:
            detail = f"expected a JSON object, got {described(message.lstrip())}"
            raise Refusal(Reason.NOT_AN_OBJECT, detail) from None
        except msgspec.DecodeError as error:
            raise Refusal(Reason.NOT_JSON, f"the message is not JSON: {_why(message, error)}") from None

    def _column(self, column: EventColumn, found: Mapping[tuple[str, ...], bytes], event_id: str | None) -> Held:
        raw = found.get(column.path, b"null")
        value = read_value(column, raw) if raw != b"null" else None
        required = column.name in self._required
        if required and column.name == "event_id" and value is None:
            value = event_id
        if value is None:
            if required:
                detail = f"{_label(column)}: expected a value, it is {'null' if column.path in found else 'missing'}"
                raise Refusal(Reason.MISSING_FIELD, detail)
            return None
        if required and column.name in ("user_id", "event_id"):
            assert isinstance(value, str)
            check_id(column, value)
        check_allowed(column, value)
        return value


def check_id(column: EventColumn, value: str) -> None:
    if not value:
        reason = Reason.EMPTY_USER_ID if column.name == "user_id" else Reason.MISSING_FIELD
        raise Refusal(reason, f"{_label(column)}: expected an id, it is empty")
    size = len(value.encode())
    if size > ID_BYTES_MAX:
        raise Refusal(Reason.TOO_LARGE, f"{_label(column)}: expected at most {ID_BYTES_MAX} bytes, it has {size}")


def check_allowed(column: EventColumn, value: Held) -> None:
    one_of, least, most = allowed_as_held(column)
    if one_of is not None and value not in one_of:
        names = shown(", ".join(map(str, column.one_of or ())))
        raise Refusal(Reason.NOT_ALLOWED, f"{_label(column)}: expected one of {names}; got {_printed(column, value)}")
    if least is not None and value < least:  # type: ignore[operator]
        detail = f"expected at least {_printed(column, least)}; got {_printed(column, value)}"
        raise Refusal(Reason.NOT_ALLOWED, f"{_label(column)}: {detail}")
    if most is not None and value > most:  # type: ignore[operator]
        detail = f"expected at most {_printed(column, most)}; got {_printed(column, value)}"
        raise Refusal(Reason.NOT_ALLOWED, f"{_label(column)}: {detail}")


def allowed_as_held(column: EventColumn) -> tuple[tuple[Held, ...] | None, Held, Held]:
    """(one_of, min, max) as the column holds values: numeric as whole numbers."""

    def held(value: object) -> Held:
        if column.type.kind is Kind.NUMERIC:
            return decimals.scaled(decimals.decimal_of(str(value)), column.type.precision, column.type.scale)  # type: ignore[arg-type]
        return value  # type: ignore[return-value]

    one_of = None if column.one_of is None else tuple(map(held, column.one_of))
    return one_of, None if column.min is None else held(column.min), None if column.max is None else held(column.max)


def read_value(column: EventColumn, raw: bytes) -> Held:
    """A JSON value other than null, as written, as the column holds it; Refusal."""
    kind, first = column.type.kind, raw[:1]
    text = _text(raw) if first == b'"' else None
    if text == "" and column.empty_as_null:
        return None
    if kind is Kind.TEXT:
        if text is None:
            raise _wrong(column, "a string", raw)
        if "\0" in text:
            raise _wrong(column, "a string without the character NUL", raw)
        return text
    if kind is Kind.TIMESTAMPTZ:
        if text is None:
            raise _wrong(column, "a time as a string (RFC 3339)", raw)
        return read_time(column, text)
    if kind is Kind.BOOLEAN:
        if first not in (b"t", b"f"):
            raise _wrong(column, "true or false", raw)
        return first == b"t"
    if text is None and first not in b"-0123456789":
        raise _wrong(column, "a number", raw)
    if text is not None and not column.empty_as_null:
        raise _wrong(column, "a number, not in quotes (unless the column has empty_as_null: true)", raw)
    return read_number(column, raw.decode() if text is None else text)


def read_time(column: EventColumn, text: str) -> int:
    try:
        return instant(text, None if column.timezone is None else zone_of(column.timezone))
    except ZoneMissing:
        detail = f"expected a zone (Z or +02:00), or `timezone` in the schema; got {shown(text)}"
        raise Refusal(Reason.TIME_WITHOUT_ZONE, f"{_label(column)}: {detail}") from None
    except BadTime as error:
        detail = f"expected a time (RFC 3339), got {shown(text)}: {error}"
        raise Refusal(Reason.BAD_TIME, f"{_label(column)}: {detail}") from None


def read_number(column: EventColumn, text: str) -> int | float:
    """From the number's text: bigint, double, or numeric as a whole number of 10**-scale."""
    assert column.type.kind in (Kind.BIGINT, Kind.DOUBLE, Kind.NUMERIC)
    value: int | float | None = None
    number = decimals.decimal_of(text)
    if number is not None:
        if column.type.kind is Kind.BIGINT:
            value = decimals.integer(number)
        elif column.type.kind is Kind.DOUBLE:
            value = decimals.double(text)
        else:
            value = decimals.scaled(number, column.type.precision, column.type.scale)
    if value is None:
        whole = "a whole number of 64 bits" if column.type.kind is Kind.BIGINT else f"a number that fits {column.type}"
        raise _wrong(column, whole, text.encode())
    return value


def described(raw: bytes) -> str:
    """A JSON value for a detail."""
    kinds = {b'"': "the string", b"{": "an object", b"[": "an array", b"t": "a boolean", b"f": "a boolean"}
    kind = kinds.get(raw[:1], "")
    return kind if raw[:1] in (b"{", b"[") else f"{kind} {shown(raw)}".strip()


def _wrong(column: EventColumn, expected: str, raw: bytes) -> Refusal:
    return Refusal(Reason.WRONG_TYPE, f"{_label(column)}: expected {expected}, got {described(raw)}")


def _label(column: EventColumn) -> str:
    """The column, and where it is read if that is elsewhere; a long path is cut."""
    dotted = ".".join(column.path)
    return column.name if dotted in ("", column.name) else f"{column.name} ({shown(dotted)})"


def _printed(column: EventColumn, value: Held) -> str:
    if column.type.kind is Kind.NUMERIC and isinstance(value, int):
        return f"{value / 10**column.type.scale:.{column.type.scale}f}" if abs(value) < 2**53 else f"{value}"
    return shown(str(value))


def _why(message: bytes, error: msgspec.DecodeError) -> str:
    if not message.strip():
        return "it is empty"
    if message[:3] == b"\xef\xbb\xbf":
        return "it begins with a byte order mark"
    return str(error).removeprefix("JSON is malformed: ")
