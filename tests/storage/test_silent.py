"""A process that stands still in the middle of something does not keep its successor waiting."""

from collections.abc import Iterator
from contextlib import ExitStack, closing

import psycopg
import pytest
from psycopg import errors

from storage import postgres, silent
from storage.engine_state import EngineRecord, prepare, take_over
from storage.outbox import _LOCK, Outbox
from storage.postgres import Connection, DatabaseAway

RECORD = EngineRecord.of([], "plan", "schema", 2, {})
LOCK = "SELECT FROM tidegate.shards WHERE shard = 0 FOR UPDATE"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SILENT_SECONDS", "RELAY_SILENT_SECONDS"):
        monkeypatch.setattr(silent, name, 0.5)
    monkeypatch.setattr(silent, "_ATTEMPT_SECONDS", 0.3)


@pytest.fixture
def opened(database_url: str) -> Iterator[ExitStack]:
    prepare(database_url, RECORD, [])
    with ExitStack() as stack:
        yield stack


def session(stack: ExitStack, url: str, application: str) -> Connection:
    return stack.enter_context(closing(postgres.connect(url, application=application, autocommit=True)))


def is_gone(connection: Connection) -> bool:
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    return True


def test_a_writer_that_stands_still_in_a_commit(database_url: str, opened: ExitStack) -> None:
    held = session(opened, database_url, "tidegate engine")
    held.execute("BEGIN")
    held.execute(LOCK)
    assert take_over(database_url, range(2))[0].token == 2
    assert is_gone(held)


def test_one_that_has_sent_only_half_of_a_commit(database_url: str, opened: ExitStack) -> None:
    """For the server it is at work: nothing has said yet that the commands are at their end."""
    held = session(opened, database_url, "tidegate engine")
    with pytest.raises(psycopg.OperationalError), held.pipeline():
        held.execute("BEGIN")
        held.execute(LOCK).fetchall()
        held.execute("UPDATE tidegate.shards SET step = step + 1 WHERE shard = 0")
        held.pgconn.send_flush_request()
        held.pgconn.flush()
        assert take_over(database_url, range(2))[0].last_step == 0, "and nothing of it is stored"
        held.execute("SELECT 1").fetchall()


def test_one_that_works_is_waited_for(
    database_url: str, opened: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is who is not one of ours."""
    monkeypatch.setattr(silent, "_LOCK_SECONDS", 2)
    other = session(opened, database_url, "somebody's psql")
    other.execute("BEGIN")
    other.execute(LOCK)
    with pytest.raises(DatabaseAway, match="Another process holds it"):
        take_over(database_url, range(2))
    assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_silent_session_that_holds_nothing_of_ours_open(database_url: str, opened: ExitStack) -> None:
    idle = session(opened, database_url, "tidegate engine")
    idle.execute("SELECT 1")
    other = session(opened, database_url, "tidegate rebuild")
    other.execute("BEGIN")
    other.execute("SELECT 1")
    asking = session(opened, database_url, "tidegate engine")
    asking.execute("SELECT pg_sleep(1)")  # what is asked about is the server's clock
    silent._end(asking, silent._WRITERS, {"seconds": 0.5})
    assert idle.execute("SELECT 1").fetchone() == other.execute("SELECT 1").fetchone() == (1,)


def test_a_relay_that_stands_still(database_url: str, opened: ExitStack) -> None:
    held, new = (session(opened, database_url, "tidegate relay") for _ in range(2))
    assert Outbox(held).acquire()
    mine = Outbox(new)
    while not mine.acquire():
        new.execute("SELECT pg_sleep(0.1)")
    assert is_gone(held)


def test_a_relay_that_asks(database_url: str, opened: ExitStack) -> None:
    held, new = (session(opened, database_url, "tidegate relay") for _ in range(2))
    assert Outbox(held).acquire()
    new.execute("SELECT pg_sleep(1)")
    held.execute("SELECT 1")
    silent.end_silent_relay(new, _LOCK)
    assert held.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(errors.LockNotAvailable):
        new.execute("SET lock_timeout = '100ms'")
        new.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
