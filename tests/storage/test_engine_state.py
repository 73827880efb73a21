"""Starting an engine: what is stored is compared, versions follow meaning, shards change hands."""

from contextlib import closing
from dataclasses import replace

import pytest

from segmentation.compile.tree import Aggregate, Compare, Definition, Literal, Select
from segmentation.errors import TidegateError
from segmentation.types import BIGINT, NEVER
from storage import postgres
from storage.engine_state import (
    DefinitionsChanged,
    EngineRecord,
    ShardsChanged,
    check_definitions,
    prepare,
    read_engine,
    segment_digest,
    take_over,
)

SAME = EngineRecord("plan", "schema", {"a": "1", "b": "2"}, 4, {"clock": "live"})


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (replace(SAME, segments={"a": "1", "c": "3", "d": "4"}), "segments added: c, d; segment removed: b"),
        (replace(SAME, definitions="p2", segments={"a": "9", "b": "2"}), "segment changed: a"),
        (replace(SAME, schema="other"), "schema.yml changed"),
        (replace(SAME, definitions="p2"), "this version of Tidegate compiles the definitions differently"),
        (replace(SAME, shards=8, schema="other"), "schema.yml changed; shards was 4, now 8"),
        (replace(SAME, options={"clock": "event", "x": "1"}), "clock was live, now event; x was None, now 1"),
    ],
)
def test_every_difference_is_named(now: EngineRecord, said: str) -> None:
    check_definitions(SAME, SAME)
    with pytest.raises(DefinitionsChanged) as caught:
        check_definitions(SAME, now)
    assert said in str(caught.value) and "--rebuild" in str(caught.value)


def test_another_number_of_shards_alone_needs_no_rebuild() -> None:
    with pytest.raises(ShardsChanged) as caught:
        check_definitions(SAME, replace(SAME, shards=8))
    assert caught.value.differences == ["shards was 4, now 8"]
    assert "Set `shards` to 4" in str(caught.value) and "`tidegate reshard 8`" in str(caught.value)
    assert "--rebuild" not in str(caught.value)


def _definition(name: str, threshold: int, text: str = "SELECT 1", enabled: bool = True) -> Definition:
    count = Aggregate("count", None, None, BIGINT)
    having = Compare(">=", count, Literal(threshold, BIGINT))
    return Definition(name, f"{name}.sql", text, Select(None, having), "words", "me", ("t",), enabled)


def _record(*definitions: Definition) -> EngineRecord:
    return EngineRecord.of(definitions, "plan", "schema", 2, {})


@pytest.mark.postgres
def test_a_version_follows_the_meaning_not_the_text(database_url: str) -> None:
    first = [_definition("a", 1), _definition("b", 1)]
    before = prepare(database_url, _record(*first), first)
    assert [(s.name, s.version) for s in before] == [("a", 1), ("b", 1)]
    assert prepare(database_url, _record(*first), first) == before
    reworded = [replace(first[0], sql="SELECT  1 -- the same", description="other words"), first[1]]
    assert prepare(database_url, _record(*reworded), reworded) == before
    with closing(postgres.connect(database_url)) as connection:
        assert connection.execute("SELECT sql, description FROM segments WHERE segment = 'a'").fetchone() == (
            "SELECT  1 -- the same", "other words"
        )
        assert read_engine(connection) == _record(*first)
    changed = [_definition("a", 2), first[1]]
    assert segment_digest(changed[0]) != segment_digest(first[0])
    with pytest.raises(DefinitionsChanged, match="segment changed: a"):
        prepare(database_url, _record(*changed), changed)


@pytest.mark.postgres
def test_the_first_start_makes_the_shards(database_url: str) -> None:
    definitions = [_definition("a", 1)]
    prepare(database_url, _record(*definitions), definitions)
    taken = take_over(database_url, [0, 1])
    for shard in (0, 1):
        new = taken[shard]
        assert (new.token, new.last_step, new.watermark, new.offsets, new.checkpoint, new.steps) == (
            2, 0, NEVER, {}, None, []
        )
    assert take_over(database_url, [1])[1].token == 4
    with pytest.raises(TidegateError, match="has no shard 2"):
        take_over(database_url, [2])
    assert take_over(database_url, [0])[0].token == 4


@pytest.mark.postgres
def test_missing_steps_are_noticed(database_url: str) -> None:
    definitions = [_definition("a", 1)]
    prepare(database_url, _record(*definitions), definitions)
    with closing(postgres.connect(database_url)) as connection, connection.transaction():
        connection.execute("UPDATE tidegate.shards SET step = 2 WHERE shard = 0")
        connection.execute("INSERT INTO tidegate.steps VALUES (0, 2, '[]')")
    with pytest.raises(TidegateError, match="recorded steps of shard 0 are not 1 to 2"):
        take_over(database_url, [0])
