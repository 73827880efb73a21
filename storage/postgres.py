"""Connections to PostgreSQL, and the one place where its errors become ours.

`connect` waits for a database that is not up yet and says so; what waiting cannot cure (wrong
password, no such database) is an error at once. Messages name host, port and database and never
hold the password. Sessions run in UTC, so that no time is read in somebody's local zone.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.abc import RV, PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq.abc import PGconn
from psycopg.waiting import Ready, Wait

from segmentation.errors import TidegateError

log = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]


class _Flushing(psycopg.Connection[tuple[Any, ...]]):
    """Sends what is left to send while it waits for an answer.

    psycopg's pipeline mode waits for reading only, even while the end of a large command is still in
    libpq's buffer because the socket was full: then server and client wait for each other, for ever.
    """

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        return super().wait(_flushing(gen, self.pgconn), interval, timeout)


def _flushing(gen: PQGen[RV], pgconn: PGconn) -> PQGen[RV]:
    try:
        wanted = next(gen)
        while True:
            unsent = wanted == Wait.R and pgconn.flush()
            ready = yield Wait.RW if unsent else wanted
            if unsent:
                ready = Ready(ready & Ready.R)
                if not ready:
                    continue
            wanted = gen.send(ready)
    except StopIteration as end:
        value: RV = end.value
        return value


#: Seconds between attempts: doubles from the first to the last.
FIRST_WAIT, LONGEST_WAIT = 0.1, 5.0

_SESSION_OPTIONS = "-c TimeZone=UTC -c DateStyle=ISO -c client_min_messages=warning"
_HOPELESS = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry",
             "permission denied for database")


class DatabaseError(TidegateError):
    """PostgreSQL refused or cannot be reached; the message says which and what to do."""


class DatabaseLost(DatabaseError):
    """The connection is gone; what was not committed is not stored. May be tried again."""

    passing = True


class DatabaseAway(DatabaseError):
    """It does not answer, or somebody holds a lock for too long: this may pass."""

    passing = True


class DatabaseFull(DatabaseLost):
    """Its disk is full; nothing of the transaction is stored. Waited for like a database that is away."""


def connect(
    url: str,
    *,
    application: str = "tidegate",
    wait: float | None = 0.0,
    stop: threading.Event | None = None,
    autocommit: bool = False,
) -> Connection:
    """A connection to `url`.

    An unreachable database is tried again for `wait` seconds (None: for as long as it takes), each
    pause ended early by `stop`; then DatabaseError.
    """
    arguments, where = arguments_of(url)
    stop = stop or threading.Event()
    pause, waited = FIRST_WAIT, 0.0
    while True:
        try:
            return _Flushing.connect(**arguments, application_name=application, autocommit=autocommit)
        except psycopg.OperationalError as error:
            reason = _first_line(error)
            if any(hopeless in reason for hopeless in _HOPELESS):
                raise DatabaseError(f"{where}: {_advice(reason)}") from None
            if stop.is_set() or (wait is not None and waited >= wait):
                raise DatabaseAway(
                    f"Cannot reach {where}: {reason}. Is it running, and is database_url right?"
                ) from None
            log.warning("cannot reach %s (%s); trying again in %.1f s", where, reason, pause)
            stop.wait(pause)
            waited += pause
            pause = min(pause * 2, LONGEST_WAIT)


@contextmanager
def pipelined(connection: Connection) -> Iterator[psycopg.Pipeline]:
    """One transaction of an autocommit connection in psycopg's pipeline mode: the server is waited for where the block
    asks for rows or calls `sync`, and once for the commit; `connection.transaction()` waits three times more, for
    nothing. With an error the connection is closed, and so the transaction is undone."""
    try:
        with connection.pipeline() as pipeline:
            connection.execute("BEGIN", prepare=False)
            yield pipeline
            end = connection.execute("COMMIT", prepare=False)
    except BaseException:
        connection.close()
        raise
    if end.statusmessage != "COMMIT":
        connection.close()
        raise psycopg.OperationalError(f"the transaction was not committed ({end.statusmessage})")


def address(url: str) -> str:
    """`database NAME at HOST:PORT`: what messages call the database; never user nor password."""
    return arguments_of(url)[1]


def address_of(connection: Connection) -> str:
    if connection.closed:
        return "the database"
    info = connection.info
    return f"database {info.dbname} at {info.host}:{info.port}"


@contextmanager
def foreign_errors(where: str) -> Iterator[None]:
    """Turns psycopg's errors into DatabaseError and DatabaseLost; `where` is from `address`."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, where) from error


def translated(error: psycopg.Error, where: str) -> DatabaseError:
    reason = _first_line(error)
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return DatabaseLost(f"{where} is read-only. Point database_url at the primary server.")
    if is_loss(error):
        return DatabaseLost(f"Lost the connection to {where}: {reason}.")
    if isinstance(error, errors.DiskFull):
        return DatabaseFull(f"{where}: the database's disk is full ({reason}). Free some space there; nothing is lost.")
    if isinstance(error, errors.UndefinedTable | errors.InvalidSchemaName | errors.UndefinedColumn):
        return DatabaseError(f"{where} lacks Tidegate's tables ({reason}). Run the migrations first.")
    if isinstance(error, errors.InsufficientPrivilege):
        return DatabaseError(
            f"{where}: {reason}. Grant the user the role tidegate_engine (writes) or tidegate_reader (reads)."
        )
    if isinstance(error, errors.LockNotAvailable):
        return DatabaseAway(f"{where}: {reason}. Another process holds it; end that process, or try again.")
    return DatabaseError(f"{where}: {reason}.")


def is_loss(error: psycopg.Error) -> bool:
    """True where a new connection may do what this one could not: loss, restart, deadlock, failover."""
    if isinstance(error, errors.AdminShutdown | errors.CrashShutdown | errors.CannotConnectNow):
        return True
    if isinstance(error, errors.DeadlockDetected | errors.SerializationFailure | errors.TooManyConnections):
        return True
    if isinstance(error, errors.IdleInTransactionSessionTimeout | errors.ReadOnlySqlTransaction):
        return True  # after a failover the old primary may answer read-only for a while
    if not error.sqlstate:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith("08")


def arguments_of(url: str) -> tuple[dict[str, Any], str]:
    """Connection arguments with this module's session settings, and `address`."""
    try:
        arguments: dict[str, Any] = dict(conninfo_to_dict(url))
    except psycopg.ProgrammingError:
        # libpq's own text would quote the URL, and with it perhaps the password.
        raise DatabaseError(
            "database_url is not a PostgreSQL URL. Write postgresql://user:password@host:port/database, "
            "with special characters of the password percent-encoded."
        ) from None
    host = str(arguments.get("host") or arguments.get("hostaddr") or "localhost")
    if "@" in host:
        raise DatabaseError("database_url: the password holds an @. Write it as %40.")
    database = arguments.get("dbname") or arguments.get("user") or "the user's default"
    where = f"database {database} at {host}:{arguments.get('port') or 5432}"
    arguments["options"] = f"{arguments.get('options') or ''} {_SESSION_OPTIONS}".strip()
    arguments.setdefault("connect_timeout", "10")
    # A peer that vanished without a word is noticed in seconds, not hours.
    for name, value in (("keepalives_idle", "10"), ("keepalives_interval", "5"), ("keepalives_count", "3"),
                        ("tcp_user_timeout", "30000")):
        arguments.setdefault(name, value)
    return arguments, where


def _first_line(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error) or type(error).__name__
    return text.strip().split("\n")[0].rstrip(". ")


def _advice(reason: str) -> str:
    if "database" in reason and "does not exist" in reason:
        return f"{reason}. Create it with `createdb`, or correct database_url."
    return f"{reason}. Correct the user or the password in database_url."
