"""Sessions of a process that says nothing any more, and holds what its successor waits for.

A process that is stopped, or whose host is gone, keeps its transaction open: the server learns of a lost host from
its own keepalive only, after hours by default, and of a stopped process never. Whoever ends such a session loses
nothing: its transaction is not committed, and if the process comes back it is shut out by its token, or does the
same again.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

from psycopg import errors

from storage.postgres import Connection

log = logging.getLogger(__name__)

#: A transaction of ours whose client has said nothing for so long stands still, s: it sends what it has in one go.
SILENT_SECONDS = 5.0
#: A relay asks a hundred times a second, but may wait for Kafka between two questions, s.
RELAY_SILENT_SECONDS = 30.0
#: How long one attempt to lock lasts, and all of them, s.
_ATTEMPT_SECONDS, _LOCK_SECONDS = 2.0, 30.0

_OURS = """
    SELECT pid, pg_terminate_backend(pid) AS ended FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND wait_event_type = 'Client' AND wait_event = 'ClientRead'
      AND greatest(state_change, query_start) < clock_timestamp() - make_interval(secs => %(seconds)s)
"""
#: Not a rebuild's: it computes for long within its transaction.
_WRITERS = f"{_OURS} AND xact_start IS NOT NULL AND application_name IN ('tidegate engine', 'tidegate reshard')"
_HOLDERS = f"""{_OURS} AND application_name = 'tidegate relay' AND pid IN (
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND (classid::bigint << 32) | objid::bigint = %(lock)s)
"""


def locked(connection: Connection, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows of a statement that takes locks, within a transaction. Waits for a commit that is under way; ends the
    sessions that stand still; LockNotAvailable where somebody works on behind the lock for half a minute."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = '{_ATTEMPT_SECONDS}s'")
                cursor = connection.execute(statement.encode(), values)
                rows = cursor.fetchall() if cursor.description else []
                connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
                return rows
        except errors.LockNotAvailable:
            if time.monotonic() > deadline:
                raise
            _end(connection, _WRITERS, {"seconds": SILENT_SECONDS})


def end_silent_relay(connection: Connection, lock: int) -> None:
    """Of the session that holds this advisory lock, if it is silent."""
    _end(connection, _HOLDERS, {"seconds": RELAY_SILENT_SECONDS, "lock": lock})


def _end(connection: Connection, query: str, values: dict[str, Any]) -> None:
    for pid, ended in connection.execute(query.encode(), values).fetchall():
        if ended:
            log.warning("ended database session %d: its process says nothing and holds what this one waits for", pid)
