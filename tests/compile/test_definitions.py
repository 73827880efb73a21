"""Definitions of the supported grammar are understood as they are meant, and as DuckDB means them."""

from datetime import timedelta
from pathlib import Path

import pytest

from segmentation.compile import written
from segmentation.compile.bind import bind, bind_all
from segmentation.compile.tree import Definition, Select
from segmentation.events.schema import load_schema
from tests.compile.fixtures import Block, blocks, whole
from tests.compile.judge import START, Judge
from tests.compile.shop import SCHEMA

BLOCKS = blocks("definitions.sql")
FOLDER = Path(__file__).parents[2] / "segment_defs"


def read(sql: str) -> Definition:
    return bind("x", "x.sql", sql, SCHEMA)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def short(definition: Definition) -> str:
    text = written.definition(definition)
    if not isinstance(definition.query, Select):
        return text
    return "\n".join(line for line in text.split("\n")[1:] if line != "GROUP BY user_id")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.title)
def test_understood(block: Block) -> None:
    definition = read(whole(block.sql))
    assert short(definition) == block.expected.removeprefix("GROUP BY user_id")
    assert short(read(written.definition(definition))) == short(definition)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.title)
def test_duckdb_understands_the_same(block: Block, judge: Judge) -> None:
    sql = whole(block.sql)
    understood = written.definition(read(sql))
    for days in (0, 3, 10, 17, 41, 80):
        now = START + timedelta(days=days, microseconds=days % 2)
        assert judge.users(sql, now) == judge.users(understood, now), days


def test_places_are_those_of_the_text() -> None:
    definition = bind("x", "x.sql", "/*\nowner: me\n*/\nSELECT user_id FROM events\nWHERE region = 'x'", SCHEMA)
    assert isinstance(definition.query, Select) and definition.query.where is not None
    assert (definition.query.where.at.line, definition.query.where.at.column) == (5, 7)


def test_the_folder_of_the_repository() -> None:
    schema = load_schema((FOLDER / "schema.yml").read_text())
    definitions = bind_all({str(path): path.read_text() for path in FOLDER.glob("*.sql")}, schema)
    assert len(definitions) >= 10
    for definition in definitions:
        assert definition.description and definition.owner and definition.tags, definition.name
