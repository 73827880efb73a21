"""What may stand in `schema.yml`: names, types, paths, zones and constants, and how to say what may not.

A problem is (reason, remedy). Nothing here knows lines or files; `schema` does.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from segmentation.events.decimals import decimal_of, double, integer, scaled
from segmentation.events.times import BadTime, ZoneMissing, instant
from segmentation.types import BIGINT, BOOLEAN, DOUBLE, TEXT, TIMESTAMPTZ, Kind, Type, numeric

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from segmentation.events.schema import Allowed, EventColumn

TYPES = 'text, bigint, "numeric(18,2)", double, boolean or timestamptz'
MAX_PRECISION = 18

#: What pydantic puts into a way for the branches of a union.
UNION_STEPS = ("str", "list[str]", "constrained-str")

_SIMPLE = {str(type): type for type in (TEXT, BIGINT, DOUBLE, BOOLEAN, TIMESTAMPTZ)}
_OTHER_NAMES = {
    "string": "text", "str": "text", "varchar": "text", "char": "text", "uuid": "text", "json": "text",
    "int": "bigint", "integer": "bigint", "int4": "bigint", "int8": "bigint", "int64": "bigint", "long": "bigint",
    "smallint": "bigint", "number": "double", "float": "double", "float8": "double", "float64": "double",
    "real": "double", "double precision": "double", "decimal": '"numeric(18,2)"', "numeric": '"numeric(18,2)"',
    "money": '"numeric(18,2)"', "bool": "boolean", "timestamp": "timestamptz", "datetime": "timestamptz",
    "date": "timestamptz", "time": "timestamptz", "timestamp with time zone": "timestamptz",
}  # fmt: skip
_NUMERIC = re.compile(r"numeric\s*\(\s*(\d{1,4})\s*(?:,\s*(-?\d{1,4})\s*)?\)")
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)
# PostgreSQL's reserved words (its manual, appendix C). `user` is the worst: unquoted it is the database's user.
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """all analyse analyze
    and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true
    union unique user using variadic verbose when where window with""",
    )
)

#: What stands beside the declared columns where events are kept (storage.chunk_files).
_KEPT_BESIDE = ("known_at", "_user", "_partition", "_offset")

Wrong = tuple[str, str]


def name_problem(name: str, section: str) -> Wrong | None:
    if section == "users" and name == "user_id":
        return "users always have user_id: it is the record's key.", "Remove it."
    rename = "Choose another name and say with `path` where it is in the message."
    if not _IDENTIFIER.fullmatch(name) or len(name) > 63:
        return f"`{name}` cannot be a column: a name is lower-case letters, digits and _, 63 at most.", rename
    if name in _RESERVED:
        return f"`{name}` is a word of SQL itself.", rename
    if section == "events" and name in _KEPT_BESIDE:
        return f"`{name}` is what the files of events call something of their own.", rename
    return None


def type_of(text: str) -> Type | Wrong:
    name = text.strip().lower()
    if name in _SIMPLE:
        return _SIMPLE[name]
    found = _NUMERIC.fullmatch(name)
    if found:
        precision, scale = int(found[1]), int(found[2] or 0)
        if found[2] is None:
            return f"`{text}` does not say its scale.", f"Write `numeric({precision},0)` or the digits after the point."
        if not 1 <= precision <= MAX_PRECISION:
            reason = f"{precision} digits do not fit: numeric is held exactly in 64 bits."
            return reason, f"Write a precision from 1 to {MAX_PRECISION}."
        if not 0 <= scale <= precision:
            return f"a scale of {scale} does not fit {precision} digits.", f"Write a scale from 0 to {precision}."
        return numeric(precision, scale)
    meant = _OTHER_NAMES.get(name) or next(iter(get_close_matches(name, _SIMPLE, 1)), None)
    return f"`{text}` is not a type.", f"Did you mean {meant}?" if meant else f"Write {TYPES}."


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo | None:
    """The IANA zone of that name, None if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def timezone_problem(name: str) -> Wrong | None:
    if zone_of(name) is not None:
        return None
    near = get_close_matches(name, available_timezones(), 1, 0.5)
    return f"there is no time zone `{name}`.", f"Write an IANA name, such as {near[0] if near else 'Europe/Berlin'}."


def path_problems(columns: Iterable["EventColumn"]) -> Iterator[tuple[str, str, str]]:
    """(column, reason, remedy) where two columns read the message in ways that exclude each other."""
    read: dict[tuple[str, ...], EventColumn] = {}
    inner: dict[tuple[str, ...], EventColumn] = {}
    for column in columns:
        path = column.path
        if not path:
            continue
        dotted = ".".join(path)
        same = read.get(path)
        if same and (same.type, same.empty_as_null) != (column.type, column.empty_as_null):
            yield (
                column.name,
                f"`{dotted}` is read by `{same.name}` already, as {same.type}.",
                "Give both the same `type` and `empty_as_null`, or keep one.",
            )
        above = next((read[path[:end]] for end in range(1, len(path)) if path[:end] in read), None)
        if above or path in inner:
            other = above or inner[path]
            yield (
                column.name,
                f"`{dotted}` and `{'.'.join(other.path)}` of `{other.name}` cannot both be read: "
                "one would be a value and an object at once.",
                "Correct one of the paths.",
            )
        read.setdefault(path, column)
        for end in range(1, len(path)):
            inner.setdefault(path[:end], column)


def constant(value: Any, type: Type) -> "Allowed | None":
    """A value from the file as the type holds it; None if it is none of that type."""
    if isinstance(value, bool):
        return None
    if type.kind is Kind.TEXT:
        return value if isinstance(value, str) and "\0" not in value else None
    if type.kind is Kind.TIMESTAMPTZ:
        try:
            return instant(value, None) if isinstance(value, str) else None
        except (BadTime, ZoneMissing):
            return None
    number = decimal_of(str(value)) if isinstance(value, int | Decimal) else None
    if number is None:
        return None
    if type.kind is Kind.BIGINT:
        return integer(number)
    if type.kind is Kind.DOUBLE:
        return double(str(number))
    whole = scaled(number, type.precision, type.scale)
    if whole is None:
        return None
    kept = Decimal(whole).scaleb(-type.scale)
    return kept if kept == number else None


def constant_problem(value: Any, type: Type) -> Wrong:
    shown = str(value).lower() if isinstance(value, bool) else str(value)
    if type.kind is Kind.TEXT:
        return f"{shown} is not a text here.", f'Put it in quotes: "{shown}".'
    if type.kind is Kind.TIMESTAMPTZ:
        return f"`{shown}` is not a time with a zone.", 'Write "2026-01-31T00:00:00Z".'
    return f"`{shown}` is not a {type}.", "Write a number that the type can hold exactly."


def shape_problem(
    details: "ErrorDetails", way: tuple[str | int, ...], file: "type[BaseModel]", entry: "type[BaseModel]"
) -> Wrong:
    """What pydantic found, in the words of the file."""
    model = file if len(way) <= 1 else entry
    keys = list(model.model_fields)
    if details["type"] == "extra_forbidden":
        near = get_close_matches(str(way[-1]), keys, 1)
        hint = f"Did you mean `{near[0]}`?" if near else f"Possible are {', '.join(keys)}."
        return f"there is no key `{way[-1]}` here.", hint
    if not way:
        return "a schema is `events:` and `users:` with columns below.", "Write `events:` in the first line."
    if len(way) == 1:
        return f"`{way[0]}` is columns, each by its name.", "Write `name: {type: text}` below it, indented."
    if len(way) == 2:
        return f"`{way[1]}` needs braces or lines of its own.", f"Write `{way[1]}: {{type: text}}`."
    wanted = {"bool_type": "true or false", "list_type": "a list, such as [a, b]", "string_type": "a text"}
    want = "names joined by dots" if way[2] == "path" else wanted.get(details["type"], "something else")
    return f"`{way[2]}` is {want}.", "Correct the value."
