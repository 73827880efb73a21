"""`schema.yml`: which columns events and users have, and where in the JSON they are.

    events:                                  # user_id, event_id, event_type, event_time always exist
      event_time: {path: created_at, timezone: UTC}
      event_id: {generated: true}
      region: {type: text}
      amount: {type: "numeric(18,2)", path: properties.amount, empty_as_null: true}
    users:
      city_tier: {type: bigint}

Per column: `type`; `path`, names joined by dots, or a list where a name has a dot in it, default the column's
name; `timezone` (timestamptz): the zone of times that are sent without one; `empty_as_null`: the producer sends
"" where it has no value, and then numbers may be sent in quotes as well; `one_of`, `min`, `max`: what is allowed,
NULL always is. The four fixed columns have their types; they may be mapped. `event_id: {generated: true}` is for
producers that send none: the engine numbers the messages itself (by partition and offset), so a message that the
producer sends twice counts twice.

`load_schema(text, file)` gives a `Schema` or raises `SchemaError` with every problem of the file, one a line:
file:line, the reason, the remedy.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, StrictBool, StrictStr, ValidationError

from segmentation.errors import TidegateError
from segmentation.events import schema_check as check
from segmentation.events.yaml_lines import Document, Way, YamlError, read
from segmentation.types import TEXT, TIMESTAMPTZ, Kind, Type

Allowed = str | int | Decimal | float

FIXED: Mapping[str, Type] = {"user_id": TEXT, "event_id": TEXT, "event_type": TEXT, "event_time": TIMESTAMPTZ}


@dataclass(frozen=True, slots=True)
class EventColumn:
    """One column. `path`: keys from the message's root, () if generated; `one_of`, `min`, `max` are values as
    `segmentation.types` says for the type (timestamptz: µs)."""

    name: str
    type: Type
    path: tuple[str, ...]
    timezone: str | None = None
    empty_as_null: bool = False
    one_of: tuple[Allowed, ...] | None = None
    min: Allowed | None = None
    max: Allowed | None = None

    @property
    def generated(self) -> bool:
        return not self.path

    @property
    def required(self) -> bool:
        return self.name in FIXED


@dataclass(frozen=True)
class Schema:
    """events: the four fixed columns first, then the declared ones in the file's order; users: the declared."""

    events: dict[str, EventColumn]
    users: dict[str, EventColumn]

    @cached_property
    def digest(self) -> str:
        """Hex; changes when the meaning does, not with comments, order or spelling."""
        content = {
            section: sorted((asdict(column) for column in columns.values()), key=lambda column: str(column["name"]))
            for section, columns in (("events", self.events), ("users", self.users))
        }
        text = json.dumps(content, sort_keys=True, ensure_ascii=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, order=True)
class SchemaProblem:
    file: str
    line: int
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason} {self.remedy}"


class SchemaError(TidegateError):
    """All problems of a schema file, in order of lines."""

    def __init__(self, problems: list[SchemaProblem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Entry(BaseModel):
    """A column as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    type: StrictStr | None = None
    path: StrictStr | list[StrictStr] | None = None
    timezone: StrictStr | None = None
    empty_as_null: StrictBool = False
    generated: StrictBool = False
    one_of: list[Any] | None = None
    min: Any = None
    max: Any = None


class SchemaFile(BaseModel):
    """schema.yml as a whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: dict[str, Entry] | None = None
    users: dict[str, Entry] | None = None


def load_schema(text: str, file: str = "schema.yml") -> Schema:
    """Raises SchemaError. An empty text: only the four fixed columns."""
    try:
        document = read(text)
    except YamlError as error:
        raise SchemaError([SchemaProblem(file, error.line, error.reason, error.remedy)]) from None
    loader = _Loader(document, file)
    schema = loader.schema()
    if loader.problems:
        raise SchemaError(loader.problems)
    return schema


class _Loader:
    """From the file's content to columns; keeps every problem on the way."""

    def __init__(self, document: Document, file: str) -> None:
        self.document, self.file = document, file
        self.problems: list[SchemaProblem] = []

    def problem(self, way: Way, reason: str, remedy: str) -> None:
        self.problems.append(SchemaProblem(self.file, self.document.line(way), reason, remedy))

    def schema(self) -> Schema:
        data = {} if self.document.data is None else self.document.data
        try:
            content = SchemaFile.model_validate(data)
        except ValidationError as error:
            seen: set[Way] = set()
            for details in error.errors():
                way = tuple(step for step in details["loc"] if step not in check.UNION_STEPS)
                if way[:3] not in seen:
                    self.problem(way, *check.shape_problem(details, way, SchemaFile, Entry))
                seen.add(way[:3])
            content = SchemaFile.model_validate(self.without(seen))  # what else is wrong
        fixed = {name: EventColumn(name, type, (name,)) for name, type in FIXED.items()}
        return Schema(
            self.section("events", content.events or {}, fixed), self.section("users", content.users or {}, {})
        )

    def without(self, ways: set[Way]) -> dict[str, Any]:
        """The file's data without the columns, or whole sections, at `ways`."""
        if () in ways:
            return {}
        sections = {name: columns for name, columns in self.document.data.items() if (name,) not in ways}
        wrong = {way[:2] for way in ways}
        return {
            section: {name: entry for name, entry in (columns or {}).items() if (section, name) not in wrong}
            for section, columns in sections.items()
        }

    def section(
        self, section: str, entries: Mapping[str, Entry], columns: dict[str, EventColumn]
    ) -> dict[str, EventColumn]:
        for name, entry in entries.items():
            wrong = check.name_problem(name, section)
            if wrong:
                self.problem((section, name), *wrong)
                continue
            column = self.column(section, name, entry)
            if column:
                columns[name] = column
        for name, reason, remedy in check.path_problems(columns.values()):
            self.problem((section, name, "path"), reason, remedy)
        return columns

    def column(self, section: str, name: str, entry: Entry) -> EventColumn | None:
        before = len(self.problems)
        way: Way = (section, name)
        fixed = FIXED.get(name) if section == "events" else None
        type = self.type(way, entry, fixed)
        path = self.path(way, entry, section == "events" and name == "event_id")
        if fixed and entry.empty_as_null:
            self.problem(
                (*way, "empty_as_null"), f"{name} is required, so it cannot be NULL.", "Remove `empty_as_null`."
            )
        if type is None:
            return None
        if entry.timezone is not None:
            if type.kind is not Kind.TIMESTAMPTZ:
                self.problem((*way, "timezone"), f"a {type} has no zone.", "Remove `timezone`.")
            elif wrong := check.timezone_problem(entry.timezone):
                self.problem((*way, "timezone"), *wrong)
        one_of = None if entry.one_of is None else self.one_of(way, entry.one_of, type)
        least, most = (self.bound(way, key, value, type) for key, value in (("min", entry.min), ("max", entry.max)))
        if least is not None and most is not None and least > most:  # type: ignore[operator]
            self.problem((*way, "min"), "`min` is above `max`: no value is allowed.", "Exchange them.")
        if len(self.problems) > before:
            return None
        return EventColumn(name, type, path, entry.timezone, entry.empty_as_null, one_of, least, most)

    def type(self, way: Way, entry: Entry, fixed: Type | None) -> Type | None:
        if entry.type is None:
            if fixed is None:
                self.problem(way, f"`{way[1]}` has no type.", f"Write `{way[1]}: {{type: ...}}`: {check.TYPES}.")
            return fixed
        type = check.type_of(entry.type)
        if not isinstance(type, Type):
            self.problem((*way, "type"), *type)
            return fixed
        if fixed and type != fixed:
            self.problem((*way, "type"), f"{way[1]} is always {fixed}.", "Remove `type`.")
            return fixed
        return type

    def path(self, way: Way, entry: Entry, may_be_generated: bool) -> tuple[str, ...]:
        if entry.generated:
            if not may_be_generated:
                self.problem((*way, "generated"), "only event_id can be generated.", "Remove `generated`.")
            elif entry.path is not None:
                self.problem((*way, "path"), "a generated column is not read from the message.", "Keep one of the two.")
            return ()
        if entry.path is None:
            return (str(way[1]),)
        path = tuple(entry.path.split(".")) if isinstance(entry.path, str) else tuple(entry.path)
        if not path or "" in path:
            self.problem(
                (*way, "path"),
                "a path is names joined by dots, none of them empty.",
                'Write `properties.amount`, or `[properties, "a.b"]` where a name has a dot in it.',
            )
        return path

    def one_of(self, way: Way, values: list[Any], type: Type) -> tuple[Allowed, ...] | None:
        if type.kind not in (Kind.TEXT, Kind.BIGINT, Kind.NUMERIC):
            self.problem((*way, "one_of"), f"`one_of` is not for {type}.", "It is for text, bigint and numeric.")
            return None
        if not values:
            self.problem((*way, "one_of"), "`one_of` is empty: no value is allowed.", "List values or remove it.")
        allowed = []
        for index, value in enumerate(values):
            accepted = check.constant(value, type)
            if accepted is None:
                self.problem((*way, "one_of", index), *check.constant_problem(value, type))
            else:
                allowed.append(accepted)
        return tuple(allowed)

    def bound(self, way: Way, key: str, value: Any, type: Type) -> Allowed | None:
        if value is None:
            return None
        if type.kind in (Kind.TEXT, Kind.BOOLEAN):
            self.problem((*way, key), f"`{key}` is not for {type}.", "It is for numbers and timestamptz.")
            return None
        accepted = check.constant(value, type)
        if accepted is None:
            self.problem((*way, key), *check.constant_problem(value, type))
        return accepted
