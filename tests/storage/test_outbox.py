"""The relay's side: one at a time, in order, nothing gone before it was sent, held ones hold up nobody else."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from storage import postgres
from storage.outbox import ERASED, TRANSITION, Batch, Outbox
from storage.postgres import Connection, DatabaseLost
from tests.storage.world import World, open_writer

pytestmark = pytest.mark.postgres


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        yield connection


@pytest.fixture
def outbox(database_url: str) -> Iterator[Outbox]:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        outbox = Outbox(connection)
        assert outbox.acquire() and outbox.acquire()
        yield outbox


def put(connection: Connection, key: str, value: str | None, kind: str = TRANSITION) -> int:
    row = connection.execute(
        "INSERT INTO tidegate.outbox (shard, kind, key, value) VALUES (0, %s, %s, %s) RETURNING id",
        [kind, key.encode(), None if value is None else value.encode()],
    ).fetchone()
    assert row is not None
    return int(row[0])


def values(batch: Batch | None) -> list[str]:
    assert batch is not None
    return [(message.value or b"").decode() for message in batch.messages]


def test_messages_stay_until_they_are_settled(database_url: str, outbox: Outbox) -> None:
    world = World(["active"], 1)
    with open_writer(database_url, world.names, 1) as out:
        for _ in range(3):
            out.write([world.step(0, [(f"u{i}", [0], 0, True) for i in range(4)])])
    assert outbox.under_way() is None
    first = outbox.next(rows=5)
    assert first is not None and [m.key for m in first.messages] == [b"u0", b"u1", b"u2", b"u3", b"u0"]
    assert {m.kind for m in first.messages} == {TRANSITION} and first.messages[0].headers == []
    assert outbox.under_way() == first.token and outbox.next() is None, "one batch at a time"
    outbox.drop(first.token)
    again = outbox.next(rows=5)
    assert again is not None and again.messages == first.messages and again.token != first.token and again.number == 2
    rest = outbox.next(again)
    assert rest is not None and len(rest.messages) == 7 and rest.messages[0].id > again.messages[-1].id
    outbox.settle(rest.token)
    assert outbox.under_way() is None and outbox.next() is None
    with pytest.raises(DatabaseLost, match="another relay has taken over"):
        outbox.settle(rest.token)


def test_a_batch_is_exactly_what_was_seen_when_it_was_fixed(
    database_url: str, connection: Connection, outbox: Outbox
) -> None:
    """Of another shard, a smaller id may become visible later: it is not of the batch and not deleted with it."""
    with closing(postgres.connect(database_url)) as slow:
        put(slow, "a", "early, committed late")
        put(connection, "b", "1")
        put(slow, "a", "later still")
        put(connection, "b", "2")
        batch = outbox.next()
        assert values(batch) == ["1", "2"] and batch is not None
        slow.commit()
        assert values(outbox.next(batch)) == ["early, committed late", "later still"]


def test_what_was_deleted_in_between_is_not_sent(connection: Connection, outbox: Outbox) -> None:
    for number in range(3):
        put(connection, f"u{number}", str(number))
    first = outbox.next(rows=1)
    connection.execute("DELETE FROM tidegate.outbox WHERE key <> 'u2'")
    assert values(outbox.next(first)) == ["2"]


def test_size_limits_a_batch(connection: Connection, outbox: Outbox) -> None:
    for number in range(4):
        put(connection, "a", str(number) * 100)
    first = outbox.next(size=150)
    assert [len(value) for value in values(first)] == [100, 100], "the one that passes the limit is the last"
    assert len(values(outbox.next(first, size=1))) == 1, "never none"


def test_erased_users_have_a_message_without_a_value(connection: Connection, outbox: Outbox) -> None:
    put(connection, "a", "1")
    put(connection, "a", None, ERASED)
    batch = outbox.next()
    assert batch is not None
    assert [(m.kind, m.key, m.value) for m in batch.messages] == [(TRANSITION, b"a", b"1"), (ERASED, b"a", None)]


def test_what_is_held_holds_up_the_users_later_messages_only(connection: Connection, outbox: Outbox) -> None:
    ids = [put(connection, key, f"{key}{n}") for n in range(3) for key in "ab"]
    letter = put(connection, "b", "letter", "dead_letter")
    batch = outbox.next()
    assert batch is not None
    outbox.drop(batch.token, sent=ids[:1], refused={ids[3]: "too large", letter: "too large"})
    assert outbox.held() == 2
    rest = outbox.next()
    assert values(rest) == ["b0", "a1", "a2"], "b1 is held, and b2 behind it"
    put(connection, "b", "other", "dead_letter")
    put(connection, "b", "b3")
    other = outbox.next(rest)
    assert values(other) == ["other"] and other is not None
    outbox.settle(other.token)
    assert outbox.next_held(60) is None, "tried a moment ago"
    tried = outbox.next_held(0)
    assert values(tried) == ["b1"] and tried is not None
    outbox.drop(tried.token, refused={ids[3]: "still too large"})
    tried = outbox.next_held(0)
    assert values(tried) == ["letter"] and tried is not None, "the one that waits longest"
    outbox.settle(tried.token)
    outbox.release_held()
    assert values(outbox.next()) == ["b1", "b2", "b3"]


def test_messages_as_large_as_a_refused_one_are_held_at_once(connection: Connection, outbox: Outbox) -> None:
    for value in ("small", "x" * 200, "between", "x" * 100, "last"):
        put(connection, "a" if value != "between" else "b", value)
    put(connection, "c", "x" * 200, "dead_letter")
    assert outbox.hold_large(False, 100, "too large") == 2
    batch = outbox.next()
    assert values(batch) == ["small", "between", "x" * 200] and batch is not None
    outbox.settle(batch.token)
    held = outbox.next_held(0)
    assert values(held) == ["x" * 200], "of the two of one user the first"


def test_one_relay_at_a_time(database_url: str) -> None:
    one, other = (postgres.connect(database_url, autocommit=True) for _ in range(2))
    with closing(other):
        with closing(one):
            first, second = Outbox(one), Outbox(other)
            assert first.acquire() and not second.acquire()
            identity = first.identity()
            first.release()
            assert second.acquire() and not first.acquire()
            assert second.identity() == identity
            second.release()
            assert first.acquire()
        # The session is gone, and the lock with it once the server has noticed.
        other.execute("SET lock_timeout = '10s'")
        other.execute("SELECT pg_advisory_lock(%s)", [0x7469_6465_6F75_7462])
        assert second.acquire()
