"""When each event became known: from the recorded steps, by the rules of time and nothing of the engine.

The record says in which order a shard took the partitions' messages, with which clock, and how far each
partition's watermark was afterwards. From that follows, event by event: the partition's watermark is its
largest event time so far, at most the clock, less the lateness, or what the record says of a quiet partition;
the shard's is the least of all and never goes back; an event is known at the greatest of its own time, the
times of its user's earlier arrivals, and that watermark.

What the record says is not simply believed: a watermark outside of what clock and events allow, an offset that
goes back, a step that is missing or there twice, shards that are dealt out anew while they stand at different
places, is a complaint.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

from xxhash import xxh3_64_intdigest

from tests.torture.verifier.decode import Event

NEVER = -(1 << 62)
#: Partitions of the topic `profiles` are recorded under numbers from here on.
PROFILES = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """Messages of `partition` below next_offset are taken, read at `clock`; watermark: the partition's after it. µs"""

    partition: int
    next_offset: int
    clock: int
    watermark: int


#: (number, parts), in order of their commit.
Steps = Sequence[tuple[int, Sequence[Part]]]


@dataclass(frozen=True, slots=True)
class Epoch:
    """As long as there were so many shards: the steps of each."""

    shards: int
    steps: Mapping[int, Steps]


@dataclass(frozen=True, slots=True)
class Arrival:
    """`index` counts the user's accepted events from 0."""

    event: Event
    index: int
    known_at: int


@dataclass(slots=True)
class Account:
    """What was made of all messages. watermarks, clocks: of each shard at the end, µs."""

    arrivals: list[Arrival] = field(default_factory=list)
    too_late: list[Event] = field(default_factory=list)
    repeated: int = 0
    late: int = 0
    watermarks: list[int] = field(default_factory=list)
    clocks: list[int] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def applied(self) -> list[Arrival]:
        """Those that have taken effect: what is ahead of its shard's clock waits for it."""
        return [each for each in self.arrivals if each.known_at <= self.clocks[self._shard(each.event.user_id)]]

    def bounds(self) -> dict[str, int]:
        """By user: what time does to him strictly before that has been done.

        The watermark of his shard; or his last event, which first applies his own expiries before it.
        """
        out: dict[str, int] = {}
        for each in self.applied():
            user = each.event.user_id
            out[user] = max(out.get(user, self.watermarks[self._shard(user)]), each.known_at)
        return out

    def _shard(self, user_id: str) -> int:
        return shard_of(user_id, len(self.watermarks))


def shard_of(user_id: str, shards: int) -> int:
    return xxh3_64_intdigest(user_id.encode()) % shards


@dataclass(frozen=True, slots=True)
class Rules:
    """profiles: partitions of the topic of profiles, which is empty; the watermark waits for them too."""

    partitions: int
    lateness_us: int
    horizon_us: int
    profiles: int = 0


def account(epochs: Sequence[Epoch], log: Mapping[int, Sequence[Event]], rules: Rules) -> Account:
    """log: per partition all accepted events of all users, by offset."""
    book = _Book(log, rules)
    shards = [_Shard(book, shard, epochs[0].shards) for shard in range(epochs[0].shards)]
    number = 0
    for epoch in epochs:
        if len(shards) != epoch.shards:
            if any(shard.standing() != shards[0].standing() for shard in shards):
                book.out.complaints.append(f"record: the {len(shards)} shards stand at different places when dealt out")
            shards = [shards[0].heir(shard, epoch.shards) for shard in range(epoch.shards)]
        numbers = [shard.run(epoch.steps.get(shard.number, ()), number + 1) for shard in shards]
        # New shards are saved as the step after the furthest of the old ones.
        number = max(numbers) + 1
    book.out.watermarks = [shard.watermark for shard in shards]
    book.out.clocks = [shard.clock for shard in shards]
    return book.out


class _Book:
    """What belongs to users, whose shard may become another one, and what comes out."""

    def __init__(self, log: Mapping[int, Sequence[Event]], rules: Rules) -> None:
        self.log, self.rules = log, rules
        self.out = Account()
        self._seen: set[tuple[str, str, int]] = set()
        self._newest: dict[str, int] = {}
        self._count: Counter[str] = Counter()

    def arrive(self, event: Event, watermark: int) -> None:
        user = event.user_id
        if event.time < watermark - self.rules.horizon_us:
            self.out.too_late.append(event)
            return
        identity = (user, event.event_id, event.time)
        if identity in self._seen:
            self.out.repeated += 1
            return
        self._seen.add(identity)
        self.out.late += event.time < watermark
        known_at = max(event.time, self._newest.get(user, NEVER), watermark)
        self._newest[user] = max(self._newest.get(user, NEVER), event.time)
        self.out.arrivals.append(Arrival(event, self._count[user], known_at))
        self._count[user] += 1


class _Shard:
    """reached: first offset not taken; next: its place in the log; high: largest event time; behind: watermark.

    All by partition, µs.
    """

    def __init__(self, book: _Book, number: int, shards: int) -> None:
        self.book, self.number, self.shards = book, number, shards
        partitions = [*range(book.rules.partitions), *range(PROFILES, PROFILES + book.rules.profiles)]
        self.reached, self.next = dict.fromkeys(partitions, 0), dict.fromkeys(partitions, 0)
        self.high, self.behind = dict.fromkeys(partitions, NEVER), dict.fromkeys(partitions, NEVER)
        self.clock = self.watermark = NEVER

    def standing(self) -> tuple[object, ...]:
        return self.reached, self.behind, self.clock, self.watermark

    def heir(self, number: int, shards: int) -> "_Shard":
        """One of `shards` new ones, which stand where this one does."""
        new = _Shard(self.book, number, shards)
        new.reached, new.next, new.high, new.behind = deepcopy((self.reached, self.next, self.high, self.behind))
        new.clock, new.watermark = self.clock, self.watermark
        return new

    def run(self, steps: Steps, first: int) -> int:
        """first: the number that the first step ought to have; returns that of the last one."""
        last = first - 1
        for number, parts in steps:
            if number != last + 1:
                self._complain(f"step {number} follows step {last}")
            last = number
            for part in parts:
                self._part(part)
        return last

    def _events(self, partition: int, end: int) -> Iterable[Event]:
        events, at = self.book.log.get(partition, ()), self.next[partition]
        first = at
        while at < len(events) and events[at].offset < end:
            at += 1
        self.next[partition] = at
        return events[first:at]

    def _part(self, part: Part) -> None:
        partition = part.partition
        self.clock = max(self.clock, part.clock)
        others = min((w for p, w in self.behind.items() if p != partition), default=part.watermark)
        for event in self._events(partition, part.next_offset):
            self.high[partition] = max(self.high[partition], event.time)
            own = max(self.behind[partition], self._allowed(partition))
            self.watermark = max(self.watermark, min(own, others))
            self._arrive(event)
        if part.next_offset < self.reached[partition]:
            self._complain(f"partition {partition} goes back from {self.reached[partition]} to {part.next_offset}")
        self.reached[partition] = max(self.reached[partition], part.next_offset)
        least = max(self.behind[partition], self._allowed(partition))
        most = max(least, self.clock - self.book.rules.lateness_us)
        if not least <= part.watermark <= most:
            self._complain(f"partition {partition}: watermark {part.watermark} is not within {least} and {most}")
        self.behind[partition] = max(self.behind[partition], part.watermark)
        self.watermark = max(self.watermark, min(self.behind.values()))

    def _allowed(self, partition: int) -> int:
        high = self.high[partition]
        return min(high, self.clock) - self.book.rules.lateness_us if high > NEVER else NEVER

    def _arrive(self, event: Event) -> None:
        if shard_of(event.user_id, self.shards) == self.number:
            self.book.arrive(event, self.watermark)

    def _complain(self, words: str) -> None:
        self.book.out.complaints.append(f"record of shard {self.number} of {self.shards}: {words}")


def by_partition(events: Iterable[Event]) -> dict[int, list[Event]]:
    log: defaultdict[int, list[Event]] = defaultdict(list)
    for event in events:
        log[event.partition].append(event)
    for one in log.values():
        one.sort(key=lambda event: event.offset)
    return dict(log)
