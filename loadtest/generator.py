"""Believable traffic of a shop: a pure function of a seed and of the times asked for.

Users are Zipf-distributed; each has a region, a usual device and a temper of its own, derived from
the user's number, so that the same user looks the same in history, live traffic and every run.
Events come in sessions (home, search, product pages, perhaps a cart, perhaps a purchase) whose gaps
are log-normal, and sessions interleave; the stream is in order of time.

The clock is a parameter: nothing here reads it. The same arguments give the same events and ids.
"""

import heapq
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

SECOND = 1_000_000
DAY = 86_400 * SECOND

REGIONS = (
    ("California", 18), ("Texas", 13), ("New York", 10), ("Florida", 10), ("Washington", 6),
    ("Illinois", 6), ("Ohio", 5), ("Georgia", 5), ("Oregon", 3), ("Colorado", 3),
)  # fmt: skip
CATEGORIES = ("shoes", "jackets", "books", "kitchen", "garden", "toys", "audio", "bikes")
CHANNELS = ("direct", "organic", "email", "paid_search", "social")
#: Events of a session, on average; a test measures it.
MEAN_SESSION = 5.6
_BOUNCE, _LOGIN, _SIGNUP, _CART, _BUY, _BULK = 0.22, 0.30, 0.02, 0.30, 0.45, 0.02


@dataclass(frozen=True, slots=True)
class ShopEvent:
    """One event; `time` is µs since 1970 UTC, money is whole cents so that sums are exact."""

    event_id: str
    user_id: str
    event_type: str
    time: int
    region: str
    device_type: str
    channel: str
    url: str | None = None
    amount_cents: int | None = None
    quantity: int | None = None

    def message(self) -> bytes:
        """The JSON that a producer sends, in the shape of segment_defs/schema.yml."""
        properties: dict[str, str | float] = {"channel": self.channel}
        if self.url is not None:
            properties["url"] = self.url
        if self.amount_cents is not None:
            # The shortest text of this float has at most two decimals, so the cents arrive exactly.
            properties["amount"] = self.amount_cents / 100
        if self.quantity is not None:
            properties["quantity"] = self.quantity
        return json.dumps(
            {
                "event_id": self.event_id,
                "user_id": self.user_id,
                "event_type": self.event_type,
                "event_time": rfc3339(self.time),
                "region": self.region,
                "device_type": self.device_type,
                "properties": properties,
            }
        ).encode()


@dataclass(frozen=True, slots=True)
class Person:
    """What does not change about a user."""

    user_id: str
    region: str
    device_type: str
    thrift: float  # 0.6 generous .. 1.6 thrifty: multiplies the chance that a cart is abandoned
    city_tier: int = 2

    def profile(self) -> bytes:
        """For the topic of profiles."""
        return b'{"city_tier": %d}' % self.city_tier


def person(number: int) -> Person:
    chance = random.Random(number * 2_654_435_761 + 97)
    names, weights = zip(*REGIONS)
    return Person(
        user_id=f"u{number:06d}",
        region=chance.choices(names, weights)[0],
        device_type="mobile" if chance.random() < 0.62 else "desktop",
        thrift=chance.uniform(0.6, 1.6),
        city_tier=chance.choice((1, 2, 2, 3)),
    )


class People:
    """`count` users, drawn by Zipf's law with exponent `skew`; number 0 is the most active."""

    def __init__(self, count: int, skew: float = 1.05, first: int = 0) -> None:
        self._cumulative: list[float] = []
        self._first = first
        self._known: dict[int, Person] = {}
        total = 0.0
        for rank in range(1, count + 1):
            total += rank**-skew
            self._cumulative.append(total)

    def draw(self, chance: random.Random) -> Person:
        from bisect import bisect

        return self[bisect(self._cumulative, chance.random() * self._cumulative[-1])]

    def __getitem__(self, rank: int) -> Person:
        if rank not in self._known:
            self._known[rank] = person(self._first + rank)
        return self._known[rank]

    def __len__(self) -> int:
        return len(self._cumulative)


def session(who: Person, start: int, name: str, chance: random.Random, kind: str = "any") -> list[ShopEvent]:
    """One visit, in order of time. `kind`: any; "browse" never buys and has 10 to 16 pages; "buy" buys."""
    events: list[ShopEvent] = []
    time = start
    device, channel = who.device_type, chance.choice(CHANNELS)
    if kind == "any" and chance.random() < 0.15:
        device = "desktop" if device == "mobile" else "mobile"

    def step(event_type: str, url: str | None = None, cents: int | None = None, quantity: int | None = None) -> None:
        nonlocal time
        number = len(events)
        events.append(
            ShopEvent(
                f"{name}-{number}", who.user_id, event_type, time, who.region, device, channel, url, cents, quantity
            )
        )
        time += int(min(chance.lognormvariate(1.6, 0.9), 120) * SECOND)

    if kind == "any" and chance.random() < _SIGNUP:
        step("signup")
    elif chance.random() < _LOGIN:
        step("login")
    step("page_viewed", "/")
    if kind == "any" and chance.random() < _BOUNCE:
        return events
    category = chance.choice(CATEGORIES)
    product = ""
    for _ in range(chance.randint(10, 16) if kind == "browse" else min(1 + int(chance.expovariate(0.28)), 25)):
        if chance.random() < 0.2:
            category = chance.choice(CATEGORIES)
            step("page_viewed", f"/{category}")
        product = f"/{category}/{chance.randint(1, 400):03d}"
        step("product_viewed", product)
    if kind == "browse" or (kind == "any" and chance.random() >= _CART):
        return events
    price = 499 + int(chance.lognormvariate(8.0, 0.8))
    quantity = chance.randint(10, 40) if chance.random() < _BULK else 1 + int(chance.expovariate(1.2))
    step("add_to_cart", product, price, quantity)
    if kind == "buy" or chance.random() < 0.6:
        step("page_viewed", "/checkout")
        if kind == "buy" or chance.random() < _BUY / who.thrift:
            step("purchase", "/checkout/done", price, quantity)
    return events


def traffic(
    seed: int, start: int, per_second: float, people: People, until: int | None = None, warm_up_s: float = 240
) -> Iterator[ShopEvent]:
    """Events from `start` on, `per_second` on average, in order of time; without `until`, for ever.

    Sessions begin `warm_up_s` before `start` (their earlier events are left out), so that the rate
    is right from the first second; 0 where many events a second are wanted and that does not matter.
    """
    chance = random.Random(f"traffic {seed}")
    between = SECOND * MEAN_SESSION / per_second
    begins: float = start - warm_up_s * SECOND
    number = 0
    waiting: list[tuple[int, int, ShopEvent]] = []
    while True:
        begins += chance.expovariate(1) * between
        while waiting and waiting[0][0] <= begins:
            event = heapq.heappop(waiting)[2]
            if event.time >= start:
                if until is not None and event.time >= until:
                    return
                yield event
        number += 1
        for index, event in enumerate(session(people.draw(chance), int(begins), f"s{seed}-{number}", chance)):
            heapq.heappush(waiting, (event.time, number * 100 + index, event))


def lapsing(
    seed: int, now: int, windows: Sequence[int], per_second: float, seconds: float, first_user: int
) -> list[ShopEvent]:
    """Visits of users who then stay away, so that windows (µs) run out one by one from `now` on.

    For each window, `per_second` users had their last event between `now - window` and
    `seconds` after that: half of them bought, half only looked at many pages. In order of time.
    """
    chance = random.Random(f"lapsing {seed}")
    events: list[ShopEvent] = []
    number = 0
    for window in windows:
        for _ in range(int(per_second * seconds)):
            who = person(first_user + number)
            number += 1
            last = now - window + int(chance.uniform(0, seconds) * SECOND)
            visit = session(who, 0, f"l{seed}-{number}", chance, "buy" if number % 2 else "browse")
            shift = last - visit[-1].time
            events += [_moved(event, shift) for event in visit]
    events.sort(key=lambda event: event.time)
    return events


def history(
    seed: int, now: int, days: int, count: int, people: People, windows: Sequence[int], seconds: float
) -> list[ShopEvent]:
    """About `count` events of the `days` before `now` and, on top, users lapsing in the next `seconds`."""
    start = now - days * DAY
    usual = list(traffic(seed, start, count / (days * 86_400), people, until=now))
    passing = lapsing(seed, now, windows, 0.5, seconds, first_user=900_000)
    return list(heapq.merge(usual, (event for event in passing if event.time < now), key=lambda event: event.time))


def rfc3339(micros: int) -> str:
    seconds, rest = divmod(micros, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"


def _moved(event: ShopEvent, shift: int) -> ShopEvent:
    from dataclasses import replace

    return replace(event, time=event.time + shift)
