"""The whole membership in this process's memory: loaded at one moment, then kept up by the log.

An answer from here is what the database would have said when it was last asked for news; `as_of` says so. It is given
only while that question began less than `max_age` seconds ago, so a feed that fails ends the answers, it never ages
them silently. Everything that this copy cannot tell for certain is left to the database (None): users it has never
heard of, segments that are not complete over all events, times that have no short encoding. Other definitions, another
number of shards, a rebuild, or an entry that does not fit what is here, make it load anew.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grpc_server.feed import PAGE_FLIPS, POLL_S
from grpc_server.generated.tidegate.v1.definition_pb2 import DefinitionStatus, SegmentState
from grpc_server.generated.tidegate.v1.membership_pb2 import BatchCheckMembershipResponse, MembershipPair
from grpc_server.records import inside_of, record, shard_key, stamp
from segmentation.errors import TidegateError
from segmentation.evaluate.erasure import digest_of
from storage import postgres, transitions
from storage.postgres import DatabaseError
from storage.queries import instant
from storage.reader import LOOKING_UP, fetch
from storage.snapshot import StoredDefinition, snapshot
from storage.transitions import Page, Position, PositionGone, Transition

log = logging.getLogger(__name__)

_PAUSE_S = 1.0


class DoesNotFit(TidegateError):
    """An entry of the log contradicts this copy."""


@dataclass(frozen=True, slots=True)
class Column:
    """A segment. byte, bit: where a record has it; below: mask of the bits of those before it. status: as sent;
    empty where an answer needs more than is here."""

    name: str
    place: int
    byte: int
    bit: int
    below: int
    status: bytes


@dataclass(frozen=True, slots=True)
class Wired:
    """The segments that can be answered from here, by name. spelled: the bytes that a pair of a batch has for it ->
    its number; places, int32, and definitions (as the response has them, with tag and length): by number."""

    spelled: dict[bytes, int]
    places: NDArray[np.int32]
    definitions: tuple[bytes, ...]


@dataclass
class Copy:
    """Users by their id's bytes. `apply` brings it to a later moment; readers come in between, never within."""

    definitions: str
    position: Position
    columns: dict[str, Column]
    wired: Wired
    bitmap_bytes: int
    users: dict[bytes, bytes] = field(default_factory=dict)
    #: Shard -> as_of as sent; empty before any event. Without those whose time has no short encoding.
    as_of: dict[bytes, bytes] = field(default_factory=dict)
    #: Users whose last transition is later than their shard's watermark: the transition's time, as sent.
    ahead: dict[bytes, bytes] = field(default_factory=dict)
    #: Users who are in the database, and cannot be told from here.
    unfit: set[bytes] = field(default_factory=set)
    _watermarks: Mapping[int, int] = field(default_factory=dict)
    #: Of those ahead: µs, and their shard.
    _until: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _digests: "Digests" = field(default_factory=lambda: Digests())

    @classmethod
    def load(cls, url: str, stop: threading.Event) -> "Copy | None":
        """None: stopped. Raises DatabaseError. Takes a second or so for each 100,000 users."""
        with snapshot(url) as found:
            copy = cls(found.end.definitions, found.end.after, *columns_of(found.definitions))
            places = {definition.id: place for place, definition in enumerate(found.definitions)}
            copy._advance(found.end.watermarks)
            for user in found.users():
                if stop.is_set():
                    return None
                key = user.user_id.encode()
                since = [stamp(micros) for micros in user.since.tolist()]
                inside = {places[id]: at for id, at in zip(user.segments.tolist(), since) if id in places and at}
                if len(inside) < len(since) or (user.last is not None and stamp(user.last) is None):
                    copy.unfit.add(key)
                    continue
                copy.users[key] = record(user.shard, inside, copy.bitmap_bytes)
                if user.last is not None:
                    copy._moved(key, user.last, user.shard)
            copy._digests.begin(copy.users)
            return copy

    def apply(self, page: Page) -> None:
        """A page that was read from `position` on. Raises DoesNotFit."""
        for entry in page.entries:
            if isinstance(entry, Transition):
                self._move(entry)
            else:
                for user in self._digests.find(entry.digest):
                    self.users.pop(user, None)
                    self._caught_up(user)
                self.unfit -= {user for user in self.unfit if digest_of(user.decode()) == entry.digest}
        self.position = page.after
        if not page.more:
            self._advance(page.watermarks)

    def _move(self, entry: Transition) -> None:
        user = entry.user_id.encode()
        found = self.users.get(user)
        at = stamp(entry.effective_at)
        if user in self.unfit or at is None or (found is None and entry.seq != 1):
            self.users.pop(user, None)
            self.unfit.add(user)
            return
        if found is None:
            self._digests.add(user)
        inside = {} if found is None else inside_of(found, self.bitmap_bytes)
        for change in entry.changes:
            column = self.columns.get(change.segment)
            if column is None or change.entered == (column.place in inside):
                raise DoesNotFit("An entry of the log does not fit the copy of the membership in memory.")
            if change.entered:
                inside[column.place] = at
            else:
                del inside[column.place]
        self.users[user] = record(entry.shard, inside, self.bitmap_bytes)
        self._moved(user, entry.effective_at, entry.shard)

    def _moved(self, user: bytes, micros: int, shard: int) -> None:
        at = stamp(micros)
        if at is not None and micros > self._watermarks.get(shard, micros):
            self.ahead[user], self._until[user] = at, (micros, shard)

    def _advance(self, watermarks: Mapping[int, int]) -> None:
        self._watermarks = watermarks
        self.as_of = {}
        for shard, micros in watermarks.items():
            at = b"" if instant(micros) is None else stamp(micros)
            if at is not None:
                self.as_of[shard_key(shard)] = at
        for user, (micros, shard) in list(self._until.items()):
            if micros <= watermarks.get(shard, micros):
                self._caught_up(user)

    def _caught_up(self, user: bytes) -> None:
        self.ahead.pop(user, None)
        self._until.pop(user, None)


class Digests:
    """Users by the digest of their id, of which an erasure names one. 16 bytes for a user who was there at first."""

    def __init__(self) -> None:
        self._users: list[bytes] = []
        self._sorted = np.zeros(0, np.uint64)
        self._order = np.zeros(0, np.int64)
        self._added: dict[bytes, bytes] = {}

    def begin(self, users: Iterable[bytes]) -> None:
        self._users = list(users)
        keys = np.array([_short(digest_of(user.decode())) for user in self._users], np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]

    def add(self, user: bytes) -> None:
        self._added[digest_of(user.decode())] = user

    def find(self, digest: bytes) -> list[bytes]:
        """Those with this digest, erased or not."""
        found = [self._added[digest]] if digest in self._added else []
        key = _short(digest)
        at = int(np.searchsorted(self._sorted, np.uint64(key)))
        while at < len(self._sorted) and self._sorted[at] == key:
            found.append(self._users[self._order[at]])
            at += 1
        return [user for user in found if digest_of(user.decode()) == digest]


def _short(digest: bytes) -> int:
    return int.from_bytes(digest[:8], "little")


def columns_of(definitions: list[StoredDefinition]) -> tuple[dict[str, Column], Wired, int]:
    columns = {}
    for place, one in enumerate(definitions):
        status = DefinitionStatus(
            segment=one.name, version=one.version, state=SegmentState.SEGMENT_STATE_COMPLETE
        ).SerializeToString() if one.exact else b""
        columns[one.name] = Column(one.name, place, 2 + place // 8, 1 << place % 8, (1 << place) - 1, status)
    told = sorted((column for column in columns.values() if column.status), key=lambda column: column.name)
    wired = Wired(
        {MembershipPair(segment=column.name).SerializeToString(): number for number, column in enumerate(told)},
        np.array([column.place for column in told], np.int32),
        tuple(
            BatchCheckMembershipResponse(definitions=[DefinitionStatus.FromString(column.status)]).SerializeToString()
            for column in told
        ),
    )
    return columns, wired, (len(definitions) + 7) // 8


class Cache:
    """`copy()` while it may be used. A thread asks the database, so that news come in time however many calls wait for
    the event loop; they are applied in the loop, between two calls."""

    def __init__(self, url: str, max_age: float) -> None:
        self._url, self._max_age = url, max_age
        self._copy: Copy | None = None
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
            try:
                self._keep(loop)
            except DatabaseError:
                pass  # the watch over the database says it
            except (PositionGone, DoesNotFit) as error:
                log.error("%s Loading it anew.", error)
            except RuntimeError:
                return  # the loop was closed
            except Exception:
                log.exception("the membership in memory cannot be kept up; loading it anew")
            self._copy = None
            self._stop.wait(_PAUSE_S)

    def _keep(self, loop: asyncio.AbstractEventLoop) -> None:
        """Returns where the copy is to be loaded anew."""
        started = time.perf_counter()
        copy = Copy.load(self._url, self._stop)
        if copy is None:
            return
        log.info("%d users in memory after %.1f s", len(copy.users), time.perf_counter() - started)
        with closing(postgres.connect(self._url, application="tidegate server", autocommit=True)) as connection:
            connection.execute(LOOKING_UP)
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
