"""The obvious Bytewax flow: a key per user, a dict per user, every definition checked at every event.

It counts in the same windows and shares equal counts between definitions, but works event by event
in Python, as one writes it first. It cannot see time pass for users who stay silent, so its final
membership is compared after one last look at every user. The engine runs as a Bytewax flow too,
with one item per poll, so that both pay for Bytewax.
"""

import operator
import statistics
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
from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Step
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.events.schema import load_schema

Feature = tuple[str, str, str | None, int]
Event = tuple[str, int, str, str, int]  # user, time µs, type, region, cents
_decode = msgspec.json.Decoder().decode
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def keyed(message: bytes) -> tuple[str, Event]:
    event = _decode(message)
    since = datetime.fromisoformat(event["event_time"]) - _EPOCH
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    cents = round(event["properties"]["amount"] * 100)
    user = event["user_id"]
    return user, (user, micros, event["event_type"], event["region"], cents)


class UserLogic(StatefulBatchLogic[Event, tuple[str, bool, int], Any]):
    """One user: per feature a running value and the events that are still inside its window."""

    def __init__(self, features: dict[Feature, int], segments: dict[str, list[tuple[int, Any, int]]]) -> None:
        self._features, self._segments = features, segments
        self.values = [0] * len(features)
        self._inside: list[deque[tuple[int, int]]] = [deque() for _ in features]
        self.members: set[str] = set()
        self.user = ""

    def look(self, now: int) -> list[tuple[str, bool, int]]:
        for (_, _, _, days), number in self._features.items():
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
        for self.user, at, kind, region, cents in values:
            for (function, event_type, wanted, _), number in self._features.items():
                if event_type == kind and (wanted is None or wanted == region):
                    weight = cents if function == "sum" else 1
                    self.values[number] += weight
                    self._inside[number].append((at, weight))
            out += self.look(at)
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return None


def prepared(count: int, per_user: float) -> tuple[dict[Feature, int], dict[str, list[tuple[int, Any, int]]]]:
    features: dict[Feature, int] = {}
    segments = {}
    for name, conditions in workload.definitions(count, per_user=per_user).items():
        segments[name] = [
            (
                features.setdefault((c.function, c.event_type, c.region, c.days), len(features)),
                operator.lt if c.negated else operator.ge,
                c.at_least * (100 if c.function == "sum" else 1),
            )
            for c in conditions
        ]
    return features, segments


def naive(stream: workload.Stream, count: int, per_user: float) -> tuple[float, int, set[tuple[str, str]]]:
    """(seconds, flips, members at the end)."""
    features, segments = prepared(count, per_user)
    users: list[UserLogic] = []

    def build(_state: Any) -> UserLogic:
        users.append(UserLogic(features, segments))
        return users[-1]

    flow = Dataflow("naive")
    messages = op.input("events", flow, TestingSource(stream.messages, batch_size=1000))
    flips: list[Any] = []
    op.output("out", op.stateful_batch("users", op.map("decode", messages, keyed), build), TestingSink(flips))
    started = time.perf_counter()
    run_main(flow)  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - started
    last = int(stream.times.max())
    for user in users:
        user.look(last)
    return seconds, len(flips), {(user.user, name) for user in users for name in user.members}


class EngineLogic(StatefulBatchLogic[Poll, Step, Any]):
    def __init__(self, shard: Shard) -> None:
        self.shard = shard

    def on_batch(self, values: list[Poll]) -> tuple[list[Step], bool]:
        return [self.shard.run(values)], StatefulBatchLogic.RETAIN

    def snapshot(self) -> Any:
        return None


def engine(
    stream: workload.Stream, count: int, per_user: float, poll: int = 5_000
) -> tuple[float, int, set[tuple[str, str]]]:
    from loadtest.engine import decode

    schema = load_schema(workload.SCHEMA)
    plan = compile_files(workload.files(count, per_user=per_user), schema)
    decoder = Decoder(schema, None)
    shard = Shard(plan, 1, 250_000, 7 * workload.DAY_US, True)
    pieces = [(first, stream.messages[first : first + poll]) for first in range(0, len(stream.messages), poll)]

    def decoded(piece: tuple[int, list[bytes]]) -> tuple[str, Poll]:
        rows = decode(decoder, piece[1], piece[0]).rows
        high = int(rows.high[-1])
        return "0", Poll(0, piece[0] + len(rows), high, high, None, rows)

    flow = Dataflow("engine")
    polls = op.map("decode", op.input("events", flow, TestingSource(pieces, batch_size=1)), decoded)
    steps: list[tuple[str, Step]] = []
    op.output("out", op.stateful_batch("shard", polls, lambda _state: EngineLogic(shard)), TestingSink(steps))
    started = time.perf_counter()
    run_main(flow)  # type: ignore[no-untyped-call]
    seconds = time.perf_counter() - started
    flips = sum(len(step.transitions.segment) for _, step in steps)
    last = int(stream.times.max())
    shard.run([Poll(0, len(stream.messages), last + 250_001, last + 250_001)])
    return seconds, flips, {(user, plan.names[s]) for user, inside in shard.members() for s in inside}


def compare(count: int, events: int, rounds: int) -> dict[str, Any]:
    """Both flows on the same events in order of time; refuses to report where members differ."""
    users, days = max(events // 30, 1), 60.0
    per_user = events / users / (days / 30)
    stream = workload.stream(events, users, days, disorder=0.0)
    engine(stream, count, per_user)
    ours, theirs = [], []
    for _ in range(rounds):
        seconds, flips, members = engine(stream, count, per_user)
        ours.append(seconds)
        naive_seconds, naive_flips, naive_members = naive(stream, count, per_user)
        theirs.append(naive_seconds)
        if members != naive_members:
            raise SystemExit(f"The flows disagree about {len(members ^ naive_members)} members; no figure is reported.")
    ratios = [b / a for a, b in zip(ours, theirs)]
    return {
        "events": events, "engine_transitions": flips, "naive_flips": naive_flips,
        "engine_events_per_s": round(events / statistics.median(ours)),
        "naive_events_per_s": round(events / statistics.median(theirs)),
        "times": {
            "median": round(statistics.median(ratios), 2), "min": round(min(ratios), 2), "max": round(max(ratios), 2),
        },
    }
