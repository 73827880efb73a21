"""A first test of a segment from real events: a few users, what they did, and what the segment says of them now.

The users are some who left, some who are in, and some who never were; under other names, since a test is kept in
version control. Of their events those stay that the definition may count, with the columns that it reads. What is
written has been run: it passes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import yaml

from console.evaluation import evaluate
from console.segment_tests import times
from console.segment_tests.cases import OUT, Names, cases_of
from console.segment_tests.given import SHORT, shown
from console.segment_tests.model import read_file
from console.segment_tests.running import History, differences
from segmentation.compile import compile_files
from segmentation.compile.depends import dependencies
from segmentation.compile.plan import Plan, ProfileTerm, profile_column
from segmentation.errors import TidegateError
from segmentation.events.rows import Bool, Profiles, Rows, TextColumn, ValueColumn
from segmentation.events.schema import Schema
from segmentation.types import Kind, Type

#: Of each kind of users so many.
OF_EACH = 2
#: The number of events that shows something and can still be read; users with about so many are chosen.
EVENTS = 4


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A user: the id, the name in the test, the rows of events and of profiles, both in order of time."""

    user: str
    name: str
    rows: list[int]
    records: list[int]


def created(
    segment: str, files: Mapping[str, str], schema: Schema, rows: Rows, at: int, source: str,
    profiles: Profiles | None = None,
) -> str:  # fmt: skip
    """The text of a test file. rows: of all events; at: µs, the instant that is `now` in it."""
    plan = compile_files(_needed(segment, files), schema)
    if profiles is None and _read(plan) & {profile_column(name) for name in schema.users}:
        raise TidegateError(f"{segment} reads profiles: give a file of them too, --events FILE --profiles FILE.")
    names = Names(plan, [])
    log = evaluate(plan, rows, at, True, profiles=profiles).log
    assert log is not None
    history = History(log, names)
    matters = _matters(plan, rows) & (rows.time <= at)
    records = _records(profiles, at)
    users = _users(segment, history, rows, matters, records, at)
    if not users:
        raise TidegateError(f"{source}: no event up to {times.as_text(at)} is one that {segment} reads.")
    every = rows.time <= at
    for kept, renamed in ((matters, True), (every, True), (every, False)):
        chosen = [
            _Chosen(user, name if renamed else user, _rows_of(user, rows, kept), records.get(user, []))
            for user, name in users
        ]
        text = _text(segment, plan, names, history, rows, profiles, chosen, schema, at)
        cases, problems = cases_of(read_file(text, "created"), schema, names)
        if not problems and not any(differences(case, plan, names) for case in cases):
            return text
    raise TidegateError(f"{segment}: the events of single users do not give what all events give; write it by hand.")


def _needed(segment: str, files: Mapping[str, str]) -> dict[str, str]:
    """The files of the segment and of those that it reads."""
    by_name = {Path(file).stem: file for file in files}
    found: dict[str, str] = {}
    todo = [segment]
    while todo:
        name = todo.pop()
        if name in by_name and by_name[name] not in found:
            found[by_name[name]] = files[by_name[name]]
            todo += [each.partition("/")[0] for each in dependencies(files[by_name[name]]).segments]
    return found


def _read(plan: Plan) -> set[str]:
    return {*plan.columns, *plan.code_columns}


def _records(profiles: Profiles | None, at: int) -> dict[str, list[int]]:
    """By user the records up to `at`, in order of time."""
    found: dict[str, list[int]] = {}
    if profiles is not None:
        for record in np.argsort(profiles.time, kind="stable").tolist():
            if profiles.time[record] <= at:
                found.setdefault(profiles.user_ids[record], []).append(record)
    return found


def _matters(plan: Plan, rows: Rows) -> Bool:
    """Which rows have the texts that one of the plan's terms asks for."""
    matters = np.zeros(len(rows), np.bool_)
    for term in {term for cell in plan.cells for term in cell.terms if not isinstance(term, ProfileTerm)}:
        fits = np.ones(len(rows), np.bool_)
        for name, values in term.codes:
            column = rows.columns[name]
            assert isinstance(column, TextColumn)
            wanted = np.array([value in values for value in column.values] + [False])  # the last is for NULL, -1
            fits &= wanted[column.codes]
        matters |= fits
    return matters


def _users(
    segment: str, history: History, rows: Rows, matters: Bool, records: Mapping[str, list[int]], at: int
) -> list[tuple[str, str]]:
    """(id, name in the test): of each kind those whose events are best to read."""
    count = np.bincount(rows.user[matters], minlength=len(rows.user_ids))
    events = {user: int(number) for user, number in zip(rows.user_ids, count.tolist()) if number}
    for user, theirs in records.items():
        events[user] = events.get(user, 0) + len(theirs)
    order = sorted(events, key=lambda user: (abs(events[user] - EVENTS), user))
    inside = set(history.states(segment, at))
    ever = {user for user, _ in history.changes(segment)}
    kinds = {
        "left": [user for user in order if user in ever and user not in inside],
        "member": [user for user in order if user in inside],
        "outside": [user for user in order if user not in ever],
    }
    return [
        (user, f"{kind}-{number}") for kind, found in kinds.items() for number, user in enumerate(found[:OF_EACH], 1)
    ]


def _rows_of(user: str, rows: Rows, kept: Bool) -> list[int]:
    if user not in rows.user_ids:
        return []
    mine = np.flatnonzero(kept & (rows.user == rows.user_ids.index(user))).tolist()
    return sorted(mine, key=lambda row: (rows.time[row], rows.event_id[row]))


def _text(
    segment: str, plan: Plan, names: Names, history: History, rows: Rows, profiles: Profiles | None,
    chosen: Sequence[_Chosen], schema: Schema, at: int,
) -> str:  # fmt: skip
    read = _read(plan) - {"user_id", "event_time"}
    listed = [name for name in schema.events if name in read]
    of_users = [name for name in schema.users if profile_column(name) in read]
    lines = [
        "# Written by `tidegate test --create` from real events. Take out what you do not need, and say what it shows.",
        f"clock: {times.as_text(at)}", "", "tests:", f"  {_scalar(segment + ' as it was')}:",
    ]  # fmt: skip
    if profiles is not None and any(one.records for one in chosen):
        lines.append("    profiles:")
        for one in chosen:
            lines += [f"    - {{{', '.join(_profile(profiles, each, one, of_users, schema))}}}" for each in one.records]
    lines.append("    events:" if any(one.rows for one in chosen) else "    events: []")
    events = [(row, one) for one in chosen for row in one.rows]
    for row, one in sorted(events, key=lambda event: (rows.time[event[0]], rows.event_id[event[0]])):
        lines.append(f"    - {{{', '.join(_event(rows, row, one.name, listed, schema))}}}")
    states = history.states(segment, at)
    inside = [(one.name, states[one.user]) for one in chosen if states.get(one.user, OUT) != OUT]
    if segment in names.banded:
        held = "{" + ", ".join(f"{_scalar(name)}: {_scalar(band)}" for name, band in inside) + "}"
    else:
        held = "[" + ", ".join(_scalar(name) for name, _ in inside) + "]"
    lines += ["    members:", f"      {segment}:", f"        now: {held}"]
    changes = history.changes(segment)
    told = [(one, sorted((time, what) for (user, time), what in changes.items() if user == one.user)) for one in chosen]
    lines += ["    transitions:", f"      {segment}:{'' if any(what for _, what in told) else ' {}'}"]
    for one, found in told:
        if found:
            lines.append(f"        {_scalar(one.name)}:")
            lines += [f"          {times.as_text(time)}: {_scalar(what)}" for time, what in found]
    return "\n".join([*lines, "    until: now", ""])


def _event(rows: Rows, row: int, user: str, columns: Sequence[str], schema: Schema) -> list[str]:
    """`key: value`, the short names first."""
    short = {name: key for key, name in SHORT.items() if key not in schema.events}
    found = {"user_id": _scalar(user), "event_time": times.as_text(int(rows.time[row]))}
    for name in columns:
        if name == "event_id":
            value: str | None = _scalar(str(rows.event_id[row]))
        else:
            value = _value(rows.columns[name], row, schema.events[name].type)
        if value is not None:
            found[name] = value
    return [f"{short.get(name, name)}: {value}" for name, value in found.items()]


def _profile(profiles: Profiles, record: int, one: _Chosen, columns: Sequence[str], schema: Schema) -> list[str]:
    found = [f"user: {_scalar(one.name)}", f"at: {times.as_text(int(profiles.time[record]))}"]
    if profiles.erased[record]:
        return [*found, "erased: true"]
    for name in columns:
        if (value := _value(profiles.columns[name], record, schema.users[name].type)) is not None:
            found.append(f"{name}: {value}")
    return found


def _value(column: TextColumn | ValueColumn, row: int, type_: Type) -> str | None:
    """As it stands in a file; None for NULL."""
    if isinstance(column, TextColumn):
        return _scalar(column.values[column.codes[row]]) if column.codes[row] >= 0 else None
    if column.valid is not None and not column.valid[row]:
        return None
    held = column.data[row].item()
    match type_.kind:
        case Kind.NUMERIC:
            return shown(Decimal(held).scaleb(-type_.scale))
        case Kind.TIMESTAMPTZ:
            return times.as_text(held)
        case Kind.DOUBLE:
            return shown(Decimal(repr(held)))
    return shown(held)


def _scalar(text: str) -> str:
    """A text that stays one between braces."""
    if not text.isprintable():
        return json.dumps(text)
    listed: str = yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=float("inf"))
    return listed.strip()[1:-1]
