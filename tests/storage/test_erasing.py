"""Erased users: nothing of them is left in any table, the others' rows stay, and a new user may bear the id."""

import json
import threading
from contextlib import closing
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.evaluate.erasure import digest_of
from segmentation.shards import shard_of
from storage import erasing, postgres
from storage.commits import DeadLetter
from storage.erasing import erasures
from storage.postgres import Connection
from tests.fix_postgres import empty
from tests.flows.conftest import until
from tests.storage.test_writer import NAMES, moves
from tests.storage.world import START, USERS, World, expected, forget, open_writer, stored, waiting

pytestmark = pytest.mark.postgres

steps = st.lists(
    st.lists(st.tuples(st.integers(0, 2), moves, st.lists(st.sampled_from(USERS), max_size=3)), min_size=1, max_size=4),
    min_size=1, max_size=4,
)  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_tables_hold_what_the_model_holds(database_url: str, given: Any) -> None:
    empty(database_url)
    world = World(NAMES, 3)
    until: dict[str, int] = {}
    with open_writer(database_url, NAMES, 3) as out, closing(postgres.connect(database_url)) as connection:
        for number, commits in enumerate(given):
            batch = []
            for shard, moved, erased in commits:
                mine = sorted({user for user in erased if shard_of(user, 3) == shard})
                for user in mine:
                    forget(world, user)
                    until[user] = START + number
                batch.append(world.step(shard, moved, erased=[(user, START + number) for user in mine]))
            out.write(batch)
            assert out.write(batch).skipped == len(batch)
        assert stored(connection) == expected(world)
    assert erasures(database_url) == {digest_of(user): at for user, at in until.items()}
    _check_messages(database_url, world, until)


def _check_messages(url: str, world: World, until: dict[str, int]) -> None:
    with closing(postgres.connect(url, autocommit=True)) as connection:
        found = waiting(connection)
    seen: dict[str, list[int]] = {}
    forgotten = set()
    for message in found:
        user = (message.key or b"").decode()
        if message.value is None:
            assert user not in seen, "a message of before the erasure is sent"
            forgotten.add(user)
        else:
            seen.setdefault(user, []).append(json.loads(message.value)["seq"])
    assert forgotten == set(until)
    assert seen == {user: list(range(1, seq + 1)) for user, seq in world.seq.items() if seq}


@pytest.fixture
def connection(database_url: str) -> Any:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        yield connection


def letter(
    offset: int, key: bytes | None, value: bytes | None, user: str | None = None, stamp: int | None = None
) -> DeadLetter:
    return DeadLetter("events", 0, offset, key, value, [], "bad_time", "", user, stamp)


def test_refused_messages_go_with_their_user(database_url: str, connection: Connection) -> None:
    world = World(NAMES, 1)
    theirs = [
        letter(1, b"anna", b"not json"), letter(2, None, b'{"user_id":"anna","x":1}'),
        letter(3, b"7", b'{"user_id": "anna"}'), letter(4, None, b'\xff {"uid":"anna"'),
    ]  # fmt: skip
    others = [
        letter(5, b"bob", b'{"user_id":"bob","friend":"anna"}'), letter(6, b"annabel", b'{"user_id":"annabel"}'),
        letter(7, None, None),
    ]  # fmt: skip
    with open_writer(database_url, NAMES, 1) as out:
        out.write([world.step(0, [], dead_letters=theirs[:2] + others)])
        later = world.step(0, [], dead_letters=theirs[2:])
        out.write([later, world.step(0, [], erased=[("anna", 5)])])
    left = connection.execute('SELECT "offset" FROM tidegate.dead_letters ORDER BY 1').fetchall()
    assert [offset for (offset,) in left] == [5, 6, 7]
    kinds = connection.execute("SELECT kind, key FROM tidegate.outbox ORDER BY id").fetchall()
    assert kinds == [("dead_letter", b"bob"), ("dead_letter", b"annabel"), ("dead_letter", None), ("erased", b"anna")]


def offsets(connection: Connection) -> list[int]:
    """Of the refused messages that are stored; those that wait to be sent are the same ones."""
    found = connection.execute('SELECT "offset" FROM tidegate.dead_letters ORDER BY 1').fetchall()
    waiting = connection.execute("SELECT count(*) FROM tidegate.outbox WHERE kind = 'dead_letter'").fetchone()
    assert waiting == (len(found),)
    return [offset for (offset,) in found]


def test_by_the_field_that_has_the_user_and_what_the_value_said(database_url: str, connection: Connection) -> None:
    world = World(NAMES, 2)
    letters = [
        letter(1, b"7", b'{"who":{"id":"anna"}}', "anna"), letter(2, None, b'{"who":{"id":"anna"', "anna"),
        letter(3, b"7", b'{"id":"anna"'), letter(4, b"7", b'{"user_id":"anna"}', "bob"),
        letter(5, b"x" * 10_000, b'{"user_id":"anna"}'), letter(6, b"anna" + b"x" * 600, None),
    ]  # fmt: skip
    with open_writer(database_url, NAMES, 2, user_field="id") as out:
        out.write([world.step(0, [], dead_letters=letters[:3]), world.step(1, [], dead_letters=letters[3:])])
        out.write([world.step(0, [], erased=[("anna", 5)])])
    assert offsets(connection) == [4, 5, 6]


def test_whichever_comes_first_the_refused_message_or_the_erasure(database_url: str, connection: Connection) -> None:
    world = World(NAMES, 2)
    with open_writer(database_url, NAMES, 2) as out:
        out.write([world.step(0, [], dead_letters=[
            letter(1, b"anna", b"?", stamp=5), letter(2, b"anna", b"?", stamp=6), letter(3, b"k", b"?", "anna", 5),
        ])])  # fmt: skip
        out.write([world.step(1, [], erased=[("anna", 5)])])
        assert offsets(connection) == [2]
        out.write([world.step(0, [], dead_letters=[
            letter(4, b"anna", b"?", stamp=4), letter(5, b"k", b"?", "anna", 5), letter(6, b"k", b"?", "anna", 6),
            letter(7, b"bob", b"?", stamp=4),
        ])])  # fmt: skip
    assert offsets(connection) == [2, 6, 7]


def test_a_refused_message_waits_for_an_erasure_that_is_under_way(database_url: str, connection: Connection) -> None:
    """Of another process; what it deletes it cannot see, and what the erasure is it cannot know."""
    world, late = World(NAMES, 2), letter(1, b"anna", b"?", stamp=4)
    with open_writer(database_url, NAMES, 2) as out, closing(postgres.connect(database_url)) as other:
        erasing.take_turns(other, [world.step(1, [], erased=[("anna", 5)])])
        erasing.erase(other, world.step(1, [], erased=[("anna", 5)]), 0)
        thread = threading.Thread(target=out.write, args=([world.step(0, [], dead_letters=[late])],))
        thread.start()
        waits = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: connection.execute(waits.encode()).fetchone() is not None, "it waits")
        other.commit()
        thread.join(60)
    assert offsets(connection) == []


def test_ids_that_are_escaped_in_json(database_url: str, connection: Connection) -> None:
    world = World(NAMES, 1)
    user = 'Größe "x"'
    values = [json.dumps({"user_id": user}).encode(), json.dumps({"user_id": user}, ensure_ascii=False).encode()]
    with open_writer(database_url, NAMES, 1) as out:
        out.write([world.step(0, [], dead_letters=[letter(n, b"?", value) for n, value in enumerate(values)])])
        out.write([world.step(0, [], erased=[(user, 5)])])
    assert connection.execute("SELECT count(*) FROM tidegate.dead_letters").fetchone() == (0,)


def test_an_erasure_is_not_taken_back_by_an_older_one(database_url: str) -> None:
    world = World(NAMES, 1)
    with open_writer(database_url, NAMES, 1) as out:
        out.write([world.step(0, [], erased=[("anna", 9)])])
        out.write([world.step(0, [], erased=[("anna", 4)])])
    assert erasures(database_url) == {digest_of("anna"): 9}
