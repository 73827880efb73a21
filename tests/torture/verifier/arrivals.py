"""When each event became known: from the recorded steps, by the rules of time and nothing of the engine.

The record says in which order a shard took the partitions' messages, with which clock, and how far each
partition's watermark was afterwards. From that follows, event by event: the partition's watermark is its
largest event time so far, at most the clock, less the lateness, or what the record says of a quiet partition;
the shard's is the least of all and never goes back; an event is known at the greatest of its own time, the
times of its user's earlier arrivals, and that watermark.

What the record says is not simply believed: a watermark outside of what clock and events allow, an offset that
goes back, a step that is missing or there twice, is a complaint.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from xxhash import xxh3_64_intdigest

from tests.torture.verifier.decode import Event

NEVER = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Part:
    """Messages of `partition` below next_offset are taken, read at `clock`; watermark: the partition's after it. µs"""

    partition: int
    next_offset: int
    clock: int
    watermark: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """`index` counts the user's accepted events from 0."""

    event: Event
    index: int
    known_at: int


@dataclass(slots=True)
class Account:
    """What a shard made of its messages. watermark: the last one, µs; reached: first offset not taken."""

    arrivals: list[Arrival] = field(default_factory=list)
    too_late: list[Event] = field(default_factory=list)
    repeated: int = 0
    late: int = 0
    watermark: int = NEVER
    reached: dict[int, int] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


def shard_of(user_id: str, shards: int) -> int:
    return xxh3_64_intdigest(user_id.encode()) % shards


@dataclass(frozen=True, slots=True)
class Rules:
    shards: int
    partitions: int
    lateness_us: int
    horizon_us: int


def account(
    shard: int, steps: Sequence[tuple[int, Sequence[Part]]], log: Mapping[int, Sequence[Event]], rules: Rules
) -> Account:
    """steps: (number, parts) in order; log: per partition all accepted events of all users, by offset."""
    return _Shard(shard, log, rules).run(steps)


class _Shard:
    def __init__(self, shard: int, log: Mapping[int, Sequence[Event]], rules: Rules) -> None:
        self.shard, self.log, self.rules = shard, log, rules
        self.out = Account(reached=dict.fromkeys(range(rules.partitions), 0))
        self.next = dict.fromkeys(range(rules.partitions), 0)  # place in the log
        self.high = dict.fromkeys(range(rules.partitions), NEVER)
        self.behind = dict.fromkeys(range(rules.partitions), NEVER)  # watermarks
        self.clock = NEVER
        self.seen: set[tuple[str, str, int]] = set()
        self.newest: dict[str, int] = {}
        self.count: Counter[str] = Counter()

    def run(self, steps: Iterable[tuple[int, Sequence[Part]]]) -> Account:
        expected = 1
        for number, parts in steps:
            if number != expected:
                self._complain(f"step {number} follows step {expected - 1}")
            expected = number + 1
            for part in parts:
                self._part(part)
        for partition in range(self.rules.partitions):  # what nobody took is missing from the log, so it is expected
            for event in self._events(partition, 1 << 62):
                self._arrive(event, self.out.watermark)
        return self.out

    def _events(self, partition: int, end: int) -> Iterable[Event]:
        events, at = self.log.get(partition, ()), self.next[partition]
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
            self.out.watermark = max(self.out.watermark, min(own, others))
            self._arrive(event, self.out.watermark)
        if part.next_offset < self.out.reached[partition]:
            self._complain(f"partition {partition} goes back from {self.out.reached[partition]} to {part.next_offset}")
        self.out.reached[partition] = max(self.out.reached[partition], part.next_offset)
        least = max(self.behind[partition], self._allowed(partition))
        most = max(least, self.clock - self.rules.lateness_us)
        if not least <= part.watermark <= most:
            self._complain(f"partition {partition}: watermark {part.watermark} is not within {least} and {most}")
        self.behind[partition] = max(self.behind[partition], part.watermark)
        self.out.watermark = max(self.out.watermark, min(self.behind.values()))

    def _allowed(self, partition: int) -> int:
        high = self.high[partition]
        return min(high, self.clock) - self.rules.lateness_us if high > NEVER else NEVER

    def _arrive(self, event: Event, watermark: int) -> None:
        user = event.user_id
        if shard_of(user, self.rules.shards) != self.shard:
            return
        if event.time < watermark - self.rules.horizon_us:
            self.out.too_late.append(event)
            return
        identity = (user, event.event_id, event.time)
        if identity in self.seen:
            self.out.repeated += 1
            return
        self.seen.add(identity)
        self.out.late += event.time < watermark
        known_at = max(event.time, self.newest.get(user, NEVER), watermark)
        self.newest[user] = max(self.newest.get(user, NEVER), event.time)
        self.out.arrivals.append(Arrival(event, self.count[user], known_at))
        self.count[user] += 1

    def _complain(self, words: str) -> None:
        self.out.complaints.append(f"record of shard {self.shard}: {words}")


def by_partition(events: Iterable[Event]) -> dict[int, list[Event]]:
    log: defaultdict[int, list[Event]] = defaultdict(list)
    for event in events:
        log[event.partition].append(event)
    for one in log.values():
        one.sort(key=lambda event: event.offset)
    return dict(log)
