"""Events and profiles that a test gives, as the decoders take them: defaults put in, times and columns checked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np

from console.segment_tests import times
from console.segment_tests.problems import Wrong
from segmentation.compile.suggest import closest, listed
from segmentation.events.decode import Decoder
from segmentation.events.profiles import ProfileDecoder
from segmentation.events.rows import Profiles, Rows
from segmentation.events.schema import EventColumn, Schema
from segmentation.types import Kind

#: Short names of the columns that every event has.
SHORT = {"user": "user_id", "type": "event_type", "at": "event_time", "id": "event_id"}
#: What an event is of whose type nobody said anything.
DEFAULT_TYPE = "event"

_encode = msgspec.json.Encoder(decimal_format="number").encode
Report = Callable[[tuple[str | int, ...], str, str], None]


@dataclass(frozen=True, slots=True)
class Given:
    """An event or a profile of a user, for people: its time (µs), and what else was written."""

    user: str
    time: int
    text: str


def user_of(value: object, known: str = "user: ann") -> str:
    """A user id as it was written; raises Wrong."""
    if isinstance(value, str) and value:
        return value
    if value is None or value == "":
        raise Wrong("there is no user.", f"Write {known}.")
    raise Wrong(f"the user {shown(value)} is not a text.", f'Put it in quotes: "{value}".')


def events_of(entries: Sequence[Mapping[str, Any]], schema: Schema, clock: int, report: Report) -> tuple[
    Rows, list[Given]
]:  # fmt: skip
    """In the order of the test. report((number, column), reason, remedy): what is wrong with an entry."""
    good: list[tuple[int, bytes, str]] = []
    given = []
    for number, entry in enumerate(entries):
        values: dict[str, Any] = {"event_type": DEFAULT_TYPE, "event_time": "now"}
        event_id = f"given-{number:06d}"  # in the file's order, which decides where times are equal
        wrong = False
        for key, value in entry.items():
            name = key if key in schema.events else SHORT.get(key, key)
            try:
                if name not in schema.events:
                    raise _unknown(key, schema.events, list(SHORT))
                values[name] = user_of(value) if name == "user_id" else checked(schema.events[name], value)
            except Wrong as found:
                report((number, key), found.reason, found.remedy)
                wrong = True
        if "user_id" not in values and not wrong:
            report((number,), "the event has no user.", "Write user: ann.")
            wrong = True
        for name, column in schema.events.items():
            if column.type.kind is Kind.TIMESTAMPTZ and values.get(name) is not None:
                try:
                    values[name] = times.as_text(times.parse(values[name], clock))
                except Wrong as found:
                    key = next((key for key in entry if key == name or SHORT.get(key) == name), name)
                    report((number, key), found.reason, found.remedy)
                    wrong = True
        if wrong:
            continue
        event_id = values.pop("event_id", event_id)
        try:
            good.append((number, _encode(nested(values, schema.events)), event_id))
        except Wrong as found:
            report((number,), found.reason, found.remedy)
            continue
        fixed = ("user_id", "event_time", "event_type")
        told = [f"{name}={shown(value)}" for name, value in values.items() if name not in fixed]
        text = "  ".join([values["event_type"], *told])
        given.append(Given(values["user_id"], times.parse(values["event_time"], clock), text))
    count = len(good)
    decoded = Decoder(schema, None).decode(
        [message for _, message, _ in good], np.arange(count), np.full(count, -1, np.int64),
        event_ids=[event_id for _, _, event_id in good],
    )  # fmt: skip
    for reject in decoded.rejects:
        report((good[reject.index][0],), f"the event would be refused: {reject.detail}.", "Correct the value.")
    return decoded.rows, given


def profiles_of(
    entries: Sequence[Mapping[str, Any]], schema: Schema, clock: int, earliest: int, report: Report
) -> tuple[Profiles, list[Given]]:
    """In the order of the test. earliest: µs, the time of those that have none."""
    good: list[tuple[int, str, bytes | None, int]] = []
    given = []
    for number, entry in enumerate(entries):
        values: dict[str, Any] = {}
        user, time, erased, wrong = "", earliest, False, False
        for key, value in entry.items():
            try:
                match key:
                    case "user" | "user_id":
                        user = user_of(value)
                    case "at":
                        time = times.parse(value, clock)
                    case "erased":
                        erased = value is True
                    case _ if key in schema.users:
                        values[key] = _profile_value(schema.users[key], value, clock)
                    case _:
                        raise _unknown(key, schema.users, ["user", "at", "erased"])
            except Wrong as found:
                report((number, key), found.reason, found.remedy)
                wrong = True
        if not user and not wrong:
            report((number,), "the profile has no user.", "Write user: ann.")
            wrong = True
        if erased and values:
            report((number,), "who is erased has no values.", "Leave them out, or take `erased` out.")
            wrong = True
        if not wrong:
            message = None if erased else _encode(nested(values, schema.users))
            good.append((number, user, message, time))
            told = [f"{name}={shown(value)}" for name, value in values.items()]
            given.append(Given(user, time, "erased" if erased else "  ".join(["profile", *told])))
    decoded = ProfileDecoder(schema).decode(
        [user.encode() for _, user, _, _ in good], [message for _, _, message, _ in good], np.arange(len(good)),
        np.array([time for *_, time in good], np.int64),
    )  # fmt: skip
    for reject in decoded.rejects:
        report((good[reject.index][0],), f"the profile would be refused: {reject.detail}.", "Correct the value.")
    return decoded.profiles, given


def _profile_value(column: EventColumn, value: Any, clock: int) -> Any:
    value = checked(column, value)
    if column.type.kind is Kind.TIMESTAMPTZ and value is not None:
        return times.as_text(times.parse(value, clock))
    return value


def checked(column: EventColumn, value: Any) -> Any:
    """The value, where it may be one of the column; times are looked at later. Raises Wrong."""
    if isinstance(value, list | dict):
        raise Wrong(f"`{column.name}` is one value.", f"It is {column.type}.")
    if value is not None and column.type.kind is Kind.TEXT and not isinstance(value, str):
        raise Wrong(f"`{column.name}` is a text, and {shown(value)} is none.", f'Put it in quotes: "{shown(value)}".')
    if value is None and column.required:
        raise Wrong(f"`{column.name}` is never NULL.", "Leave it out, or write a value.")
    return value


def nested(values: Mapping[str, Any], columns: Mapping[str, EventColumn]) -> dict[str, Any]:
    """A message with every value at its column's path. Raises Wrong where two columns of one path differ."""
    message: dict[str, Any] = {}
    for name, value in values.items():
        inner = message
        *way, last = columns[name].path
        for key in way:
            inner = inner.setdefault(key, {})
        if inner.setdefault(last, value) != value:
            raise Wrong(f"`{name}` is read from where another column is.", "Give both the same value.")
    return message


def _unknown(key: str, columns: Mapping[str, EventColumn], short: Sequence[str]) -> Wrong:
    near = closest(key, [*short, *columns])
    return Wrong(f"there is no column {key}.", f"Did you mean {near}?" if near else f"There are {listed(columns)}.")


def shown(value: Any) -> str:
    """As it would be written in the file."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)
