"""The whole membership in this process's memory: loaded at one moment, then kept up by the log.

An answer from here is what the database would have said when it was last asked for news; `as_of` says so. It is given
only while that question began less than `max_age` seconds ago, so a feed that fails ends the answers, it never ages
them silently. Everything that this copy cannot tell for certain is left to the database (None): users it has never
heard of, segments that are not complete over all events, times that have no short encoding. Other definitions, another
number of shards, a rebuild, or an entry that does not fit what is here, make it load anew; `grpc_server/keeping.py`
does that, and follows the log.
"""

import heapq
import logging
import threading
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from grpc_server.generated.tidegate.v1.definition_pb2 import DefinitionStatus, SegmentState
from grpc_server.generated.tidegate.v1.membership_pb2 import BatchCheckMembershipResponse, MembershipPair
from grpc_server.records import Table, inside_of, record, shard_key, stamp, stamps, table
from segmentation.errors import TidegateError
from segmentation.evaluate.erasure import digest_of
from segmentation.types import NEVER
from storage.queries import instant
from storage.snapshot import StoredDefinition, StoredUsers, snapshot
from storage.transitions import Page, Position, Transition

log = logging.getLogger(__name__)

#: So many of the last entries must still be in the log where it is followed again after a break.
LAST_ENTRIES = 64
_TELL_EVERY = 250_000


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
    users: Table = field(default_factory=table)
    #: Shard -> as_of as sent; empty before any event. Without those whose time has no short encoding.
    as_of: dict[bytes, bytes] = field(default_factory=dict)
    #: Users whose last transition is later than what their shard is complete to: the transition's time, as sent.
    ahead: Table = field(default_factory=table)
    #: Users who are in the database, and cannot be told from here.
    unfit: set[bytes] = field(default_factory=set)
    _complete_to: Mapping[int, int] = field(default_factory=dict)
    #: Of those ahead: their shard, and µs. By these two: who was put there, in order of time as well; many leave at
    #: one instant.
    _until: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _ahead_at: dict[tuple[int, int], list[bytes]] = field(default_factory=dict)
    _instants: dict[int, list[int]] = field(default_factory=dict)
    _digests: "Digests" = field(default_factory=lambda: Digests())
    #: The last transitions that were applied; none: nothing happened since it was loaded.
    last: deque[Transition] = field(default_factory=lambda: deque(maxlen=LAST_ENTRIES))

    @classmethod
    def load(cls, url: str, stop: threading.Event) -> "Copy | None":
        """None: stopped. Raises DatabaseError. Takes half a second or so for each 100,000 users."""
        with snapshot(url) as found:
            copy = cls(found.end.definitions, found.end.after, *columns_of(found.definitions))
            places = {definition.id: place for place, definition in enumerate(found.definitions)}
            copy._advance(found.end.complete_to)
            told = _TELL_EVERY
            with closing(found.users()) as all_users:
                for users in all_users:
                    if stop.is_set():
                        return None
                    copy._take(users, places)
                    if len(copy.users) >= told:
                        log.info("%d users in memory so far", len(copy.users))
                        told += _TELL_EVERY
            copy._digests.begin(copy.users)
            return copy

    def _take(self, users: StoredUsers, places: Mapping[int, int]) -> None:
        since, put = stamps(users.since), self.users
        last = users.last.tolist()
        segments = [places.get(id) for id in users.segments.tolist()]
        at = 0
        for row, (user_id, shard, count) in enumerate(zip(users.ids, users.shards, users.counts.tolist())):
            key, end = user_id.encode(), at + count
            found = zip(segments[at:end], since[at:end])
            inside = {place: since_when for place, since_when in found if place is not None and since_when}
            at = end
            if len(inside) < count or (last[row] != NEVER and stamp(last[row]) is None):
                self.unfit.add(key)
                continue
            put[key] = record(shard, inside, self.bitmap_bytes)
            if last[row] != NEVER:
                self._moved(key, last[row], shard)

    def apply(self, page: Page) -> None:
        """A page that was read from `position` on. Raises DoesNotFit."""
        for entry in page.entries:
            if isinstance(entry, Transition):
                self._move(entry)
                self.last.append(entry)
            else:
                for user in self._digests.find(entry.digest):
                    _forget(self.users, user)
                    self._caught_up(user)
                self.unfit -= {user for user in self.unfit if digest_of(user.decode()) == entry.digest}
        self.position = page.after
        if not page.more:
            self._advance(page.complete_to)

    def _move(self, entry: Transition) -> None:
        user = entry.user_id.encode()
        found = self.users.get(user)
        at = stamp(entry.effective_at)
        if user in self.unfit or at is None or (found is None and entry.seq != 1):
            _forget(self.users, user)
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
        if at is not None and micros > self._complete_to.get(shard, micros):
            until = shard, micros
            if (there := self._ahead_at.get(until)) is None:
                there = self._ahead_at[until] = []
                heapq.heappush(self._instants.setdefault(shard, []), micros)
            there.append(user)
            self.ahead[user], self._until[user] = at, until

    def _advance(self, complete_to: Mapping[int, int]) -> None:
        self._complete_to = complete_to
        self.as_of = {}
        for shard, micros in complete_to.items():
            at = b"" if instant(micros) is None else stamp(micros)
            if at is not None:
                self.as_of[shard_key(shard)] = at
        for shard, instants in self._instants.items():
            # A shard that there is no more has nothing to wait for.
            while instants and instants[0] <= complete_to.get(shard, instants[0]):
                until = shard, heapq.heappop(instants)
                for user in self._ahead_at.pop(until):
                    if self._until.get(user) == until:  # else he has been moved again, or erased
                        self._caught_up(user)

    def _caught_up(self, user: bytes) -> None:
        _forget(self.ahead, user)
        self._until.pop(user, None)


def _forget(users: Table, user: bytes) -> None:
    if user in users:
        del users[user]


class Digests:
    """Users by the digest of their id, of which an erasure names one. Some 30 bytes for a user who was there at first:
    ids lie behind each other in one text."""

    def __init__(self) -> None:
        self._ids = b""
        self._ends = np.zeros(0, np.int64)
        self._sorted = np.zeros(0, np.uint64)
        self._order = np.zeros(0, np.int64)
        self._added: dict[bytes, bytes] = {}

    def begin(self, users: Collection[bytes]) -> None:
        all_users = list(users)
        count = len(all_users)
        self._ids = b"".join(all_users)
        self._ends = np.cumsum(np.fromiter(map(len, all_users), np.int64, count))
        keys = np.fromiter((_short(digest_of(user.decode())) for user in all_users), np.uint64, count)
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
            row = int(self._order[at])
            found.append(self._ids[int(self._ends[row - 1]) if row else 0 : int(self._ends[row])])
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
