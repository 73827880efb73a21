"""A first `schema.yml` from sample messages, for a person to read and correct.

`infer_schema(samples)` looks at every sample that is a JSON object: nested objects become dotted paths, types
follow from the values, and the four fixed columns are guessed by the names that producers commonly give them. What
it guessed or left out it says in comments. The text always loads.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec

from segmentation.errors import TidegateError
from segmentation.events.decimals import decimal_of, integer
from segmentation.events.schema import FIXED
from segmentation.events.schema_check import name_problem
from segmentation.events.times import BadTime, ZoneMissing, instant

#: Names without case, _ and -, the likeliest first.
_USUAL = {
    "user_id": ("userid", "uid", "distinctid", "customerid", "memberid", "visitorid", "anonymousid", "user", "id"),
    "event_id": ("eventid", "messageid", "insertid", "eventuuid", "uuid", "id"),
    "event_type": ("eventtype", "event", "eventname", "activitytype", "action", "activity", "type", "name"),
    "event_time": (
        "eventtime", "timestamp", "eventtimestamp", "createdat", "occurredat", "sentat", "time", "datetime", "ts",
    ),
}  # fmt: skip
_decode = msgspec.json.Decoder(float_hook=lambda text: decimal_of(text) or Decimal(0)).decode
_Path = tuple[str, ...]

#: Names that mean something else as soon as they are within an object: product.id, item.name.
_ONLY_OUTSIDE = ("id", "uuid", "user", "name", "type", "date", "time", "ts")


@dataclass(slots=True)
class _Seen:
    """What stood at one path: kinds of values, digits after the point, how many samples had it."""

    kinds: set[str] = field(default_factory=set)
    scale: int = 0
    whole_digits: int = 0
    zoned: bool = True
    count: int = 0
    values: set[str] = field(default_factory=set)

    def add(self, value: object) -> None:
        self.count += 1
        if isinstance(value, bool):
            self.kinds.add("boolean")
        elif isinstance(value, int | Decimal):
            number = Decimal(value)
            self.whole_digits = max(self.whole_digits, number.adjusted() + 1)
            if isinstance(value, int):
                self.kinds.add("bigint" if integer(number) is not None else "double")
            else:
                self.kinds.add("numeric")
                self.scale = max(self.scale, -int(number.as_tuple().exponent))
        elif isinstance(value, str):
            self.values.add(value)
            self.kinds.add(self._text(value))
        else:
            self.kinds.add("object" if isinstance(value, dict) else "list")

    def _text(self, value: str) -> str:
        if not value:
            return "empty"
        try:
            instant(value, None)
        except ZoneMissing:
            self.zoned = False
        except BadTime:
            return "text"
        return "timestamptz"

    def type(self) -> str | None:
        """The type that takes all that was seen; None where there is none."""
        kinds = self.kinds - {"empty"}
        if kinds == {"boolean"} or kinds == {"timestamptz"} or kinds == {"bigint"}:
            return next(iter(kinds))
        if kinds and kinds <= {"bigint", "numeric", "double"}:
            fits = self.whole_digits <= 9 and self.scale <= 8 and "double" not in kinds  # leaves room for larger ones
            return f"numeric(18,{max(self.scale, 2)})" if fits else "double"
        if kinds <= {"text", "timestamptz"}:
            return "text"  # also where only "" was seen
        return None


def infer_schema(samples: Sequence[bytes]) -> str:
    """schema.yml. Raises TidegateError where no sample is a JSON object."""
    seen: dict[_Path, _Seen] = {}
    read = 0
    for sample in samples:
        try:
            message = _decode(sample)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(message, dict):
            read += 1
            _collect(message, (), seen)
    if not read:
        raise TidegateError("None of the sample's lines is a JSON object. Give a file with one JSON event a line.")
    objects = {path[:end] for path in seen for end in range(1, len(path))}
    fixed = _fixed({path: what for path, what in seen.items() if path not in objects and "" not in path}, read)
    lines = [f"# Guessed from {read} events: read it, correct it, then `tidegate validate`.", "events:"]
    for name in FIXED:
        lines.append(_fixed_line(name, fixed.get(name), seen))
    taken = set(fixed.values())
    names = set(FIXED)
    for path, what in seen.items():
        if path in taken:
            continue
        if "" in path:
            lines.append(f"  # {_comment('.'.join(path))}: a name on the way is empty")
            continue
        if path in objects:
            if what.kinds == {"object"}:
                continue  # an empty one
            lines.append(f"  # {_comment('.'.join(path))}: a value in some events and an object in others")
            continue
        lines.append(_line(path, what, names))
    return "\n".join(lines) + "\n"


def _collect(message: dict[str, object], way: _Path, seen: dict[_Path, _Seen]) -> None:
    for key, value in message.items():
        path = (*way, key)
        if isinstance(value, dict) and value:
            _collect(value, path, seen)
        elif value is not None:
            seen.setdefault(path, _Seen()).add(value)


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _fixed(seen: dict[_Path, _Seen], events: int) -> dict[str, _Path]:
    """Which path is probably which fixed column. `id` is the event's where something else is the user's.

    It has to be there in most events, an event id in all, and no two the same.
    """
    found: dict[str, _Path] = {}
    for name, usual in _USUAL.items():
        wanted = "timestamptz" if name == "event_time" else "text"
        candidates = [
            (usual.index(_plain(path[-1])), len(path), path)
            for path, what in seen.items()
            if _plain(path[-1]) in usual
            and (len(path) == 1 or _plain(path[-1]) not in _ONLY_OUTSIDE)
            and path not in found.values()
            and what.type() == wanted
            and "empty" not in what.kinds
            and what.count * 2 > events
            and (name != "event_id" or len(what.values) == events)
        ]
        if candidates:
            found[name] = min(candidates)[2]
    return found


def _fixed_line(name: str, path: _Path | None, seen: dict[_Path, _Seen]) -> str:
    if path is None:
        if name == "event_id":
            return "  event_id: {generated: true}  # the events have none, so what is sent twice counts twice"
        return f"  # {name}: {{path: ...}}  # not found in the sample, and required: say where it is"
    options = [] if path == (name,) else [f"path: {_path(path)}"]
    note = ""
    if name == "event_time" and not seen[path].zoned:
        options.append("timezone: UTC")
        note = "  # the times have no zone: is it this one?"
    if not options:
        return f"  # {name} is where it should be"
    return f"  {name}: {{{', '.join(options)}}}{note}"


def _line(path: _Path, what: _Seen, names: set[str]) -> str:
    type = what.type()
    dotted = ".".join(path)
    if type is None:
        return f"  # {_comment(dotted)}: {' and '.join(sorted(what.kinds))}, which no type takes"
    name = _name(path, names)
    names.add(name)
    options = [f'type: "{type}"' if "(" in type else f"type: {type}"]
    if path != (name,):
        options.append(f"path: {_path(path)}")
    if type == "timestamptz" and not what.zoned:
        options.append("timezone: UTC")
    if "empty" in what.kinds and type != "text":
        options.append("empty_as_null: true")
    note = '  # only "" in the sample: the type is a guess' if what.kinds == {"empty"} else ""
    if type == "double":
        note = '  # exact sums need numeric, such as "numeric(18,2)"'
    return f"  {name}: {{{', '.join(options)}}}{note}"


def _name(path: _Path, names: set[str]) -> str:
    """A free column name: the last key, and as much of the path before it as is needed."""
    for start in range(len(path) - 1, -1, -1):
        words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", "_".join(path[start:]))
        name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:60] or "column"
        name = f"_{name}" if name[0].isdigit() else name
        if name not in names and name_problem(name, "events") is None:
            return name
    number = 2
    while f"{name}_{number}" in names or name_problem(f"{name}_{number}", "events"):
        number += 1
    return f"{name}_{number}"


def _path(path: _Path) -> str:
    """As YAML, within braces."""
    if all(re.fullmatch(r"[A-Za-z_$@][\w$-]*", key, re.ASCII) and not key.startswith("@") for key in path):
        dotted = ".".join(path)
        return (
            dotted
            if dotted.lower() not in ("yes", "no", "on", "off", "true", "false", "null", "y", "n")
            else f'"{dotted}"'
        )
    return "[" + ", ".join(json.dumps(key) for key in path) + "]"


def _comment(text: str) -> str:
    return json.dumps(text)[1:-1]
