"""Checks of single pairs by a short way: a connection for them alone, and one prepared statement at a time.

What the ordinary way (`storage.reader`) spends on a pool, cursors and turns of the event loop is more than the answer.
Pairs that are asked while a statement is out go into the next one, together. An answer is as new as the ordinary one:
its statement begins after it was asked for.

Whatever fails here is told nobody: `ask` gives None, and the caller asks the ordinary way, which knows deadlines, other
connections and errors. So does one whose statement takes longer than `_PATIENCE_S`; it is cancelled then. The
connection is made anew after the ordinary way has given an answer, for then there is a database again.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from storage import queries
from storage.arrays import texts
from storage.queries import Row

#: The longest that a statement may take, and the least time from one connection to the next, seconds.
_PATIENCE_S, _PAUSE_S = 1.0, 1.0
#: Pairs of one statement, so that it fits into the buffer of a socket.
_PAIRS_MAX = 100

_SQL = queries.CHECK.replace("%s", "$1", 1).replace("%s", "$2", 1)
#: Another statement has another name, whoever else uses the database's session (poolers).
_NAME = f"tidegate_check_{blake2b(_SQL.encode(), digest_size=8).hexdigest()}".encode()
_BINARY = (1, 1)


class _Asked(NamedTuple):
    user: str
    segment: str
    row: asyncio.Future[Row | None]


class Checks:
    """`ask`, while `run` runs. arguments: of the connection."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._arguments = arguments
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._waiting: list[_Asked] = []
        self._out: list[_Asked] = []  # of the statement that is out
        self._result: PGresult | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lost, self._wanted = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            with contextlib.suppress(psycopg.Error):  # the ordinary way meets it too, and says it
                await self._hold()
            await asyncio.sleep(_PAUSE_S)
            self._wanted.clear()
            await self._wanted.wait()

    def answered(self) -> None:
        """The ordinary way has given an answer."""
        self._wanted.set()

    async def ask(self, user: str, segment: str) -> Row | None:
        """A row of `queries.check`; None: ask the ordinary way."""
        if self._connection is None:
            return None
        asked = _Asked(user, segment, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        if not self._out:
            self._send()
        return await asked.row

    async def _hold(self) -> None:
        """A connection, from its beginning to its loss. Raises psycopg.Error."""
        connection = await psycopg.AsyncConnection.connect(**self._arguments, client_encoding="utf8")
        self._lost.clear()
        loop, socket = asyncio.get_running_loop(), connection.pgconn.socket
        try:
            await connection.execute(f"PREPARE {_NAME.decode()} (text[], text[]) AS {_SQL}".encode())
            loop.add_reader(socket, self._read)
            self._connection = connection
            await self._lost.wait()
        finally:
            loop.remove_reader(socket)
            loop.remove_writer(socket)
            self._lose()
            unanswered, self._out = bool(self._out), []
            try:
                if unanswered:
                    with contextlib.suppress(psycopg.Error):
                        await connection.cancel_safe(timeout=_PATIENCE_S)
            finally:
                await connection.close()

    def _send(self) -> None:
        """What waits, as far as somebody still waits for it."""
        waiting = [asked for asked in self._waiting if not asked.row.done()]
        self._out, self._waiting = waiting[:_PAIRS_MAX], waiting[_PAIRS_MAX:]
        if not self._out or self._connection is None:
            return
        users, segments = texts(asked.user for asked in self._out), texts(asked.segment for asked in self._out)
        self._timer = asyncio.get_running_loop().call_later(_PATIENCE_S, self._lose)
        try:
            self._connection.pgconn.send_query_prepared(_NAME, [users.data, segments.data], _BINARY)
        except psycopg.Error:
            self._lose()
        self._flush()

    def _flush(self) -> None:
        if self._connection is None:
            return
        pgconn, loop = self._connection.pgconn, asyncio.get_running_loop()
        try:
            if pgconn.flush():
                loop.add_writer(pgconn.socket, self._flush)
            else:
                loop.remove_writer(pgconn.socket)
        except psycopg.Error:
            self._lose()

    def _read(self) -> None:
        if self._connection is None:
            return
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while self._out and not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    self._tell()
                    return
                self._result = result
        except psycopg.Error:
            self._lose()

    def _tell(self) -> None:
        result, self._result = self._result, None
        if result is None or result.status != ExecStatus.TUPLES_OK or result.ntuples != len(self._out):
            self._lose()
            return
        columns = range(result.nfields)
        rows = [_row([result.get_value(place, column) for column in columns]) for place in range(result.ntuples)]
        if self._timer is not None:
            self._timer.cancel()
        for asked, row in zip(self._out, rows):
            if not asked.row.done():
                asked.row.set_result(row)
        self._out = []
        if self._waiting:
            self._send()

    def _lose(self) -> None:
        """The connection is of no use any more: who waits asks the ordinary way. `_hold` does the rest."""
        if self._timer is not None:
            self._timer.cancel()
        for asked in (*self._out, *self._waiting):
            if not asked.row.done():
                asked.row.set_result(None)
        self._waiting, self._result, self._connection = [], None, None
        self._lost.set()


def _row(values: Sequence[bytes | None]) -> Row:
    """From PostgreSQL's text format."""
    version, state, since, known, as_of, flip = values
    return _int(version), (state or b"").decode(), _int(since), known == b"t", _int(as_of), _int(flip)


def _int(value: bytes | None) -> int | None:
    return None if value is None else int(value)
