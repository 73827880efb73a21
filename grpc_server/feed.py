"""The log of transitions, read once per server and told to many: one poller, a ring of pages, watchers behind it.

The poller asks the database for what comes after its position, and keeps the last pages for those who follow. A
watcher who begins earlier than the ring reads pages by itself (two at a time in all) until the ring reaches back to
where it stands. One who falls out of the ring again, because it is told faster than it listens, gets `TooSlow`:
memory is bounded by the ring, whatever watchers do. Nobody follows, nothing is asked.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

from storage import transitions
from storage.postgres import DatabaseError
from storage.reader import MembershipReader
from storage.transitions import AheadOfLog, Entry, Erasure, Page, Position, PositionGone, Transition

log = logging.getLogger(__name__)

#: Seconds between two questions while there is nothing new, and while the database does not answer.
POLL_S, _AWAY_S = 0.05, 0.5
#: After one that told something: so many times as long as it took, and at least so long. The next news come soon.
_NEWS_TIMES, _NEWS_S = 2.0, 0.01

#: Flips of one page, about; the ring holds pages of so many entries.
PAGE_FLIPS, RING_ENTRIES = 4_000, 40_000

_CATCHING_UP_MAX = 2


class TooSlow(Exception):
    """The ring has gone on without this watcher."""


class Ended(Exception):
    """The server ends."""


class SetBack(Exception):
    """The log is another one now, or was set back behind what was told."""


@dataclass(frozen=True)
class Batch:
    """A page, and where it begins. Shared by all who follow."""

    before: Position
    page: Page

    @cached_property
    def by_user(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.page.entries:
            if isinstance(entry, Transition):
                found.setdefault(entry.user_id, []).append(entry)
        return found

    @cached_property
    def erasures(self) -> list[Erasure]:
        return [entry for entry in self.page.entries if isinstance(entry, Erasure)]


class Feed:
    def __init__(self, reader: MembershipReader) -> None:
        self._reader = reader
        self._ring: deque[Batch] = deque()
        self._first = 0  # number of the ring's first batch
        self._entries = 0
        self._last: Page | None = None  # None: not begun
        self._epoch = 0
        self._followers = 0
        self._wanted, self._news = asyncio.Event(), asyncio.Event()
        self._catching_up = asyncio.Semaphore(_CATCHING_UP_MAX)
        self._ended = False

    @property
    def followers(self) -> int:
        return self._followers

    def end(self) -> None:
        """Everybody who follows gets Ended, now or on coming."""
        self._ended = True
        self._tell()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._followers:
                self._forget()
                self._wanted.clear()
                await self._wanted.wait()
            began, pause = time.monotonic(), POLL_S
            try:
                more = await self._poll()
                if more:
                    continue
                if self._last is not None and self._last.entries:
                    pause = min(POLL_S, max(_NEWS_S, _NEWS_TIMES * (time.monotonic() - began)))
            except PositionGone as error:
                log.warning("the log of transitions cannot be read on (%s); watchers are told so", error.cause)
                self._forget()
            except DatabaseError:
                pause = _AWAY_S  # the watch over the database says it
            await asyncio.sleep(pause)

    async def now(self) -> Page:
        """An empty page at the end of the log."""
        return await self._reader.fetch(transitions.end())

    async def read(self, position: Position) -> Page:
        async with self._catching_up:
            return await self._reader.fetch(transitions.after(position, PAGE_FLIPS))

    async def follow(self, position: Position, quiet_s: float) -> AsyncGenerator[Batch, None]:
        """Batches from `position` on; entries that are not beyond it may be in those it begins within.

        After `quiet_s` without news an empty one. Raises TooSlow, Ended, SetBack, PositionGone, DatabaseError.
        """
        with self._following():
            epoch = self._epoch
            while (number := self._number(position)) is None:
                self._check(epoch)
                page = await self.read(position)
                if page.entries or page.after != position:
                    yield Batch(position, page)
                    position = page.after
                if not page.more and self._number(position) is None:
                    await self._wait(POLL_S)  # the ring is a moment behind, or not begun yet
                epoch = self._epoch
            while True:
                self._check(epoch)
                if number < self._first:
                    raise TooSlow()
                if number < self._first + len(self._ring):
                    yield self._ring[number - self._first]
                    number += 1
                elif not await self._wait(quiet_s):
                    last = self._last
                    if last is not None and number == self._first + len(self._ring):
                        yield Batch(last.after, replace(last, entries=[]))

    @contextmanager
    def _following(self) -> Iterator[None]:
        self._followers += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._followers -= 1

    def _check(self, epoch: int) -> None:
        if self._ended:
            raise Ended()
        if epoch != self._epoch:
            raise SetBack()

    def _number(self, position: Position) -> int | None:
        """Of the latest batch that begins at `position` or before it; one that is still to come, mostly."""
        if self._last is None:
            return None
        if position.covers(self._last.after):
            return self._first + len(self._ring)
        for back, batch in enumerate(reversed(self._ring), 1):
            if position.covers(batch.before):
                return self._first + len(self._ring) - back
        return None

    async def _wait(self, seconds: float) -> bool:
        """False: nothing came for so long."""
        news = self._news
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await news.wait()
        return news.is_set()

    async def _poll(self) -> bool:
        """Whether there is more at once."""
        before = self._last
        if before is None:
            self._last = await self.now()
            self._tell()
            return False
        page = await self._reader.fetch(transitions.after(before.after, PAGE_FLIPS))
        if page.log != before.log:
            raise AheadOfLog()
        self._last = page
        if page.entries:
            self._ring.append(Batch(before.after, page))
            self._entries += len(page.entries)
            while self._entries > RING_ENTRIES and len(self._ring) > 1:
                self._entries -= len(self._ring.popleft().page.entries)
                self._first += 1
            self._tell()
        return page.more

    def _forget(self) -> None:
        if self._last is not None:
            self._epoch += 1
        self._first += len(self._ring)
        self._ring.clear()
        self._entries, self._last = 0, None
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
