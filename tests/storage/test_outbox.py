"""The relay's side: one at a time, in order, nothing gone before it was acknowledged."""

from contextlib import closing

import pytest

from storage import postgres
from storage.outbox import TRANSITION, Outbox
from tests.storage.world import World, open_writer

pytestmark = pytest.mark.postgres


def test_messages_stay_until_they_are_deleted(database_url: str) -> None:
    world = World(["active"], 1)
    with open_writer(database_url, world.names, 1) as out:
        for _ in range(3):
            out.write([world.step(0, [(f"u{i}", [0], 0, True) for i in range(4)])])
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        outbox = Outbox(connection)
        assert outbox.acquire() and outbox.acquire()
        first = outbox.claim(5)
        assert [m.key for m in first] == [b"u0", b"u1", b"u2", b"u3", b"u0"]
        assert {m.kind for m in first} == {TRANSITION} and first[0].headers == []
        assert outbox.claim(5) == first
        assert outbox.delete(m.id for m in first) == 5 and outbox.delete(m.id for m in first) == 0
        rest = outbox.claim(100)
        assert len(rest) == 7 and rest[0].id > first[-1].id


def test_one_relay_at_a_time(database_url: str) -> None:
    one, other = (postgres.connect(database_url, autocommit=True) for _ in range(2))
    with closing(other):
        with closing(one):
            first, second = Outbox(one), Outbox(other)
            assert first.acquire() and not second.acquire()
            first.release()
            assert second.acquire() and not first.acquire()
            second.release()
            assert first.acquire()
        # The session is gone, and the lock with it once the server has noticed.
        other.execute("SET lock_timeout = '10s'")
        other.execute("SELECT pg_advisory_lock(%s)", [0x7469_6465_6F75_7462])
        assert second.acquire()
