"""The measured workload: made-up definitions with sliding windows, and 274-byte JSON events.

A pure function of its parameters. Definitions have one to three conditions over 30-, 14- and 7-day
windows; thresholds are chosen around what users reach, so that every definition has members and
non-members. The rate of transitions an event is measured and reported by whoever runs it.
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


@dataclass(frozen=True, slots=True)
class Condition:
    """`function` (count or sum) over events of a type (and region), in `days`, compared with `at_least`."""

    function: str
    event_type: str
    region: str | None
    days: int
    at_least: int
    negated: bool

    def sql(self) -> str:
        rows = f"event_type = '{self.event_type}' AND event_time > now() - INTERVAL '{self.days} days'"
        if self.region is not None:
            rows += f" AND region = '{self.region}'"
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


def stream(count: int, users: int, days: float, seed: int = 7, disorder: float = 0.05) -> Stream:
    """`count` events over `days` days; users are drawn from a Zipf-like law.

    A share of the events is out of order: up to 20 mean gaps earlier than their place in the stream says.
    """
    rng = np.random.default_rng(seed)
    rank = np.minimum(users * rng.random(count) ** 2.5, users - 1).astype(np.int64)
    time = np.sort(rng.integers(0, int(days * DAY_US), count)) + START_US
    moved = rng.random(count) < disorder
    time[moved] -= rng.integers(1, max(2, int(20 * days * DAY_US / count)), int(moved.sum()))
    kind, region = rng.integers(0, len(TYPES), count), rng.integers(0, len(REGIONS), count)
    device, cents = rng.integers(0, len(DEVICES), count), rng.integers(100, 10_000, count)
    epoch = datetime.datetime(1970, 1, 1)
    messages = []
    for i, (u, t, k, r, d, c) in enumerate(
        zip(rank.tolist(), time.tolist(), kind.tolist(), region.tolist(), device.tolist(), cents.tolist())
    ):
        stamp = (epoch + datetime.timedelta(microseconds=t)).isoformat(timespec="microseconds")
        text = (
            f'{{"event_id":"{i:032x}","user_id":"user-{u:08}","event_type":"{TYPES[k]}","event_time":"{stamp}Z",'
            f'"region":"{REGIONS[r]}","device_type":"{DEVICES[d]}","url":"/p/{c % 97}",'
            f'"properties":{{"amount":{c // 100}.{c % 100:02},"padding":"'
        )
        messages.append((text + "x" * (EVENT_BYTES - len(text) - 3) + '"}}').encode())
    return Stream(messages, time)
