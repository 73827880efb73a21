"""The whole stored membership at one moment, for those who keep a copy of it and follow the log from there."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import IsolationLevel, sql

from segmentation.types import NEVER
from storage import postgres, transitions
from storage.arrays import micros_sql
from storage.postgres import Connection
from storage.reader import fetch
from storage.transitions import Page

_ROWS = 5_000

#: One row per known user; his segments and since when he is in them, as PostgreSQL sends int4 and int8.
_USERS = f"""
    SELECT u.user_id, u.shard, {micros_sql("u.last_effective_at")},
           (SELECT string_agg(int4send(m.segment_id) || int8send({micros_sql("m.since")}), '' ORDER BY m.segment_id)
            FROM tidegate.members m WHERE m.user_id = u.user_id)
    FROM tidegate.users_now u WHERE u.known
"""
_MEMBERSHIP = np.dtype([("segment", ">i4"), ("since", ">i8")])


@dataclass(frozen=True, slots=True)
class StoredDefinition:
    """exact: complete over all events and not held, so that an answer needs no more than its version."""

    id: int
    name: str
    version: int
    exact: bool


@dataclass(frozen=True, slots=True)
class StoredUsers:
    """Some users. last: µs of the last transition, NEVER: none. counts: of the segments that each is in, whose ids
    (ascending for each user), and since when in µs, follow each other in segments and since."""

    ids: list[str]
    shards: list[int]
    last: NDArray[np.int64]
    counts: NDArray[np.int64]
    segments: NDArray[np.int32]
    since: NDArray[np.int64]


@dataclass(frozen=True)
class Snapshot:
    """end: where the log was at that moment."""

    end: Page
    definitions: list[StoredDefinition]
    _connection: Connection

    def users(self) -> Generator[StoredUsers, None, None]:
        """Everybody who is known."""
        with self._connection.cursor(name="users", binary=True) as cursor:
            cursor.execute(_USERS.encode())
            while rows := cursor.fetchmany(_ROWS):
                ids, shards, last, packed = zip(*rows)
                memberships = np.frombuffer(b"".join(one or b"" for one in packed), _MEMBERSHIP)
                yield StoredUsers(
                    list(ids), list(shards), np.array([NEVER if at is None else at for at in last], np.int64),
                    np.array([len(one or b"") // _MEMBERSHIP.itemsize for one in packed], np.int64),
                    memberships["segment"].astype(np.int32), memberships["since"].astype(np.int64),
                )  # fmt: skip


@contextmanager
def snapshot(url: str) -> Iterator[Snapshot]:
    """Raises DatabaseError, also while users are read."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate server")) as connection, postgres.foreign_errors(where):
        connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
        # A look-up per user beats sorting all members, and is streamed.
        connection.execute(sql.SQL("SET LOCAL cursor_tuple_fraction = 0.01"))
        end = fetch(connection, transitions.end())
        found = connection.execute(
            """
            SELECT id, name, version, state = 'complete' AND complete_since IS NULL AND held_since IS NULL
            FROM tidegate.definitions WHERE state <> 'removed' ORDER BY id
            """
        ).fetchall()
        yield Snapshot(end, [StoredDefinition(*row) for row in found], connection)
