"""A case through the evaluator of `tidegate evaluate`, and where the outcome is not the expected one."""

from dataclasses import dataclass

import numpy as np

from console.evaluation import Log, evaluate
from console.segment_tests.cases import ENTERS, IN, LEAVES, NONE, OUT, Case, Changes, Members, Names
from segmentation.compile.plan import Plan

NOTHING = "nothing"


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """A user in a segment at an instant (µs). change: about a transition there, else about membership."""

    line: int
    segment: str
    at: int
    user: str
    change: bool
    expected: str
    got: str


def differences(case: Case, plan: Plan, names: Names) -> list[Difference]:
    """In order of lines; none: the test passes."""
    def history(until: int) -> History:
        profiles = case.profiles if len(case.profiles) else None
        log = evaluate(plan, case.rows, until, True, profiles=profiles).log
        assert log is not None
        return History(log, names)

    whole = history(case.until)
    # Of a user who is erased the log forgets what was before: members are asked as of then.
    erases = bool(case.profiles.erased.any())
    found: list[Difference] = []
    for members in case.members:
        found += _members(members, history(members.at) if erases else whole)
    return sorted(found + [one for changes in case.changes for one in _changes(changes, whole)])


class History:
    """A log as states of users over time, for segments and for definitions with bands."""

    def __init__(self, log: Log, names: Names) -> None:
        self.log, self.names = log, names

    def flips(self, segment: str) -> list[tuple[int, str, str, bool]]:
        """(time, user, state, whether it begins) in order of time; where a band follows on another, it comes last."""
        wanted = {self.names.segments[segment]: IN} if segment in self.names.segments else {
            self.names.segments[f"{segment}/{band}"]: band for band in self.names.bands(segment)
        }  # fmt: skip
        log = self.log
        rows = np.flatnonzero(np.isin(log.segment, list(wanted))).tolist()
        flips = [
            (int(log.time[row]), log.user_ids[log.user[row]], wanted[int(log.segment[row])], bool(log.entered[row]))
            for row in rows
        ]
        return sorted(flips, key=lambda flip: (flip[0], flip[1], flip[3]))

    def states(self, segment: str, at: int) -> dict[str, str]:
        """By user; who is OUT is left out."""
        found: dict[str, str] = {}
        for time, user, state, begins in self.flips(segment):
            if time <= at:
                found[user] = state if begins else OUT
        return {user: state for user, state in found.items() if state != OUT}

    def changes(self, segment: str) -> dict[tuple[str, int], str]:
        banded = segment in self.names.banded
        found = {}
        for time, user, state, begins in self.flips(segment):
            found[user, time] = (state if begins else NONE) if banded else ENTERS if begins else LEAVES
        return found


def _members(expected: Members, history: History) -> list[Difference]:
    got = history.states(expected.segment, expected.at)
    return [
        Difference(expected.line, expected.segment, expected.at, user, False, want, have)
        for user in {**expected.states, **got}
        if (want := expected.states.get(user, OUT)) != (have := got.get(user, OUT))
    ]


def _changes(expected: Changes, history: History) -> list[Difference]:
    got = history.changes(expected.segment)
    return [
        Difference(_line(expected, user, at), expected.segment, at, user, True, want, have)
        for user, at in {**expected.changes, **got}
        if (want := expected.changes.get((user, at), NOTHING)) != (have := got.get((user, at), NOTHING))
    ]


def _line(expected: Changes, user: str, at: int) -> int:
    return expected.lines.get((user, at)) or expected.lines.get((user, None)) or expected.line
