"""Problems as text with a caret, and as JSON."""

import json

import pytest

from segmentation.compile.bind import bind_all
from segmentation.compile.problems import DefinitionErrors, Position, Problem
from segmentation.compile.report import as_json, render
from tests.compile.shop import SCHEMA

FILES = {"defs/a.sql": "SELECT user_id\nFROM events\n\tWHERE regoin = 'x'\n"}


def problems() -> list[Problem]:
    with pytest.raises(DefinitionErrors) as caught:
        bind_all(FILES, SCHEMA)
    return caught.value.problems


def test_text() -> None:
    assert render(problems(), FILES) == (
        "defs/a.sql:3:8: Unknown column regoin.\n"
        "  3 | \tWHERE regoin = 'x'\n"
        "    | \t      ^\n"
        "  Did you mean region?"
    )


def test_json() -> None:
    assert json.loads(as_json(problems())) == [
        {
            "file": "defs/a.sql",
            "line": 3,
            "column": 8,
            "reason": "Unknown column regoin.",
            "remedy": "Did you mean region?",
        }
    ]


def test_without_the_text() -> None:
    assert render([Problem("a.sql", Position(9, 9), "Why.", "Do.")], {"a.sql": "x"}) == "a.sql:9:9: Why.\n  Do."
    assert render([Problem("a.sql", Position(1, 1), "Why.", "Do.")], {}) == "a.sql:1:1: Why.\n  Do."


def test_a_long_line_is_cut_round_the_place() -> None:
    text = "x" * 500 + "HERE" + "y" * 500
    _, line, caret, _ = render([Problem("a.sql", Position(1, 501), "Why.", "Do.")], {"a.sql": text}).split("\n")
    assert line[caret.index("^") :].startswith("HERE")
    assert len(line) < 200
