"""The watch that knows whether the database answers, and tells health, the log and a gauge.

It asks over a connection of its own, so that a busy pool does not look like a database that is away,
and it asks what callers ask, so that missing tables and missing rights count as "not serving" too.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from storage.postgres import DatabaseError, address, connect
from storage.queries import UnknownSegment
from storage.reader import MembershipReader, Pool, open_pool

log = logging.getLogger(__name__)

#: How long a call waits for a connection before it is told UNAVAILABLE (the reader waits twice).
PATIENCE_S = 1.0

_WATCH_EVERY_S, _ANSWER_WITHIN_S = 1.0, 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


def pool(url: str, connections: int) -> Pool:
    """A closed pool: with `open(wait=False)` it connects as soon as the database is there."""
    # The watch says the same with the address, and once.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    return open_pool(url, size=connections, patience=PATIENCE_S)


class Watch:
    """Asks once a second; `changed(up)` is awaited with the first outcome and at each change."""

    def __init__(self, url: str, calls: Pool, changed: Callable[[bool], Awaitable[None]]) -> None:
        self._url, self._calls, self._changed = url, calls, changed
        self._where = address(url)
        self.up = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        up: bool | None = None
        said, pause = "", _FIRST_PAUSE_S
        async with pool(self._url, 1) as own:
            reader = MembershipReader(own, self._where)
            while True:
                problem = await self._problem(reader)
                if problem is None:
                    if up is not True:
                        await self._calls.check()  # lets go of connections that were lost
                        log.info("reading from %s", self._where)
                        self.up.set()
                        await self._changed(True)
                    up, said, pause = True, "", _FIRST_PAUSE_S
                    await asyncio.sleep(_WATCH_EVERY_S)
                else:
                    if problem != said:
                        log.warning("%s Calls get UNAVAILABLE until it answers; trying again.", problem)
                        said = problem
                    if up is not False:
                        self.up.clear()
                        await self._changed(False)
                    up = False
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _problem(self, reader: MembershipReader) -> str | None:
        """What is wrong with the database, or None."""
        asking = asyncio.create_task(_ask(reader))
        try:
            done, _ = await asyncio.wait({asking}, timeout=_ANSWER_WITHIN_S)
            if not done:
                return f"{self._where} does not answer."
            error = await asking
            # A pool keeps the reason to itself; a connection of one's own says it.
            return None if error is None else await asyncio.to_thread(self._reason, error)
        finally:
            # Not awaited: telling a silent database to drop the query takes seconds.
            asking.cancel()

    def _reason(self, error: DatabaseError) -> str:
        try:
            connect(self._url).close()
        except DatabaseError as reason:
            return str(reason)
        return str(error)


async def _ask(reader: MembershipReader) -> DatabaseError | None:
    """Touches every table that answers need."""
    try:
        await reader.check([("", "")])
    except UnknownSegment:
        return None
    except DatabaseError as error:
        return error
    return None
