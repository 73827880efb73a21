"""Damaged files of tests: each is run, or every problem in it has a place, a reason and a remedy."""

import re
from functools import lru_cache

from hypothesis import given, settings
from hypothesis import strategies as st

from console.segment_tests.cases import Names, cases_of
from console.segment_tests.model import read_file
from console.segment_tests.problems import TestFileErrors
from console.segment_tests.report import lines
from console.segment_tests.running import differences
from segmentation.compile import compile_files
from segmentation.compile.plan import Plan
from segmentation.events.schema import Schema
from storage.definitions_folder import read_definitions
from tests.architecture.source import ROOT

FILES = [path.read_text() for path in sorted((ROOT / "segment_defs/tests").glob("*.yml"))]
PIECES = [
    "null", "[]", "{}", "5", "true", "now", "-30d", "x: y", "[a, b]", "'", '"', ":", "- ", "ann", "2026-01-01",
    "99999999999999999999", ".nan", "0x10", "big_spenders/0", "&a", "*a", "\t", "1 day ago", "until: now",
    "erased: true", "profiles:", "city_tier: 1", "\u2028", "\0",
]  # fmt: skip


@lru_cache(maxsize=1)
def shop() -> tuple[Plan, Schema, Names]:
    content = read_definitions(ROOT / "segment_defs")
    plan = compile_files(content.files, content.schema)
    return plan, content.schema, Names(plan, [])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    pieces = re.findall(r"\w+|\s+|[^\w\s]", draw(st.sampled_from(FILES)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(pieces) - 1))
        match draw(st.sampled_from(("drop", "double", "other", "insert"))):
            case "drop" if len(pieces) > 1:
                del pieces[at]
            case "double":
                pieces.insert(at, pieces[at])
            case "other":
                pieces[at] = draw(st.sampled_from(PIECES))
            case _:
                pieces.insert(at, draw(st.sampled_from(PIECES)))
    return "".join(pieces)


@settings(max_examples=150, deadline=None)
@given(damaged())
def test_a_damaged_file_is_run_or_says_what_is_wrong(text: str) -> None:
    plan, schema, names = shop()
    try:
        cases, problems = cases_of(read_file(text, "x.yml"), schema, names)
    except TestFileErrors as errors:
        cases, problems = [], errors.problems
        assert problems
    for case in cases:
        assert list(lines(case, differences(case, plan, names)))
    for problem in problems:
        assert problem.reason and problem.remedy and 1 <= problem.line <= text.count("\n") + 2
