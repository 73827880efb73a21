"""Wrong definitions: each problem with its exact place, reason and remedy; nothing else ever escapes."""

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot.dialects.dialect import Dialect

from segmentation.compile import written
from segmentation.compile.bind import bind
from segmentation.compile.problems import DefinitionErrors
from tests.compile.fixtures import Block, blocks, whole
from tests.compile.judge import START, Judge
from tests.compile.shop import SCHEMA

WRONG = blocks("definitions__invalid.sql")
RIGHT = [whole(block.sql) for block in blocks("definitions.sql")]
JUDGE = Judge()


@pytest.mark.parametrize("block", WRONG, ids=lambda block: block.title)
def test_wrong(block: Block) -> None:
    with pytest.raises(DefinitionErrors) as caught:
        bind("x", "x.sql", block.sql, SCHEMA)
    found = [f"{each.at.line}:{each.at.column} {each.reason} | {each.remedy}" for each in caught.value.problems]
    assert found == [line.removeprefix("-- =>").strip() for line in block.expected.split("\n")]


def test_there_are_many() -> None:
    assert len(WRONG) >= 50


def tokens(sql: str) -> list[str]:
    return [sql[token.start : token.end + 1] for token in Dialect.get_or_raise("postgres").tokenize(sql)]


WORDS = sorted({word for sql in RIGHT for word in tokens(sql)})


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A right definition of which some words are gone, doubled, swapped or exchanged."""
    words = tokens(draw(st.sampled_from(RIGHT)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(words) - 1))
        match draw(st.sampled_from(("drop", "double", "swap", "other", "insert"))):
            case "drop" if len(words) > 1:
                del words[at]
            case "double":
                words.insert(at, words[at])
            case "swap":
                other = draw(st.integers(0, len(words) - 1))
                words[at], words[other] = words[other], words[at]
            case "other":
                words[at] = draw(st.sampled_from(WORDS))
            case _:
                words.insert(at, draw(st.sampled_from(WORDS)))
    return " ".join(words)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damaged())
def test_damaged_definitions_are_refused_or_mean_what_duckdb_says(sql: str) -> None:
    try:
        definition = bind("x", "x.sql", sql, SCHEMA)
    except DefinitionErrors as errors:
        assert errors.problems
        for problem in errors.problems:
            assert problem.at.line == 1 and 1 <= problem.at.column <= len(sql) + 1
            assert problem.reason and problem.remedy
        return
    try:
        expected = JUDGE.users(sql, START)
    except duckdb.ConversionException:
        return  # a constant that overflows DuckDB's arithmetic
    assert JUDGE.users(written.definition(definition), START) == expected
