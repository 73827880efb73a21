"""Lower case and LIKE are DuckDB's, on every code point and on random patterns."""

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.text import like, simple_lower

DUCKDB = duckdb.connect()


def test_lower_of_every_code_point() -> None:
    every = "SELECT chr(i::INT) AS c FROM range(1, 1114112) AS r(i) WHERE i NOT BETWEEN 55296 AND 57343"
    lowered = DUCKDB.execute(f"SELECT c, lower(c), lower('X' || c || c || 'Y') FROM ({every})").fetchall()
    assert len(lowered) == 0x110000 - 0x800 - 1
    assert [row for row in lowered if simple_lower(row[0]) != row[1]] == []
    assert [row for row in lowered if simple_lower("X" + row[0] * 2 + "Y") != row[2]] == []


ALPHABET = "abAB%_$\\\nσςΣİéÉ"


@given(
    st.lists(st.text(ALPHABET, max_size=8), min_size=1, max_size=8),
    st.lists(st.text(ALPHABET, max_size=8), min_size=1, max_size=8),
    st.sampled_from(["", "$", "\\", "a", "B", "%", "_"]),
    st.booleans(),
)
def test_like(texts: list[str], patterns: list[str], escape: str, insensitive: bool) -> None:
    operator = "ILIKE" if insensitive else "LIKE"
    for pattern in patterns:
        try:
            matches = like(pattern, escape, insensitive)
        except ValueError:
            continue
        for text in [*texts, pattern]:
            query = f"SELECT ? {operator} ? ESCAPE '{escape}'"
            said = DUCKDB.execute(query, [text, pattern]).fetchall()[0][0]
            assert matches(text) == said, (text, pattern)


@pytest.mark.parametrize(
    ("text", "pattern", "escape", "expected"),
    [
        ("a\nb", "a_b", "", True),
        ("a\nb", "a%b", "", True),
        ("e\u0301", "_", "", False),
        ("ab", "ab%b", "", False),
        ("abb", "ab%b", "", True),
        ("a%b", "a\\%b", "", False),
        ("a%b", "a\\%b", "\\", True),
        ("a%", "a%%", "%", True),
    ],
)
def test_like_at_its_edges(text: str, pattern: str, escape: str, expected: bool) -> None:
    assert like(pattern, escape)(text) is expected


@pytest.mark.parametrize(("pattern", "escape"), [("a$", "$"), ("a", "$$"), ("a", "é"), ("%", "%")])
def test_like_refuses(pattern: str, escape: str) -> None:
    with pytest.raises(ValueError):
        like(pattern, escape)


def test_like_is_linear() -> None:
    assert not like("%a" * 40 + "%b")("a" * 20_000)
