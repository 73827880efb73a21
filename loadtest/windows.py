"""Memory and cost per event as windows grow: the same stream under windows of 1 to 90 days.

    python -m loadtest.windows [--events-per-day N] [--days N] [--users N] [--windows 7,90]

One process per window length reads the same stream of `days` days into one shard with the older events
on disk, as the engine does, and reports its memory at the end (anonymous pages, so without what the
system keeps of files), CPU time per event over the last third, and what lies on disk. Ratios are to
the first window. Written to loadtest/out/windows.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from loadtest import workload
from loadtest.ratios import Say
from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Poll, Rows, TextColumn, ValueColumn
from segmentation.events.schema import load_schema
from storage.reservoir import Reservoir, columns_of

POLL = 10_000
DAY_US = workload.DAY_US
OUT = Path(__file__).parent / "out" / "windows.json"


def definitions(days: int, per_user: float) -> dict[str, str]:
    """One definition per event type, all with the same window; reached by about half of the users, who
    have `per_user` events in it."""
    reached = max(1, round(per_user / len(workload.TYPES)))
    return {
        f"{kind}.sql": f"SELECT user_id FROM events GROUP BY user_id HAVING count(*) FILTER (WHERE event_type = "
        f"'{kind}' AND event_time > now() - INTERVAL '{days} days') >= {reached}"
        for kind in workload.TYPES
    }


def poll(number: int, rng: np.random.Generator, step_us: float, users: int) -> Poll:
    """POLL events, evenly in time, 5% of them up to a minute late."""
    first = number * POLL
    time_ = workload.START_US + (np.arange(first, first + POLL) * step_us).astype(np.int64)
    late = rng.random(POLL) < 0.05
    time_[late] -= rng.integers(0, 60_000_000, int(late.sum()))
    who = rng.integers(0, users, POLL).astype(np.int32)
    used, user = np.unique(who, return_inverse=True)
    ids = np.empty(POLL, object)
    ids[:] = [f"{n:012x}-event" for n in range(first, first + POLL)]
    texts = {
        name: TextColumn(rng.integers(0, len(values), POLL).astype(np.int32), list(values))
        for name, values in (
            ("event_type", workload.TYPES), ("region", workload.REGIONS), ("device_type", workload.DEVICES),
            ("url", [f"/page/{n}" for n in range(500)]),
        )
    }  # fmt: skip
    columns: dict[str, TextColumn | ValueColumn] = {**texts, "amount": ValueColumn(rng.integers(0, 10_000, POLL))}
    rows = Rows(
        np.arange(first, first + POLL), user.astype(np.int32), [f"user-{n}" for n in used.tolist()], time_,
        np.maximum.accumulate(time_), ids, columns,
    )  # fmt: skip
    return Poll(0, first + POLL, int(rows.high[-1]), int(rows.high[-1]), None, rows)


def run(window: int, days: int, per_day: int, users: int) -> dict[str, Any]:
    schema = load_schema(workload.SCHEMA)
    plan = compile_files(definitions(window, window * per_day / users), schema)
    rng = np.random.default_rng(7)
    polls = days * per_day // POLL
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
        archive = Reservoir(Path(folder), 0, 1, columns_of(schema), pool)
        shard = Shard(plan, 1, 250_000, DAY_US, True, archive)
        cpu, flips = 0.0, 0
        for number in range(polls):
            read = poll(number, rng, DAY_US / per_day, users)
            started = time.process_time()
            flips += len(shard.run([read]).transitions.segment)
            if number >= polls * 2 // 3:
                cpu += time.process_time() - started
        _, needed = shard.files()
        pool.shutdown()
        disk = sum(path.stat().st_size for name in needed for path in archive.folder.glob(f"{name}.*"))
        memory = psutil.Process().memory_full_info()
    return {
        "window_days": window, "events": polls * POLL, "events_in_window": min(days, window) * per_day,
        "transitions_per_event": round(flips / (polls * POLL), 3),
        "memory_mb": round(memory.uss / 2**20, 1),
        "cpu_us_per_event": round(cpu / (polls - polls * 2 // 3) / POLL * 1e6, 3),
        "files": len(needed), "disk_mb": round(disk / 2**20, 1),
    }  # fmt: skip


def child(window: int, days: int, per_day: int, users: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtest.windows", "--one", str(window), "--days", str(days),
               "--events-per-day", str(per_day), "--users", str(users)]  # fmt: skip
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    per_day = 4_000 if quick else 20_000
    by = []
    for window in (1, 7, 30, 90):
        by.append(child(window, 100, per_day, per_day * 2 // 5))
        say(f"windows of {window} days: {by[-1]['cpu_us_per_event']} µs an event, {by[-1]['memory_mb']} MB")
    costs = [each["cpu_us_per_event"] for each in by]
    memory = [each["memory_mb"] for each in by]
    return {
        "windows_cost_factor": {"figure": round(max(costs) / min(costs), 2), "by_window": by},
        "windows_memory_factor": {"figure": round(max(memory) / min(memory), 2)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events-per-day", type=int, default=50_000)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--windows", default="1,7,30,90")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(run(args.one, args.days, args.events_per_day, args.users)))
        return
    results: list[dict[str, Any]] = []
    for window in map(int, args.windows.split(",")):
        result = child(window, args.days, args.events_per_day, args.users)
        first = results[0] if results else result
        for name in ("memory_mb", "cpu_us_per_event"):
            result[f"{name}_ratio"] = round(result[name] / first[name], 2)
        results.append(result)
        print(json.dumps(result), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
