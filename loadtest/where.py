"""Where the time of an event goes, stage by stage: `python -m loadtest.where [--events N] [--sink]`.

The measured pipeline runs with a stop-watch around the functions of each stage. What a stage calls of another stage is
taken off it, so the stages add up to the whole, and `rest` is what none of them has. The watches cost something
themselves; the first line is the same run without them. The database's part needs --sink: the transitions go to an
embedded PostgreSQL in the way of the flow's sink, and the time of this process (`sink`) and of PostgreSQL's are told.
"""

import argparse
import importlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from loadtest import calibration, pipeline, workload
from loadtest.ratios import SHAPES, Say, World
from segmentation.compile.plan import Plan
from storage.commits import Commit
from storage.embedded import EmbeddedPostgres
from storage.engine_state import EngineRecord, prepare, take_over
from storage.migrate import migrate
from storage.writer import ShardWriter

#: Stage: the functions in it, as module:name or module:Class.name. One that is named where it is called counts there.
STAGES: dict[str, tuple[str, ...]] = {
    "decode": ("segmentation.events.decode:Decoder.decode",),
    "split by shard": ("loadtest.pipeline:split",),
    "users and columns": (
        "segmentation.evaluate.columns:Columnar.user_numbers", "segmentation.evaluate.columns:Columnar.columns",
    ),
    "repeats and lateness": ("segmentation.evaluate.shard:repeats", "segmentation.evaluate.shard:known_at"),
    "reservoir": tuple(f"segmentation.state.log:Log.{name}" for name in ("append", "_place", "drop_before")),
    "expiries": ("segmentation.evaluate.slices:due_changes",),
    "steps": ("segmentation.evaluate.shard:steps_of",),
    "index": ("segmentation.evaluate.touching:Touching.cell_rows",),
    "rows": ("segmentation.evaluate.deltas:Deltas.of",),
    "sort": ("segmentation.evaluate.kernel:stable_order",),
    "kernel": ("segmentation.evaluate.kernel:Kernel.apply",),
    "gates": ("segmentation.evaluate.gate_levels:GateLevels.apply",),
    "transitions": ("segmentation.evaluate.shard:transitions_of",),
    "saving": ("segmentation.evaluate.shard:Shard.dump", "storage.checkpoints:CheckpointStore.save"),
}  # fmt: skip


class Watches:
    """Processor seconds of the measuring thread by stage, each without what other stages in it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        self._open: list[float] = []  # seconds of stages within the one that is running, innermost last
        self._thread = threading.get_ident()

    def around(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != self._thread:
                return call(*arguments, **named)
            self._open.append(0.0)
            began = time.thread_time()
            try:
                return call(*arguments, **named)
            finally:
                took = time.thread_time() - began
                self.seconds[stage] += took - self._open.pop()
                if self._open:
                    self._open[-1] += took

        return timed


@contextmanager
def watched(watches: Watches) -> Iterator[list[str]]:
    """Puts the watches on; yields the functions that are not there (any more)."""
    missing, undo = [], []
    for stage, places in STAGES.items():
        for place in places:
            module, _, path = place.partition(":")
            owner: Any = importlib.import_module(module)
            *classes, name = path.split(".")
            try:
                for each in classes:
                    owner = getattr(owner, each)
                call = getattr(owner, name)
            except AttributeError:
                missing.append(place)
                continue
            undo.append((owner, name, call))
            setattr(owner, name, watches.around(stage, call))
    try:
        yield missing
    finally:
        for owner, name, call in undo:
            setattr(owner, name, call)


def _through(world: World, plan: Plan, watches: Watches | None) -> tuple[float, int]:
    """(processor seconds of the measured reads, transitions)."""
    with pipeline.Pipeline(plan, checkpoint_s=2.0) as engine:
        before = 0.0, 0
        for number, (messages, newest, _) in enumerate(world.reads):
            if number == world.warm:
                before = engine.seconds, engine.transitions
                if watches is not None:
                    watches.seconds = dict.fromkeys(STAGES, 0.0)
            engine.read(messages, newest)
        return engine.seconds - before[0], engine.transitions - before[1]


def stages(world: World, count: int = 100) -> dict[str, Any]:
    """µs an event by stage; the whole without and with the watches; transitions an event."""
    plan = pipeline.plan_of(calibration.files_of(world.definitions(count)))
    _through(world, plan, None)
    plain, transitions = _through(world, plan, None)
    watches = Watches()
    with watched(watches) as missing:
        whole, _ = _through(world, plan, watches)
    each = {stage: round(seconds / world.measured * 1e6, 3) for stage, seconds in watches.seconds.items()}
    each["rest, and the thread that writes files"] = round(whole / world.measured * 1e6 - sum(each.values()), 3)
    return {
        "us_per_event": each, "whole_us": round(plain / world.measured * 1e6, 3),
        "whole_with_watches_us": round(whole / world.measured * 1e6, 3),
        "transitions_per_event": round(transitions / world.measured, 3), "definitions": count, "not_found": missing,
    }  # fmt: skip


def sink(world: World, count: int = 100) -> dict[str, Any]:
    """Processor µs an event of the transaction, in this process and in PostgreSQL, with 20,000 events a commit."""
    files = calibration.files_of(world.definitions(count))
    plan = pipeline.plan_of(files)
    with pipeline.Pipeline(plan) as engine, EmbeddedPostgres() as database:
        migrate(database.url)
        segments = prepare(
            database.url, EngineRecord.of(plan.segments, plan.digest, "", pipeline.SHARDS, {}), plan.segments,
            {**files, "schema.yml": workload.SCHEMA},
        )  # fmt: skip
        found = take_over(database.url, range(pipeline.SHARDS), pipeline.SHARDS)
        ours_s = theirs_s = 0.0
        with ShardWriter(database.url, {shard: each.token for shard, each in found.items()}, segments) as writer:
            transitions = 0
            for number, (messages, newest, _) in enumerate(world.reads):
                engine.works = []
                engine.read(messages, newest)
                commits: list[Commit] = [work.commit for work in engine.works]
                theirs, ours = _database(), time.thread_time()
                writer.write(commits)
                if number >= world.warm:
                    ours_s += time.thread_time() - ours
                    theirs_s += _database() - theirs
                    transitions += sum(len(commit.transitions.segment) for commit in commits)
    n = world.measured
    return {
        "sink_us": round(ours_s / n * 1e6, 3), "postgresql_us": round(theirs_s / n * 1e6, 3),
        "us_per_transition": round((ours_s + theirs_s) / max(1, transitions) * 1e6, 2),
    }  # fmt: skip


def _database() -> float:
    """Processor seconds of our PostgreSQL so far."""
    servers = (each for each in psutil.Process().children(recursive=True) if each.name().startswith("postgres"))
    return sum(sum(each.cpu_times()[:2]) for each in servers)


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    world = World.of(320_000 if quick else 800_000, 5_000, read=pipeline.READ // 2 if quick else pipeline.READ)
    found = stages(world)
    most = sorted(found["us_per_event"].items(), key=lambda item: -item[1])[:3]
    say(f"{found['whole_us']} µs an event; most of it: " + ", ".join(f"{name} {value}" for name, value in most))
    database = sink(world)
    say(f"sink {database['sink_us']} µs, PostgreSQL {database['postgresql_us']} µs an event")
    return {"where_us": {
        "figure": {**found["us_per_event"], "sink": database["sink_us"], "PostgreSQL": database["postgresql_us"]},
        **found, **database,
    }}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=800_000)
    parser.add_argument("--definitions", type=int, default=100, choices=SHAPES)
    parser.add_argument("--sink", action="store_true")
    given = parser.parse_args()
    world = World.of(given.events, 5_000, read=min(pipeline.READ, given.events // 6))
    print(json.dumps(stages(world, given.definitions), indent=1, ensure_ascii=False))
    if given.sink:
        print(json.dumps(sink(world, given.definitions), indent=1))


if __name__ == "__main__":
    main()
