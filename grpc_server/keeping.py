"""Keeps the copy of the membership in memory (`grpc_server.cache`): loads it, follows the log, and says whether it may
be used.

A thread asks the database, so that news come in time however many calls wait for the event loop; they are applied in
the loop, between two calls. When the connection breaks, the copy stays, unused once its age is over, and the log is
followed again from where it stood as soon as the database answers, if it is still the same log: the last entries that
were applied must be in it, at their places. Otherwise (a database restored from a copy, or one that took over and was
behind) it is loaded anew.
"""

import asyncio
import contextlib
import logging
import threading
import time
from concurrent.futures import Future
from contextlib import closing

from grpc_server.cache import Copy, DoesNotFit
from grpc_server.feed import POLL_S
from storage import postgres, transitions
from storage.postgres import Connection, DatabaseError
from storage.reader import LOOKING_UP, fetch
from storage.transitions import Page, PositionGone

log = logging.getLogger(__name__)

#: Flips of one page, about: what came in while a busy machine let us wait for seconds is to be caught up with in one,
#: because between two pages the database is asked for all checks, which would make it busier yet.
PAGE_FLIPS = 20_000

_PAUSE_S = 0.5


class Cache:
    """`copy()` while it may be used."""

    def __init__(self, url: str, max_age: float) -> None:
        self._url, self._max_age = url, max_age
        self._copy: Copy | None = None
        self._behind: Copy | None = None  # of one moment of the log; to be brought up to date, or forgotten
        self._asked = -float("inf")
        self._stop = threading.Event()

    def copy(self) -> Copy | None:
        found = self._copy
        return found if found is not None and time.monotonic() - self._asked <= self._max_age else None

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        # A daemon: it may wait for a database that says nothing, and must not keep the process from ending.
        threading.Thread(target=self._thread, args=(loop,), name="cache", daemon=True).start()
        try:
            await loop.create_future()
        finally:
            self._stop.set()
            self._copy = None

    def _thread(self, loop: asyncio.AbstractEventLoop) -> None:
        while not self._stop.is_set():
            keep = None
            try:
                self._keep(loop)
            except DatabaseError:
                keep = self._behind  # the watch over the database says it
            except (PositionGone, DoesNotFit) as error:
                log.error("%s Loading the membership into memory anew.", error)
            except RuntimeError:
                return  # the loop was closed
            except Exception:
                log.exception("the membership in memory cannot be kept up; loading it anew")
            self._behind = keep
            if keep is None:
                self._copy = None
            self._stop.wait(_PAUSE_S)

    def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Returns where the copy is to be loaded anew."""
        if self._behind is None:
            started = time.perf_counter()
            self._behind = Copy.load(self._url, self._stop)
            if self._behind is None:
                return
            seconds = time.perf_counter() - started
            log.info("%d users in memory after %.1f s", len(self._behind.users), seconds)
            resumed = False
        else:
            resumed = True
        copy = self._behind
        with closing(postgres.connect(self._url, application="tidegate server", autocommit=True)) as connection:
            connection.execute(LOOKING_UP)
            if resumed and not _same_log(copy, connection):
                log.info("this log is not known to be the one of before; loading the membership into memory anew")
                return
            while not self._stop.is_set():
                asked = time.monotonic()
                page = fetch(connection, transitions.after(copy.position, PAGE_FLIPS))
                if page.definitions != copy.definitions:
                    log.info("definitions or shards have changed; loading the membership into memory anew")
                    return
                taken: Future[None] = Future()
                loop.call_soon_threadsafe(self._take, copy, page, asked, taken)
                while not self._stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        taken.result(_PAUSE_S)
                        break
                if not page.more:
                    self._stop.wait(POLL_S)

    def _take(self, copy: Copy, page: Page, asked: float, taken: Future[None]) -> None:
        try:
            copy.apply(page)
        except Exception as error:
            self._copy = None
            taken.set_exception(error)
            return
        # Between two pages it is of no one moment.
        self._copy = None if page.more else copy
        self._asked = asked
        taken.set_result(None)


def _same_log(copy: Copy, connection: Connection) -> bool:
    return bool(copy.last) and fetch(connection, transitions.holds(copy.last))
