"""Engine against the pinned decoder, and against the obvious Bytewax flow; what one more transition costs.

`engine_ratio` takes the two by turns, read by read, so that what slows the machine slows both; ratios are of processor
time. The first third of the stream warms up. After the last event time is brought to the end, and the
engine's members must be the oracle's.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadtest import calibration, naive_bytewax, pipeline, reference_decoder, workload
from loadtest.oracle import Oracle
from loadtest.pipeline import Pipeline
from segmentation.compile.plan import Plan

DAYS = 60.0
#: Definitions: (features, transitions an event). One definition cannot have as many.
SHAPES = {1: (90, 0.003), 100: (90, 0.3), 1_000: (300, 0.3), 10_000: (300, 0.3)}

Say = Callable[[str], None]


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    world = World.of(480_000 if quick else 2_400_000, 5_000, read=pipeline.READ // 2 if quick else pipeline.READ)
    found: dict[str, Any] = {}
    for count in SHAPES:
        found[f"engine_ratio_{count}"] = engine_ratio(world, count, 3 if quick or count > 100 else 5, say)
    found["transition_us"] = transition_us(world, 3, say)
    if not found["engine_ratio_100"]["archive_files"]:
        found["left_out"] = ["the run was too short for older events to go to files"]
    return found


def spread(values: Sequence[float], digits: int = 3) -> dict[str, Any]:
    """Median, least and most."""
    return {
        "median": round(statistics.median(values), digits), "min": round(min(values), digits),
        "max": round(max(values), digits), "rounds": len(values),
    }  # fmt: skip


@dataclass(slots=True)
class World:
    """One stream, cut into reads; what is measured begins with read `warm`."""

    drawn: workload.Drawn
    reads: list[tuple[dict[int, list[bytes]], int, int]]
    warm: int
    oracle: Oracle

    @staticmethod
    def of(events: int, users: int, days: float = DAYS, read: int = pipeline.READ, seed: int = 7) -> "World":
        drawn = workload.draw(events, users, days, seed)
        reads = pipeline.reads(drawn, read)
        return World(drawn, reads, max(1, len(reads) // 3), Oracle(drawn))

    @property
    def measured(self) -> int:
        return sum(count for _, _, count in self.reads[self.warm :])

    @property
    def warm_events(self) -> int:
        return len(self.drawn) - self.measured

    def definitions(self, count: int, rate: float | None = None) -> dict[str, list[workload.Condition]]:
        features, usual = SHAPES[count]
        return calibration.calibrated(self.drawn, count, usual if rate is None else rate, features, self.warm_events)


@dataclass(slots=True)
class Round:
    """Processor seconds of the measured reads; of the decoder, and of the engine. files: of the archive, at the end."""

    decoder: float
    engine: float
    engine_wall: float
    transitions: int
    saved: int
    files: int


def run(world: World, plan: Plan, members: set[tuple[str, str]] | None, shards: int = pipeline.SHARDS) -> Round:
    """Once through the stream. members: the oracle's, to be met at the end."""
    with Pipeline(plan, shards, checkpoint_s=1.0) as engine:
        decoder = 0.0
        then = (0.0, 0.0, 0, 0)
        for number, (messages, newest, _) in enumerate(world.reads):
            if number == world.warm:
                then, decoder = (engine.seconds, engine.wall, engine.transitions, engine.saved), 0.0
            began = time.thread_time()
            for values in messages.values():
                reference_decoder.decode(values)
            decoder += time.thread_time() - began
            engine.read(messages, newest)
        found = Round(
            decoder, engine.seconds - then[0], engine.wall - then[1], engine.transitions - then[2],
            engine.saved - then[3], len(list((engine.folder / "reservoir").rglob("*.parquet"))),
        )  # fmt: skip
        if members is not None:
            engine.finish(world.oracle.at)
            require("the engine", engine.members(), members)
    return found


def require(who: str, found: set[tuple[str, str]], members: set[tuple[str, str]]) -> None:
    if found != members:
        raise SystemExit(f"{who} and DuckDB disagree about {len(found ^ members)} members; no figure is reported.")


def engine_ratio(world: World, count: int, rounds: int, say: Say) -> dict[str, Any]:
    """The figures of one number of definitions."""
    definitions = world.definitions(count)
    began = time.process_time()
    plan = pipeline.plan_of(calibration.files_of(definitions))
    compiling = time.process_time() - began
    members, verbatim = world.oracle.members(definitions)
    inside: dict[str, int] = dict.fromkeys(definitions, 0)
    for _, name in members:
        inside[name] += 1
    users = len(np.unique(world.drawn.user))
    done = []
    for number in range(rounds):
        # Members are compared in the first round: the others do the same.
        done.append(run(world, plan, members if number == 0 else None))
        say(f"{count:,} definitions, round {number + 1} of {rounds}: {done[-1].decoder / done[-1].engine:.3f}")
    n = world.measured
    return {
        "figure": (ratio := spread([each.decoder / each.engine for each in done]))["median"], "spread": ratio,
        "definitions": count, "events": n, "users": users, "shards": pipeline.SHARDS,
        "features": SHAPES[count][0], "cells": len(plan.cells),
        "transitions_per_event": round(done[0].transitions / n, 4),
        "definitions_with_members_and_others": sum(0 < some < users for some in inside.values()),
        "members": len(members), "members_equal_duckdb": True, "asked_verbatim": verbatim,
        "states_saved": done[0].saved, "archive_files": done[0].files,
        "engine_events_per_cpu_s": round(n / statistics.median(each.engine for each in done)),
        "engine_events_per_wall_s": round(n / statistics.median(each.engine_wall for each in done)),
        "decoder_events_per_cpu_s": round(n / statistics.median(each.decoder for each in done)),
        "compile_cpu_s": round(compiling, 1),
    }  # fmt: skip


def transition_us(world: World, rounds: int, say: Say, rates: Sequence[float] = (0.3, 3.0)) -> dict[str, Any]:
    """Processor µs of one more transition: the same events and features under 1,000 definitions, whose thresholds
    are rarely or often crossed; the two engines take each read by turns."""
    drawn, warm = world.drawn, world.warm_events
    plans = [
        pipeline.plan_of(calibration.files_of(calibration.calibrated(drawn, 1_000, rate, 90, warm))) for rate in rates
    ]
    costs = []
    found = [0.0, 0.0]
    for number in range(rounds):
        with Pipeline(plans[0], checkpoint_s=1.0) as few, Pipeline(plans[1], checkpoint_s=1.0) as many:
            engines = (few, many)
            then = [(0.0, 0), (0.0, 0)]
            for place, (messages, newest, _) in enumerate(world.reads):
                if place == world.warm:
                    then = [(each.seconds, each.transitions) for each in engines]
                for engine in engines if place % 2 else reversed(engines):
                    engine.read(messages, newest)
        seconds = [each.seconds - before for each, (before, _) in zip(engines, then)]
        transitions = [each.transitions - before for each, (_, before) in zip(engines, then)]
        costs.append((seconds[1] - seconds[0]) / (transitions[1] - transitions[0]) * 1e6)
        found = [round(some / world.measured, 3) for some in transitions]
        say(f"one more transition, round {number + 1} of {rounds}: {costs[-1]:.2f} µs")
    us = spread(costs)
    return {"figure": us["median"], "spread": us, "transitions_per_event": found, "definitions": 1_000,
            "features": 90}  # fmt: skip


def versus_naive(events: int, rounds: int, say: Say) -> dict[str, Any]:
    """The obvious flow against the engine as a Bytewax flow: the same events and definitions, all of the stream."""
    world = World.of(events, max(events // 60, 1), read=min(pipeline.READ, events // 4))
    definitions = world.definitions(100)
    plan = pipeline.plan_of(calibration.files_of(definitions))
    members, _ = world.oracle.members(definitions)
    messages = world.drawn.messages()
    naive_bytewax.engine(world.reads, plan, world.oracle.at)
    times, flips = [], (0, 0)
    ours: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        mine, my_flips, found = naive_bytewax.engine(world.reads, plan, world.oracle.at)
        require("the engine as a Bytewax flow", found, members)
        other, other_flips, found = naive_bytewax.naive(messages, definitions, world.oracle.at)
        require("the obvious Bytewax flow", found, members)
        times.append(other / mine)
        ours.append(mine)
        theirs.append(other)
        flips = my_flips, other_flips
        say(f"the obvious Bytewax flow, round {number + 1} of {rounds}: {times[-1]:.1f} times")
    world.oracle.close()
    return {
        "times": spread(times, 1), "events": events, "users": world.drawn.users, "definitions": 100,
        "engine_transitions": flips[0], "naive_flips": flips[1], "members_equal_duckdb": True,
        "engine_events_per_cpu_s": round(events / statistics.median(ours)),
        "naive_events_per_cpu_s": round(events / statistics.median(theirs)),
    }  # fmt: skip
