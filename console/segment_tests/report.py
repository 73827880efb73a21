"""What the tests found, for people and for programs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from console.segment_tests.cases import Case
from console.segment_tests.folder import Tests
from console.segment_tests.running import Difference
from console.segment_tests.times import as_text, between

#: Events of one user that are shown with a difference.
SHOWN_EVENTS = 20

Results = Sequence[tuple[Case, list[Difference]]]


def lines(case: Case, found: Sequence[Difference]) -> Iterator[str]:
    """One test: a line where it passes, else every difference and the events of the users in question."""
    if not found:
        yield f"ok    {Path(case.file).name}  {case.name}"
        return
    yield f"FAIL  {case.file}:{case.line}  {case.name}"
    rows = [("line", "segment", "at", "", "user", "expected", "got")]
    for one in found:
        verb = "" if one.change else "is "
        said = (str(one.line), one.segment, between(one.at, case.clock), as_text(one.at), one.user)
        rows.append((*said, verb + one.expected, verb + one.got))
    yield from _aligned(rows, "  ")
    for user in dict.fromkeys(one.user for one in found):
        yield f"  given of {user}:"
        given = sorted((each for each in case.given if each.user == user), key=lambda each: each.time)
        if not given:
            yield "    nothing"
        yield from _aligned(
            [(between(each.time, case.clock), as_text(each.time), each.text) for each in given[:SHOWN_EVENTS]], "    "
        )
        if len(given) > SHOWN_EVENTS:
            yield f"    and {len(given) - SHOWN_EVENTS} more"


def summary(tests: Tests, results: Results) -> str:
    failed = sum(1 for _, found in results if found)
    parts = [f"{len(results) - failed} passed"]
    if failed:
        parts.append(f"{failed} failed")
    if tests.problems:
        parts.append(f"{_count(len(tests.problems), 'problem')} in test files")
    return ", ".join(parts)


def as_json(tests: Tests, results: Results) -> dict[str, Any]:
    """The same as `lines` and `summary` say; times are RFC 3339."""
    return {
        "ok": not tests.problems and not any(found for _, found in results),
        "passed": sum(1 for _, found in results if not found),
        "failed": sum(1 for _, found in results if found),
        "tests": [
            {
                "file": case.file, "line": case.line, "name": case.name, "segments": sorted(case.segments),
                "ok": not found,
                "differences": [
                    {
                        "line": one.line, "segment": one.segment, "at": as_text(one.at), "user": one.user,
                        "about": "transitions" if one.change else "members", "expected": one.expected, "got": one.got,
                    }
                    for one in found
                ],
            }
            for case, found in results
        ],
        "problems": [
            {"file": one.file, "line": one.line, "reason": one.reason, "remedy": one.remedy}
            for one in sorted(tests.problems)
        ],
        "untested": tests.untested,
    }  # fmt: skip


def _aligned(rows: Sequence[tuple[str, ...]], indent: str) -> Iterator[str]:
    if not rows:
        return
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths) if width]
        yield (indent + "  ".join(cells)).rstrip()


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
