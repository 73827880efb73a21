"""The obvious Bytewax flow: a key per user, a dict per user, every definition checked at every event.

It counts in the same windows and shares equal counts between definitions, but works event by event
in Python, as one writes it first. It cannot see time pass for users who stay silent, so its final
membership is compared after one last look at every user. The engine runs as a Bytewax flow too, with one item
per read, so that both pay for Bytewax, and in the shipped configuration (see `loadtest.pipeline`), while the
obvious flow keeps all in memory, looks for no repeats, and saves nothing.
"""

import operator
import time
from collections import deque
from datetime import datetime
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.testing import TestingSink, TestingSource, run_main

from loadtest import workload
from loadtest.pipeline import Pipeline
from segmentation.compile.plan import Plan

Feature = tuple[str, str | None, str | None, str | None, int]
Event = tuple[str, int, str, str, str, int]  # user, time µs, type, region, device, cents
Definitions = dict[str, list[workload.Condition]]
Members = set[tuple[str, str]]
_decode = msgspec.json.Decoder().decode
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def keyed(message: bytes) -> tuple[str, Event]:
    event = _decode(message)
    since = datetime.fromisoformat(event["event_time"]) - _EPOCH
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    cents = round(event["properties"]["amount"] * 100)
    user = event["user_id"]
    return user, (user, micros, event["event_type"], event["region"], event["device_type"], cents)


class UserLogic(StatefulBatchLogic[Event, tuple[str, bool, int], Any]):
    """One user: per feature a running value and the events that are still inside its window, in order of time."""

    def __init__(self, features: dict[Feature, int], segments: dict[str, list[tuple[int, Any, int]]]) -> None:
        self._features, self._segments = features, segments
        self.values = [0] * len(features)
        self._inside: list[deque[tuple[int, int]]] = [deque() for _ in features]
        self.members: set[str] = set()
        self.user = ""

    def look(self, now: int) -> list[tuple[str, bool, int]]:
        for (*_, days), number in self._features.items():
            inside, edge = self._inside[number], now - days * workload.DAY_US
            while inside and inside[0][0] <= edge:
                self.values[number] -= inside.popleft()[1]
        flips = []
        for name, conditions in self._segments.items():
            held = all(compare(self.values[number], bound) for number, compare, bound in conditions)
            if held != (name in self.members):
                (self.members.add if held else self.members.discard)(name)
                flips.append((name, held, now))
        return flips

    def on_batch(self, values: list[Event]) -> tuple[list[tuple[str, bool, int]], bool]:
        out = []
        for self.user, at, kind, region, device, cents in values:
            for (function, of_type, of_region, of_device, _), number in self._features.items():
                if (
                    (of_type is None or of_type == kind)
                    and (of_region is None or of_region == region)
                    and (of_device is None or of_device == device)
                ):
                    weight = cents if function == "sum" else 1
                    self.values[number] += weight
                    inside = self._inside[number]
                    place = len(inside)
                    while place and inside[place - 1][0] > at:  # a late one
                        place -= 1
                    inside.insert(place, (at, weight))
            out += self.look(at)
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return None


def prepared(definitions: Definitions) -> tuple[dict[Feature, int], dict[str, list[tuple[int, Any, int]]]]:
    features: dict[Feature, int] = {}
    segments = {
        name: [
            (
                features.setdefault((c.function, c.event_type, c.region, c.device, c.days), len(features)),
                operator.lt if c.negated else operator.ge,
                c.at_least * (100 if c.function == "sum" else 1),
            )
            for c in conditions
        ]
        for name, conditions in definitions.items()
    }
    return features, segments


def naive(messages: list[bytes], definitions: Definitions, end: int) -> tuple[float, int, Members]:
    """(processor seconds, flips, members at `end`, µs)."""
    features, segments = prepared(definitions)
    users: list[UserLogic] = []

    def build(_state: Any) -> UserLogic:
        users.append(UserLogic(features, segments))
        return users[-1]

    flow = Dataflow("naive")
    source = op.input("events", flow, TestingSource(messages, batch_size=1000))
    flips: list[Any] = []
    op.output("out", op.stateful_batch("users", op.map("decode", source, keyed), build), TestingSink(flips))
    began = time.process_time()
    run_main(flow)  # type: ignore[no-untyped-call]
    seconds = time.process_time() - began
    for user in users:
        user.look(end)
    return seconds, len(flips), {(user.user, name) for user in users for name in user.members}


Read = tuple[dict[int, list[bytes]], int, int]


class EngineLogic(StatefulBatchLogic[Read, int, Any]):
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def on_batch(self, values: list[Read]) -> tuple[list[int], bool]:
        before = self._pipeline.transitions
        for messages, newest, _ in values:
            self._pipeline.read(messages, newest)
        return [self._pipeline.transitions - before], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return None


def engine(reads: list[Read], plan: Plan, end: int) -> tuple[float, int, Members]:
    """The same of the engine, on the events as `pipeline.reads` has them."""
    with Pipeline(plan, checkpoint_s=1.0) as pipeline:
        flow = Dataflow("engine")
        source = op.key_on("key", op.input("events", flow, TestingSource(reads, batch_size=1)), lambda _: "0")
        out: list[tuple[str, int]] = []
        op.output("out", op.stateful_batch("shards", source, lambda _: EngineLogic(pipeline)), TestingSink(out))
        began = time.process_time()
        run_main(flow)  # type: ignore[no-untyped-call]
        seconds = time.process_time() - began
        pipeline.finish(end)
        return seconds, sum(flips for _, flips in out), pipeline.members()
