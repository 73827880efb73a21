"""Errors name the database and the remedy, and never hold the password."""

import inspect

import psycopg
import pytest

from storage import postgres
from storage.postgres import DatabaseError, DatabaseLost, address, connect, translated


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:s3cret@nowhere.invalid:5432/db",
        "postgresql://ann:s3cret@127.0.0.1:1/db",
        "postgresql://ann:p@s3cret@127.0.0.1:1/db",
        "postgresql://ann:s3cret%zz@127.0.0.1:1/db",
        "postgresql://ann:s3cret@127.0.0.1:1/db?nosuch=1",
        "host=127.0.0.1 port=1 password=s3cret dbname=db",
        "not a url s3cret",
    ],
)
def test_no_message_holds_the_password(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DatabaseError) as caught:
        connect(url, wait=0.1)
    assert "s3cret" not in str(caught.value) + caplog.text
    assert caught.value.__suppress_context__ or caught.value.__context__ is None  # nor does a traceback


def test_waiting_is_announced_with_the_address(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DatabaseError, match=r"Cannot reach database db at 127.0.0.1:1: .*Is it running"):
        connect("postgresql://ann@127.0.0.1:1/db", wait=0.15)
    assert "database db at 127.0.0.1:1" in caplog.text and "trying again in 0.1 s" in caplog.text


def test_address() -> None:
    assert address("postgresql://ann:pw@db.example:6543/shop") == "database shop at db.example:6543"
    assert address("postgresql:///shop") == "database shop at localhost:5432"


def test_every_error_of_psycopg_becomes_ours() -> None:
    lost: set[type[psycopg.Error]] = set()
    final: set[type[psycopg.Error]] = set()
    for kind in vars(psycopg.errors).values():
        if inspect.isclass(kind) and issubclass(kind, psycopg.Error):
            ours = translated(kind("reason"), "database db at host:1")
            assert ("db at host:1" in str(ours) and "reason" in str(ours)) or isinstance(ours, DatabaseLost)
            (lost if isinstance(ours, DatabaseLost) else final).add(kind)
    errors = psycopg.errors
    assert {errors.AdminShutdown, errors.ConnectionFailure, errors.DeadlockDetected, errors.DiskFull} <= lost
    assert psycopg.OperationalError in lost
    assert {errors.UniqueViolation, errors.UndefinedTable, errors.InsufficientPrivilege} <= final


def test_known_errors_come_with_advice() -> None:
    errors = psycopg.errors
    for kind, advice in {
        errors.DiskFull: "Free some space", errors.UndefinedTable: "Run the migrations",
        errors.InsufficientPrivilege: "tidegate_engine", errors.ReadOnlySqlTransaction: "primary",
        errors.LockNotAvailable: "Another process",
    }.items():
        assert advice in str(translated(kind("x"), "here"))


@pytest.mark.postgres
def test_an_unknown_database_is_not_waited_for(database_url: str) -> None:
    with pytest.raises(DatabaseError, match="Create it with `createdb`"):
        connect(psycopg.conninfo.make_conninfo(database_url, dbname="nosuch"), wait=None)


@pytest.mark.postgres
def test_sessions_are_in_utc(database_url: str) -> None:
    with postgres.connect(database_url) as connection:
        assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
