"""From a file as it is written to cases that can be run: every name known, every time an instant."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from console.segment_tests import times
from console.segment_tests.given import Given, events_of, profiles_of, user_of
from console.segment_tests.model import Entry, Written
from console.segment_tests.problems import Problem, Wrong
from segmentation.compile.plan import Plan
from segmentation.compile.suggest import closest, listed
from segmentation.events.rows import Profiles, Rows
from segmentation.events.schema import Schema
from segmentation.events.yaml_lines import Way

#: Where relative times count from when a test names no clock.
CLOCK = "2026-01-01T00:00:00Z"
#: States of a user in a segment without bands; in one with bands, the band or OUT.
IN, OUT = "in", "out"
ENTERS, LEAVES, NONE = "enters", "leaves", "none"


@dataclass(frozen=True, slots=True)
class Members:
    """At an instant: state by user; who is not named is OUT. segment: as it was written, bands or not."""

    segment: str
    at: int
    states: dict[str, str]
    line: int


@dataclass(frozen=True, slots=True)
class Changes:
    """All that happens in a segment: (user, instant) to ENTERS or LEAVES; with bands, to the band or NONE.

    lines: of each, and of each user under (user, None).
    """

    segment: str
    changes: dict[tuple[str, int], str]
    lines: dict[tuple[str, int | None], int]
    line: int


@dataclass(slots=True)
class Case:
    """One test. until: µs, what happens later is not looked at."""

    file: str
    line: int
    name: str
    clock: int
    rows: Rows
    profiles: Profiles
    given: list[Given]
    until: int
    members: list[Members] = field(default_factory=list)
    changes: list[Changes] = field(default_factory=list)

    @property
    def segments(self) -> set[str]:
        return {members.segment for members in self.members} | {changes.segment for changes in self.changes}


class Names:
    """What may be tested: the segments of a plan, bands by their own names or by that of their definition."""

    def __init__(self, plan: Plan, files: Collection[str]) -> None:
        self.segments = {name: number for number, name in enumerate(plan.names)}
        self.banded = dict.fromkeys(name.partition("/")[0] for name in plan.names if "/" in name)
        self._disabled = set(files) - set(self.segments) - set(self.banded)

    @property
    def all(self) -> list[str]:
        return [*self.banded, *self.segments]

    def bands(self, name: str) -> list[str]:
        return [each.partition("/")[2] for each in self.segments if each.partition("/")[0] == name]

    def check(self, name: str) -> None:
        """Raises Wrong for what is no segment."""
        if name in self.segments or name in self.banded:
            return
        if name in self._disabled:
            raise Wrong(f"the segment {name} is not enabled.", "Remove `enabled: false` from its header.")
        near = closest(name, [*self.all, *self._disabled])
        remedy = f"Did you mean {near}?" if near else f"There are {listed(self.all)}."
        raise Wrong(f"there is no segment {name}.", remedy)


def cases_of(written: Written, schema: Schema, names: Names) -> tuple[list[Case], list[Problem]]:
    """The file's tests in order, those that are right; and what is wrong with the others."""
    problems: list[Problem] = []
    cases = []
    for name, entry in written.content.tests.items():
        reader = _Reader(written, name, entry, names)
        case = reader.case(schema)
        problems += reader.problems
        if not reader.problems:
            cases.append(case)
    return cases, problems


class _Reader:
    def __init__(self, written: Written, name: str, entry: Entry, names: Names) -> None:
        self.written, self.name, self.entry, self.names = written, name, entry, names
        self.problems: list[Problem] = []
        self.clock = times.parse(CLOCK, 0)
        self.users: set[str] = set()
        self.latest: list[int] = []

    def report(self, way: Way, reason: str, remedy: str) -> None:
        self.problems.append(self.written.problem(("tests", self.name, *way), reason, remedy))

    def line(self, *way: str | int) -> int:
        return self.written.document.line(("tests", self.name, *way))

    def case(self, schema: Schema) -> Case:
        self._clock()
        rows, given = events_of(
            self.entry.events, schema, self.clock, lambda way, *said: self.report(("events", *way), *said)
        )
        # As they are written, so that a mistake in an event is not one about its user as well.
        entries = (*self.entry.events, *self.entry.profiles)
        said = [entry.get(key) for entry in entries for key in ("user", "user_id")]
        self.users = {user for user in said if isinstance(user, str)}
        self.latest = [each.time for each in given]
        members = [each for name, said in self.entry.members.items() for each in self._members(name, said)]
        changes = [each for name, said in self.entry.transitions.items() for each in self._changes(name, said)]
        profiles, more = profiles_of(
            self.entry.profiles, schema, self.clock, min(self.latest, default=self.clock),
            lambda way, *said: self.report(("profiles", *way), *said),
        )  # fmt: skip
        given += more
        self.latest += [each.time for each in more]
        if not self.entry.members and not self.entry.transitions:
            self.report((), "the test expects nothing.", "Write `members:` or `transitions:`.")
        until = max(self.latest, default=self.clock)
        if self.entry.until is not None and (last := self._time(("until",), self.entry.until)) is not None:
            if last < until:
                self.report(("until",), "`until` is before something that the test names.", "Write a later time.")
            until = last
        return Case(
            self.written.file, self.line(), self.name, self.clock, rows, profiles, given, until, members, changes
        )

    def _clock(self) -> None:
        """The test's own, the file's, or the usual one."""
        for way, text in ((("tests", self.name), self.entry.clock), ((), self.written.content.clock)):
            if text is None:
                continue
            try:
                self.clock = times.parse(text, self.clock)
                if not text.strip()[:4].isdigit():
                    raise Wrong(f"a clock is set to a date and a time, not to `{text}`.", f"Write clock: {CLOCK}")
            except Wrong as wrong:
                self.problems.append(self.written.problem((*way, "clock"), wrong.reason, wrong.remedy))
            return

    def _time(self, way: Way, text: object) -> int | None:
        try:
            at = times.parse(text, self.clock)
        except Wrong as wrong:
            self.report(way, wrong.reason, wrong.remedy)
            return None
        self.latest.append(at)
        return at

    def _known(self, way: Way, segment: str) -> bool:
        try:
            self.names.check(segment)
        except Wrong as wrong:
            self.report(way, wrong.reason, wrong.remedy)
            return False
        return True

    def _user(self, way: Way, value: object) -> str | None:
        """One of the test's users."""
        try:
            user = user_of(value)
            if user not in self.users:
                near = closest(user, self.users)
                remedy = f"Did you mean {near}?" if near else "Give the user an event, or take it out."
                raise Wrong(f"the test has no user {user}.", remedy)
        except Wrong as wrong:
            self.report(way, wrong.reason, wrong.remedy)
            return None
        return user

    def _members(self, segment: str, said: list[Any] | dict[str, Any]) -> Iterator[Members]:
        if not self._known(("members", segment), segment):
            return
        by_time = {"now": said} if isinstance(said, list) else said
        for text, value in by_time.items():
            way: Way = ("members", segment) if isinstance(said, list) else ("members", segment, text)
            at = self._time(way, text)
            states = self._states(way, segment, value)
            if at is not None and states is not None:
                yield Members(segment, at, states, self.line(*way))

    def _states(self, way: Way, segment: str, value: Any) -> dict[str, str] | None:
        if segment in self.names.banded:
            if not isinstance(value, dict):
                band = self.names.bands(segment)[0]
                remedy = f"Write users and bands: {{ann: {band}}}, or {segment}/{band}."
                self.report(way, f"{segment} has bands.", remedy)
                return None
            found = {self._user((*way, user), user): self._band((*way, user), segment, band, ())
                     for user, band in value.items()}  # fmt: skip
            return {user: band for user, band in found.items() if user is not None and band is not None}
        if not isinstance(value, list):
            self.report(way, "members are a list of users.", "Write [ann, bob], or [] for nobody.")
            return None
        users = [self._user((*way, number), user) for number, user in enumerate(value)]
        return {user: IN for user in users if user is not None}

    def _band(self, way: Way, segment: str, band: object, others: tuple[str, ...]) -> str | None:
        bands = [*self.names.bands(segment), *others]
        if isinstance(band, str) and band in bands:
            return band
        near = closest(str(band), bands)
        if not isinstance(band, str):
            self.report(way, f"the band `{band}` is not a text.", f'Put it in quotes: "{band}".')
        else:
            remedy = f"Did you mean {near}?" if near else f"There are {', '.join(bands)}."
            self.report(way, f"{segment} has no band {band}.", remedy)
        return None

    def _changes(self, segment: str, said: Mapping[str, Mapping[str, Any]]) -> Iterator[Changes]:
        way: Way = ("transitions", segment)
        if not self._known(way, segment):
            return
        found = Changes(segment, {}, {}, self.line(*way))
        for user, by_time in said.items():
            self._user((*way, user), user)
            found.lines[user, None] = self.line(*way, user)
            for text, value in by_time.items():
                place: Way = (*way, user, text)
                at = self._time(place, text)
                what = self._change(place, segment, value)
                if at is not None and what is not None:
                    if (user, at) in found.changes:
                        self.report(place, "this instant is named twice.", "Keep one of them.")
                    found.changes[user, at] = what
                    found.lines[user, at] = self.line(*place)
        yield found

    def _change(self, way: Way, segment: str, value: object) -> str | None:
        if segment in self.names.banded:
            return self._band(way, segment, value, (NONE,))
        if value in (ENTERS, LEAVES):
            return str(value)
        self.report(way, f"`{value}` is not what a user does here.", f"Write {ENTERS} or {LEAVES}.")
        return None
