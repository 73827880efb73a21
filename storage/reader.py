"""Runs the questions of `storage.queries`: `MembershipReader` on a pool with async, `fetch` on a connection.

A database that was restarted is met once per connection: a reading is repeated on a fresh one
before anybody hears of it. DatabaseLost means that it is away; the caller may try later.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import psycopg
import psycopg_pool

from storage import postgres, queries
from storage.checking import Checks
from storage.postgres import Connection, DatabaseLost
from storage.queries import Answer, MemberPage, Query, Segment, SegmentPage, UserSegments

T = TypeVar("T")
Pool = psycopg_pool.AsyncConnectionPool[psycopg.AsyncConnection[tuple[Any, ...]]]


#: A look-up takes less time than the planning of it; and a plan made while a table was small must not scan it when it
#: is large. Without bitmaps a page of the log is read in the order of its index, and ends where the page does.
_PLANS = {"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off"}
#: The same, as a statement for a connection that is there already.
LOOKING_UP = "; ".join(f"SET {name} = {value}" for name, value in _PLANS.items())


def open_pool(url: str, *, size: int = 8, patience: float = 5.0) -> Pool:
    """A closed pool (`await pool.open()`); `patience`: seconds to wait for a free or a new connection."""
    return psycopg_pool.AsyncConnectionPool(
        kwargs={**connection_arguments(url), "prepare_threshold": 1},
        min_size=min(2, size), max_size=size, timeout=patience, open=False, name="tidegate",
        reconnect_timeout=5.0,
    )


def connection_arguments(url: str) -> dict[str, Any]:
    """Of a connection that looks things up."""
    arguments, _ = postgres.arguments_of(url)
    options = " ".join([arguments["options"], *(f"-c {name}={value}" for name, value in _PLANS.items())])
    return {**arguments, "options": options, "autocommit": True, "application_name": "tidegate server"}


def fetch(connection: Connection, query: Query[T]) -> T:
    """The answer, for programs without async; `connection` from `postgres.connect`."""
    with postgres.foreign_errors(postgres.address_of(connection)):
        rows = connection.execute(query.sql.encode(), query.parameters).fetchall()
    return query.build(rows)


class MembershipReader:
    """Membership as it is stored now. Raises UnknownSegment, DatabaseLost, DatabaseError.

    `where` is `postgres.address(url)`, for messages. checks: a shorter way for single pairs.
    """

    def __init__(self, pool: Pool, where: str, checks: Checks | None = None) -> None:
        self._pool, self._where, self._checks = pool, where, checks

    async def check(self, pairs: Sequence[tuple[str, str]]) -> list[Answer]:
        """One answer per (user id, segment), in order, all of one instant."""
        if self._checks is None or len(pairs) != 1:
            return await self.fetch(queries.check(pairs))
        row = await self._checks.ask(*pairs[0])
        if row is not None:
            return queries.answers(pairs, [row])
        found = await self.fetch(queries.check(pairs))
        self._checks.answered()
        return found

    async def user_segments(self, user_id: str) -> UserSegments:
        return await self.fetch(queries.user_segments(user_id))

    async def members(self, segment: str, after: str | None, limit: int) -> MemberPage:
        return await self.fetch(queries.members(segment, after, limit))

    async def segments(self, after: str | None, limit: int) -> SegmentPage:
        return await self.fetch(queries.segments(after, limit))

    async def segment(self, name: str) -> Segment:
        return await self.fetch(queries.segment(name))

    async def ping(self) -> None:
        """For health checks: raises DatabaseLost or DatabaseError unless the database answers."""
        await self.fetch(Query("SELECT 1", [], lambda rows: None))

    async def fetch(self, query: Query[T]) -> T:
        try:
            return await self._fetch(query)
        except DatabaseLost:
            await self._pool.check()
            return await self._fetch(query)

    async def _fetch(self, query: Query[T]) -> T:
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query.sql.encode(), query.parameters)
                rows = await cursor.fetchall()
        except psycopg_pool.PoolTimeout:
            raise DatabaseLost(f"No connection to {self._where}: it is away, or all connections are busy.") from None
        except psycopg.Error as error:
            raise postgres.translated(error, self._where) from error
        return query.build(rows)
