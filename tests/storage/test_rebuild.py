"""A rebuild writes exactly the differences, at once, and shuts the old engine out."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.shards import shard_of
from storage import postgres
from storage.checkpoints import CheckpointStore
from storage.commits import Fenced
from storage.engine_state import prepare, take_over, tokens
from storage.rebuild import Rebuild, TakenOver
from storage.writer import ShardWriter
from tests.fix_postgres import empty
from tests.storage.world import START, USERS, World, definitions, expected, open_writer, record, stored, waiting

pytestmark = pytest.mark.postgres
OLD, NEW = ["kept", "dropped", "both"], ["added", "both", "kept"]

people = st.dictionaries(st.sampled_from(USERS), st.sets(st.integers(0, 2)), max_size=10)


def _rebuild(url: str, shards: int, membership: dict[str, set[int]], at: int, folder: Path) -> list[Any]:
    found, store = [], CheckpointStore(folder)
    with Rebuild(url, record(NEW, shards), definitions(NEW), tokens(url, shards)) as rebuild:
        for shard in range(shards):
            mine = [(user, sorted(numbers)) for user, numbers in membership.items() if shard_of(user, shards) == shard]
            found.append(rebuild.apply_differences(shard, mine, at))
            assert set(rebuild.sequence_numbers(shard)) >= {user for user, _ in mine}
            rebuild.finish(shard, store.save(shard, rebuild.next_step(shard), {0: 77}, b"state"), at)
    return found


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(people, people, st.sampled_from([1, 2, 3]), st.integers(-20, 20))
def test_only_the_differences(
    database_url: str, tmp_path: Path, before: dict[str, set[int]], after: dict[str, set[int]], shards: int, at: int
) -> None:
    empty(database_url)
    world = World(OLD, 2)
    with open_writer(database_url, OLD, 2) as out:
        moves = [(user, sorted(numbers), i, True) for i, (user, numbers) in enumerate(before.items())]
        out.write([world.step(shard, moves) for shard in (0, 1)])
        seqs, last = dict(world.seq), dict(world.last)
        was, now = set(world.inside), {(user, NEW[n]) for user, numbers in after.items() for n in numbers}
        found = _rebuild(database_url, shards, after, START + at, tmp_path)
        with pytest.raises(Fenced):
            out.write([world.step(0, [])])

    flips = {(user, segment): True for user, segment in now - was} | {pair: False for pair in was - now}
    assert sum(d.entered for d in found) == len(now - was) and sum(d.left for d in found) == len(was - now)
    assert sum(d.users for d in found) == len({user for user, _ in flips}) and sum(d.known for d in found) == len(after)
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        tables = stored(connection)
        assert {(user, segment) for user, segment, _ in tables["members"]} == now
        times = {user: max(START + at, last.get(user, START + at)) for user, _ in flips}
        assert {row for row in tables["log"] if row[5] == "definition"} == {
            (user, seqs.get(user, 0) + 1, segment, entered, times[user], "definition")
            for (user, segment), entered in flips.items()
        }
        assert tables["counts"] == {name: sum(segment == name for _, segment in now) for name in NEW}
        assert {row[0]: row[3] for row in tables["users"]} == {user: user in after for user in {*before, *after}}
        sent = [json.loads(message.value or b"") for message in waiting(connection)]
        told = [
            (message["user_id"], message["seq"], segment, entered)
            for message in sent if message["cause"] == "definition"
            for entered in (True, False) for segment in message["entered" if entered else "left"]
        ]  # fmt: skip
        assert sorted(told) == sorted((user, seqs.get(user, 0) + 1, name, into) for (user, name), into in flips.items())
        wrong = "SELECT user_id, shard FROM tidegate.users"
        assert all(shard == shard_of(user, shards) for user, shard in connection.execute(wrong).fetchall())


def test_the_engine_goes_on_from_the_rebuild(database_url: str, tmp_path: Path) -> None:
    world = World(OLD, 2)
    with open_writer(database_url, OLD, 2) as out:
        out.write([world.step(shard, [("ann", [0, 1], 5, True)]) for shard in (0, 1)])
    _rebuild(database_url, 2, {"ann": {0, 2}}, START + 9, tmp_path)
    segments = prepare(database_url, record(NEW, 2), definitions(NEW))  # no DefinitionsChanged: it is the stored one
    taken = take_over(database_url, [0, 1])
    assert {(t.last_step, t.watermark, t.steps == [], t.checkpoint is None) for t in taken.values()} == {
        (2, START + 9, True, False)
    }
    assert taken[0].offsets == {0: 77}

    after = World(NEW, 2, steps={0: 2, 1: 2})
    after.inside = {("ann", "added"): (START + 9, 2), ("ann", "kept"): (START + 5, 1)}
    after.seq, after.last = {"ann": 2}, {"ann": START + 9}
    with ShardWriter(database_url, {shard: t.token for shard, t in taken.items()}, segments) as out:
        out.write([after.step(shard, [("ann", [0, 1], 50, False)]) for shard in (0, 1)])
    with closing(postgres.connect(database_url)) as connection:
        tables = stored(connection)
    assert tables["members"] == expected(after)["members"] == [("ann", "both", START + 50), ("ann", "kept", START + 5)]
    assert tables["users"] == [("ann", 3, START + 50, True)]
    assert tables["counts"] == {"added": 0, "both": 1, "kept": 1}


def test_a_rebuild_that_fails_changes_nothing(database_url: str, tmp_path: Path) -> None:
    world, connection = World(OLD, 1), postgres.connect(database_url, autocommit=True)
    with open_writer(database_url, OLD, 1) as out, closing(connection):
        out.write([world.step(0, [("ann", [0, 1], 5, True)])])
        before = stored(connection)
        known, new = tokens(database_url, 1), definitions(NEW)
        with pytest.raises(ZeroDivisionError), Rebuild(database_url, record(NEW, 1), new, known) as rebuild:
            rebuild.apply_differences(0, [("ann", [0])], START)
            raise ZeroDivisionError
        assert stored(connection) == before
        out.write([world.step(0, [("bob", [0], 5, True)])])  # nor was the engine shut out
        assert stored(connection) == expected(world)


def test_a_rebuild_that_an_engine_came_in_between_changes_nothing(database_url: str) -> None:
    """It may have deleted the files, whose writer's token is an earlier one than its own."""
    world, known = World(OLD, 1), tokens(database_url, 1)
    with open_writer(database_url, OLD, 1) as out:
        with pytest.raises(TakenOver), Rebuild(database_url, record(NEW, 1), definitions(NEW), known):
            pass
        out.write([world.step(0, [("ann", [0, 1], 5, True)])])
    assert tokens(database_url, 1)[0] > known[0] + 1
