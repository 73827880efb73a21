"""The live stream: one seed, one sequence of events; only their times are the clock's.

Most events are sent when they happen, each partition with a delay of its own, so that the slow ones hold the
watermark back. Among them: late ones, ones that are too late, repeats, ones from the future (accepted, and too
far ahead), two at one instant, messages that are refused, and users whose messages lie in two partitions.
"""

import heapq
import json
import random
import threading
import time
from binascii import crc32
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from confluent_kafka import Producer

#: By how much the messages of a partition come later than they happened, s.
DELAYS = (0.0, 0.02, 0.1, 0.4, 1.5)
TYPES = ("view", "view", "view", "view", "cart", "cart", "purchase", "login")
FAR_AHEAD, AHEAD = 30.0, 2.0
REMEMBERED = 3_000


@dataclass(frozen=True, slots=True, order=True)
class Sending:
    """When, s of the wall clock; where, and what."""

    at: float
    number: int
    partition: int = field(compare=False)
    key: bytes | None = field(compare=False)
    value: bytes | None = field(compare=False)


class Events:
    """One call of `next` is one happening: none, one or two messages to be sent."""

    def __init__(self, seed: int, users: int, horizon: float) -> None:
        self._draw = random.Random(seed)
        self._horizon = horizon
        # Zipf's law, its head cut off: the most active user has a few percent of all events, not a tenth.
        self._weights = list(accumulate(1 / (rank + 15) for rank in range(users)))
        self._users = [f"user-{number:04d}" for number in range(users)]
        self._sent: deque[tuple[int, bytes, bytes]] = deque(maxlen=REMEMBERED)
        self._number = 0

    def next(self, now: float) -> list[Sending]:
        draw = self._draw
        chance = draw.random()
        if chance < 0.04 and self._sent:
            partition, key, value = draw.choice(self._sent)
            return [self._sending(now + draw.choice((0.0, 0.3, 4.0)), partition, key, value)]
        if chance < 0.06:
            return [self._sending(now, draw.randrange(len(DELAYS)), b"poison", self._poison(now))]
        user = draw.choices(self._users, cum_weights=self._weights)[0]
        happened = self._happened(now)
        found = [self._message(user, happened, now)]
        if chance > 0.97:  # at the same instant
            found.append(self._message(user, happened, now))
        return found

    def _happened(self, now: float) -> float:
        draw = self._draw
        chance = draw.random()
        if chance < 0.06:
            return now - draw.choice((0.3, 1.0, 5.0, 18.0)) * (1 + draw.random())
        if chance < 0.07:
            return now - self._horizon * (1.2 + 10 * draw.random())
        if chance < 0.085:
            return now + AHEAD * draw.random()
        if chance < 0.09:
            return now + FAR_AHEAD * (1 + draw.random())
        return now

    def _message(self, user: str, happened: float, now: float) -> Sending:
        draw = self._draw
        partition = crc32(user.encode()) % len(DELAYS)
        if draw.random() < 0.005:
            partition = draw.randrange(len(DELAYS))
        event = self._event(user, happened)
        value = json.dumps(event).encode()
        self._sent.append((partition, user.encode(), value))
        return self._sending(now + DELAYS[partition], partition, user.encode(), value)

    def _event(self, user: str, happened: float) -> dict[str, Any]:
        draw = self._draw
        self._number += 1
        event: dict[str, Any] = {
            "user_id": user, "event_id": f"e{self._number}", "event_type": draw.choice(TYPES),
            "event_time": _text(happened),
        }  # fmt: skip
        if draw.random() < 0.8:
            event["region"] = draw.choice(("north", "east", "south", "west", None))
        if draw.random() < 0.6:
            event["properties"] = {
                "amount": draw.choice((round(draw.uniform(0, 100), 2), draw.randrange(100), None)),
                "quantity": draw.randrange(12), "url": draw.choice(("/home", "/Checkout", "/checkout/pay", "/p/7")),
            }  # fmt: skip
        if draw.random() < 0.3:
            event["member"] = draw.random() < 0.5
        return event

    def _poison(self, now: float) -> bytes | None:
        draw = self._draw
        event = self._event("poisoned", now)
        changes: list[dict[str, Any]] = [
            {"user_id": None}, {"user_id": ""}, {"user_id": 7}, {"event_time": "yesterday"}, {"event_type": None},
            {"event_time": _text(now)[:-1]}, {"event_time": 1_767_225_600}, {"region": 5}, {"member": "yes"},
            {"properties": {"amount": "12"}}, {"properties": {"amount": -1}}, {"properties": [1]},
            {"properties": {"quantity": 1.5}}, {"properties": {"amount": 1e12}}, {"other": float("nan")},
        ]  # fmt: skip
        changed = [json.dumps({**event, **change}).encode() for change in changes]
        return draw.choice([*changed, None, b"", b"\0\0\0\0\7{}", b"{", b"\xff\xfe", b"[1, 2]", b'"text"'])

    def _sending(self, at: float, partition: int, key: bytes, value: bytes | None) -> Sending:
        self._number += 1
        return Sending(at, self._number, partition, key, value)


def _text(seconds: float) -> str:
    micros = round(seconds * 1_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(micros // 1_000_000)) + f".{micros % 1_000_000:06d}Z"


class Stream:
    """Sends from a thread, `rate` happenings a second, until `end`."""

    def __init__(self, bootstrap: str, topic: str, events: Events, rate: float) -> None:
        self._topic, self._events, self._rate = topic, events, rate
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "linger.ms": 2, "log_level": 0, "enable.idempotence": True,
             "delivery.timeout.ms": 300_000}
        )  # fmt: skip
        self._stop = threading.Event()
        self.sent = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Everything is in Kafka when this returns."""
        self._stop.set()
        self._thread.join()
        assert self._producer.flush(120) == 0, "Kafka does not take the events"

    def _run(self) -> None:
        waiting: list[Sending] = []
        began, happened = time.time(), 0
        while not self._stop.wait(0.005):
            now = time.time()
            while happened < (now - began) * self._rate:
                happened += 1
                for sending in self._events.next(now):
                    heapq.heappush(waiting, sending)
            for each in _due(waiting, now):
                self._send(each)
        for each in _due(waiting, float("inf")):
            self._send(each)

    def _send(self, each: Sending) -> None:
        self._producer.produce(self._topic, each.value, each.key, partition=each.partition)
        self._producer.poll(0)
        self.sent += 1


def _due(waiting: list[Sending], now: float) -> Iterator[Sending]:
    while waiting and waiting[0].at <= now:
        yield heapq.heappop(waiting)
