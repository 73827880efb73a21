"""The measured workload: made-up definitions with sliding windows, and 274-byte JSON events.

A pure function of its parameters. Definitions have one to three conditions over 30-, 14- and 7-day
windows. Those made here have thresholds around what users reach on average; `loadtest.calibration` chooses
them by the events themselves, so that every definition has members and others, and the rate of transitions
is the wanted one. Whoever runs a measurement reports the rate that it found.
"""

import datetime
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCHEMA = """\
events:
  region: {type: text}
  device_type: {type: text}
  url: {type: text}
  amount: {type: "numeric(18,2)", path: properties.amount}
"""
TYPES = ("page_viewed", "clicked", "add_to_cart", "purchase", "login")
REGIONS = ("California", "Texas", "Bavaria", "Bihar", "Kerala")
DEVICES = ("mobile", "desktop", "tablet")
WINDOWS = (7, 14, 30)
DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000  # 2026-01-01 UTC
EVENT_BYTES = 274
#: Of Kafka's topic, and of the measurements without Kafka.
PARTITIONS = 4
#: Exponent of the law by which users are drawn.
ZIPF = 1.0


@dataclass(frozen=True, slots=True)
class Condition:
    """`function` (count or sum) over events of a type, region and device (None: of any), in `days`, compared
    with `at_least`; negated: below it."""

    function: str
    event_type: str | None
    region: str | None
    days: int
    at_least: int
    negated: bool
    device: str | None = None

    def sql(self) -> str:
        rows = f"event_time > now() - INTERVAL '{self.days} days'"
        for column in ("event_type", "region", "device"):
            if (wanted := getattr(self, column)) is not None:
                rows += f" AND {'device_type' if column == 'device' else column} = '{wanted}'"
        value = "count(*)" if self.function == "count" else "sum(amount)"
        value = f"{value} FILTER (WHERE {rows})"
        if self.function == "sum":
            value = f"coalesce({value}, 0)"
        return f"{value} {'<' if self.negated else '>='} {self.at_least}"


def definitions(count: int, seed: int = 5, per_user: float = 30.0) -> dict[str, list[Condition]]:
    """By name, the conditions that must all hold. per_user: events of a user in 30 days, on average."""
    rng = random.Random(seed)
    out = {}
    for number in range(count):
        conditions = []
        for function in rng.choices(["sum", "count"], k=rng.choice([1, 1, 2, 3])):
            days = rng.choice(WINDOWS)
            usual = per_user * days / 30 / len(TYPES)
            region = None if function == "sum" else rng.choice(REGIONS)
            at_least = max(1, round(rng.uniform(1.5, 12) * usual / (1 if region is None else len(REGIONS))))
            if function == "sum":
                at_least *= 50
            conditions.append(
                Condition(function, rng.choice(TYPES), region, days, at_least, rng.random() < 0.3)
            )
        out[f"s{number:05}"] = conditions
    return out


def sql(conditions: list[Condition]) -> str:
    return "SELECT user_id FROM events GROUP BY user_id HAVING " + " AND ".join(c.sql() for c in conditions)


def files(count: int, seed: int = 5, per_user: float = 30.0) -> dict[str, str]:
    """The definitions as the operators' files."""
    return {f"{name}.sql": sql(conditions) for name, conditions in definitions(count, seed, per_user).items()}


@dataclass(slots=True)
class Stream:
    """messages: JSON, one per event, in order of arrival; times: event times, µs."""

    messages: list[bytes]
    times: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Drawn:
    """The same events as numbers, in order of arrival: user (0: the most active one), time in µs, places in TYPES,
    REGIONS and DEVICES, and the amount in cents; each int64[n]."""

    users: int
    user: NDArray[np.int64]
    time: NDArray[np.int64]
    kind: NDArray[np.int64]
    region: NDArray[np.int64]
    device: NDArray[np.int64]
    cents: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user)

    @property
    def partition(self) -> NDArray[np.int64]:
        """Of each event, by its user."""
        found: NDArray[np.int64] = self.user % PARTITIONS
        return found

    def messages(self, first: int = 0, until: int | None = None) -> list[bytes]:
        """JSON of the events first <= n < until."""
        piece = slice(first, until)
        columns = (self.user, self.time, self.kind, self.region, self.device, self.cents)
        return [
            message(i, *values) for i, values in enumerate(zip(*(column[piece].tolist() for column in columns)), first)
        ]


_EPOCH = datetime.datetime(1970, 1, 1)


def message(number: int, user: int, time: int, kind: int, region: int, device: int, cents: int) -> bytes:
    """274 bytes; the arguments are what `Drawn` has."""
    stamp = (_EPOCH + datetime.timedelta(microseconds=time)).isoformat(timespec="microseconds")
    text = (
        f'{{"event_id":"{number:032x}","user_id":"user-{user:08}","event_type":"{TYPES[kind]}","event_time":"{stamp}Z",'
        f'"region":"{REGIONS[region]}","device_type":"{DEVICES[device]}","url":"/p/{cents % 97}",'
        f'"properties":{{"amount":{cents // 100}.{cents % 100:02},"padding":"'
    )
    return (text + "x" * (EVENT_BYTES - len(text) - 3) + '"}}').encode()


def zipf(count: int, users: int, rng: np.random.Generator, exponent: float = ZIPF) -> NDArray[np.int64]:
    """`count` users by Zipf's law."""
    weight = np.cumsum(np.arange(1, users + 1, dtype=np.float64) ** -exponent)
    found: NDArray[np.int64] = np.minimum(np.searchsorted(weight, rng.random(count) * weight[-1]), users - 1)
    return found


def draw(count: int, users: int, days: float, seed: int = 7, disorder: float = 0.05) -> Drawn:
    """`count` events over `days` days; users are drawn by Zipf's law.

    A share of the events is out of order: up to 20 mean gaps earlier than their place in the stream says.
    """
    rng = np.random.default_rng(seed)
    user = zipf(count, users, rng)
    time = np.sort(rng.integers(0, int(days * DAY_US), count)) + START_US
    moved = rng.random(count) < disorder
    time[moved] -= rng.integers(1, max(2, int(20 * days * DAY_US / count)), int(moved.sum()))
    kind, region = rng.integers(0, len(TYPES), count), rng.integers(0, len(REGIONS), count)
    device, cents = rng.integers(0, len(DEVICES), count), rng.integers(100, 10_000, count)
    return Drawn(users, user, time, kind, region, device, cents)


def stream(count: int, users: int, days: float, seed: int = 7, disorder: float = 0.05) -> Stream:
    """What `draw` gives, as messages."""
    drawn = draw(count, users, days, seed, disorder)
    return Stream(drawn.messages(), drawn.time)
