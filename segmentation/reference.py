"""The slow, obvious twin of state and evaluate: event by event, every truth computed afresh.

It keeps, per user, the list of all events with the instant from which each is known, and asks
`reference_eval` for the truth of every definition at every instant at which it could change. The
rules of time are those of the design:

- A partition's watermark is its largest event time (when live: at most the clock) less the lateness,
  or what `idle` says if that is more. The shard's is the least over all partitions. None goes back.
- An event is known at the greatest of its own time, the times of the user's earlier arrivals, and
  the shard's watermark when it arrives. When live, an event known after the clock waits for it.
- An event first applies the user's own expiries before its `known_at`, each at its own instant, then
  those at `known_at` together with itself. Silent users' expiries strictly below the watermark are
  applied after each event.
- A tombstone's own time T is its Kafka timestamp (when live: at most the clock; never below the watermark
  less the dedupe horizon). Its user's events up to T are as if they had never been, and so is his log; later
  ones are taken again, in order of known_at, event_time and event_id, with the known_at that they have. What
  arrives afterwards and is not after T is dropped. One that is not after the user's last T changes nothing.
- A version of a profile arrives, becomes known, waits and is erased as an event is; it is no repeat of anything,
  and never too late.

All times are µs since 1970 UTC. The log of a user does not depend on other users' events, except
through the watermark that a late event meets.
"""

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from segmentation.compile.tree import Age, Compare, Definition, Literal, Node
from segmentation.compile.turning import nows, of_clock, turn_of
from segmentation.events.rows import PROFILES
from segmentation.reference_eval import is_member
from segmentation.reference_time import Calendar
from segmentation.reference_users import Event, Version
from segmentation.types import FOREVER, INTERVAL, NEVER, TIMESTAMPTZ

__all__ = ["Event", "Flip", "Known", "Reference", "Version", "is_member"]


@dataclass(frozen=True, slots=True)
class Flip:
    """One user entered or left one segment; the flips of one step share `seq`."""

    user_id: str
    seq: int
    segment: str
    entered: bool
    effective_at: int
    by_event: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class Known:
    event: Event
    known_at: int


@dataclass(slots=True)
class _User:
    known: list[Known] = field(default_factory=list)
    waiting: list[Known] = field(default_factory=list)  # known after the clock, in order of arrival
    seen: set[tuple[str, int]] = field(default_factory=set)
    newest: int = NEVER
    turned: int = NEVER  # turns of the clock up to here are among `instants`
    instants: list[int] = field(default_factory=list)  # heap: where a truth could change
    applied: int = NEVER  # effects up to here are in the log
    seq: int = 0
    segments: set[str] = field(default_factory=set)


class Reference:
    """One shard, whole: all users' events in, one log out. `log` is in the order of application.

    partitions: of the topic of events, from 0; profiles: of the topic of profiles, from PROFILES."""

    def __init__(
        self,
        definitions: Sequence[Definition],
        partitions: int,
        lateness_us: int,
        dedupe_horizon_us: int | None,
        live: bool,
        profiles: int = 0,
    ) -> None:
        self.definitions = definitions
        self.lateness_us = lateness_us
        self.dedupe_horizon_us = dedupe_horizon_us
        self.live = live
        self.log: list[Flip] = []
        self.too_late: list[Event] = []
        self.repeated = 0
        self.erased: dict[str, int] = {}  # user id -> T
        self.dropped = 0
        self._clock = NEVER
        numbers = [*range(partitions), *range(PROFILES, PROFILES + profiles)]
        self._largest = dict.fromkeys(numbers, NEVER)
        self._watermarks = dict.fromkeys(numbers, NEVER)
        self._users: defaultdict[str, _User] = defaultdict(_User)
        self._instants: list[tuple[int, str]] = []  # heap over all users
        self._ages = _ages(definitions)
        self._calendar = Calendar(node for definition in definitions for node in _walk(definition.query))

    @property
    def watermark(self) -> int:
        return min(self._watermarks.values())

    def event(self, partition: int, event: Event, clock: int) -> None:
        """The next event or version of a partition; `clock` is the wall time of the read (only if live)."""
        self._release(clock)
        self._largest[partition] = max(self._largest[partition], event.time)
        self._follow(partition)
        self._arrival(event)
        self._expire_silent(self.watermark)

    def erase(self, partition: int, user_id: str, time: int, clock: int) -> None:
        """The next record of a partition of profiles, a tombstone with this Kafka timestamp."""
        self._release(clock)
        self._largest[partition] = max(self._largest[partition], time)
        self._follow(partition)
        until = min(time, self._clock) if self.live else time
        if self.dedupe_horizon_us is not None:
            until = max(until, self.watermark - self.dedupe_horizon_us)
        if until > self.erased.get(user_id, NEVER):
            self.erased[user_id] = until
            self._begin_anew(user_id, until)
        self._expire_silent(self.watermark)

    def idle(self, partition: int, watermark: int | None, clock: int) -> None:
        """A read without events: the clock moves, and perhaps the partition is said to be this far."""
        self._release(clock)
        self._follow(partition)
        if watermark is not None:
            self._watermarks[partition] = max(self._watermarks[partition], watermark)
        self._expire_silent(self.watermark)

    def finish(self, at: int) -> None:
        """The end of input: everything with effect at or before `at` is applied."""
        self._release(at)
        self._expire_silent(at + 1)

    def members(self) -> set[tuple[str, str]]:
        """(user, segment), as of the log's end."""
        return {(user_id, name) for user_id, user in self._users.items() for name in user.segments}

    def known(self) -> Iterator[Known]:
        """Every event that has been applied, with the instant from which it counts."""
        for user in self._users.values():
            yield from user.known

    def is_member(self, definition: Definition, user_id: str, t: int) -> bool:
        """What SQL says at t, whatever the log says."""
        known = self._users[user_id].known if user_id in self._users else []
        return is_member(definition, [k.event for k in known if k.known_at <= t], t)

    def _follow(self, partition: int) -> None:
        largest = min(self._largest[partition], self._clock) if self.live else self._largest[partition]
        self._watermarks[partition] = max(self._watermarks[partition], largest - self.lateness_us)

    def _begin_anew(self, user_id: str, until: int) -> None:
        before = self._users.pop(user_id, _User())
        self.log = [flip for flip in self.log if flip.user_id != user_id]
        self.too_late = [event for event in self.too_late if event.user_id != user_id]
        self._instants = [(instant, whose) for instant, whose in self._instants if whose != user_id]
        heapq.heapify(self._instants)
        for known in sorted(
            (known for known in before.known + before.waiting if known.event.time > until),
            key=lambda known: (known.known_at, known.event.time, known.event.event_id),
        ):
            self._take(known)

    def _arrival(self, event: Event) -> None:
        if event.time <= self.erased.get(event.user_id, NEVER):
            self.dropped += 1
            return
        if isinstance(event, Version):
            self._take(Known(event, max(event.time, self._users[event.user_id].newest, self.watermark)))
            return
        if self.dedupe_horizon_us is not None and event.time < self.watermark - self.dedupe_horizon_us:
            self.too_late.append(event)
            return
        user = self._users[event.user_id]
        if (event.event_id, event.time) in user.seen:
            self.repeated += 1
            return
        self._take(Known(event, max(event.time, user.newest, self.watermark)))

    def _take(self, known: Known) -> None:
        event = known.event
        user = self._users[event.user_id]
        user.seen.add((event.event_id, event.time))
        user.newest = max(user.newest, event.time)
        if self.live and known.known_at > self._clock:
            user.waiting.append(known)
        else:
            self._apply(known)

    def _release(self, clock: int) -> None:
        self._clock = max(self._clock, clock)
        due = [k for user in self._users.values() for k in user.waiting if k.known_at <= self._clock]
        for known in sorted(due, key=lambda k: k.known_at):
            self._users[known.event.user_id].waiting.remove(known)
            self._apply(known)

    def _apply(self, known: Known) -> None:
        user_id = known.event.user_id
        user = self._users[user_id]
        self._meet_clock(user_id, known.known_at)
        while user.instants and user.instants[0] < known.known_at:
            self._settle(user_id, heapq.heappop(user.instants), by_event=False)
        user.known.append(known)
        self._settle(user_id, known.known_at, by_event=True)
        for instant in self._changes(known.event):
            if instant > known.known_at:
                heapq.heappush(user.instants, instant)
                heapq.heappush(self._instants, (instant, user_id))

    def _meet_clock(self, user_id: str, until: int) -> None:
        """The clock turns for a user from his first event on."""
        user = self._users[user_id]
        for instant in self._calendar.of_clock(user.turned, until) if user.turned > NEVER else ():
            heapq.heappush(user.instants, instant)
            heapq.heappush(self._instants, (instant, user_id))
        user.turned = max(user.turned, until)

    def _expire_silent(self, below: int) -> None:
        for user_id in self._users if self._calendar else ():
            if self._users[user_id].known:
                self._meet_clock(user_id, below - 1)
        while self._instants and self._instants[0][0] < below:
            instant, user_id = heapq.heappop(self._instants)
            self._settle(user_id, instant, by_event=False)

    def _settle(self, user_id: str, instant: int, by_event: bool) -> None:
        """One step: put into the log what differs from the truth at this instant."""
        user = self._users[user_id]
        if instant <= user.applied and not by_event:
            return  # a change that an event of this user has already taken with it
        assert instant >= user.applied, "effective_at went back"
        user.applied = instant
        events = [k.event for k in user.known]
        now = {d.name for d in self.definitions if is_member(d, events, instant)}
        flipped = [d.name for d in self.definitions if (d.name in now) != (d.name in user.segments)]
        if flipped:
            user.seq += 1
            user.segments = now
            self.log += [Flip(user_id, user.seq, name, name in now, instant, by_event) for name in flipped]

    def _changes(self, event: Event) -> set[int]:
        """Where a truth could change without an arrival: a superset, since looking once more does no harm."""
        times = [event.time, *(value for name, value in event.values.items() if type(value) is int)]
        edges = {time + age for time in times for age in self._ages.relative} | self._ages.absolute
        edges = {edge + after for edge in edges for after in (0, 1)}
        return {edge for edge in edges | self._calendar.of_event(event.time) if edge < FOREVER}


@dataclass(frozen=True, slots=True)
class _Ages:
    relative: set[int]  # distances from a time that an event carries
    absolute: set[int]


def _ages(definitions: Sequence[Definition]) -> _Ages:
    ages = _Ages(set(), set())
    for definition in definitions:
        for node in _walk(definition.query):
            if isinstance(node, Age):
                ages.relative.add(node.micros)
            elif isinstance(node, Compare) and turn_of(node) is None and not of_clock(node):
                _ages_of_comparison(node, ages)
    return ages


def _ages_of_comparison(node: Compare, ages: _Ages) -> None:
    """Both sides of a comparison with now() are linear in time, so it turns at a signed sum of the constants."""
    parts = list(_walk(node))
    offsets = [part.offset for part in nows(node)]
    if not offsets:
        return
    literals = [part for part in parts if isinstance(part, Literal) and type(part.value) is int]
    steps = offsets + [_int(part) for part in literals if part.type == INTERVAL]
    sums = {sum(s * step for s, step in zip(signs, steps)) for signs in product((-1, 0, 1), repeat=len(steps))}
    ages.relative.update(sums)
    ages.absolute.update(_int(part) + s for part in literals if part.type == TIMESTAMPTZ for s in sums)


def _int(literal: Literal) -> int:
    assert isinstance(literal.value, int)
    return literal.value


def _walk(value: Any) -> Iterator[Node]:
    """The nodes of a tree, whatever fields they are in."""
    if isinstance(value, tuple):
        for part in value:
            yield from _walk(part)
    elif isinstance(value, Node):
        yield value
        for name in value.__dataclass_fields__:
            yield from _walk(getattr(value, name))
