"""Cost per event and memory as windows grow: the same stream under windows of 1 to 90 days.

    python -m loadtest.windows [--events N] [--days N] [--users N] [--windows 7,90]

Each length of window runs in a process of its own: the measured pipeline (`loadtest/pipeline.py`), with 100 definitions
over 30 features whose windows all have that length, and thresholds that give 0.3 transitions an event. What comes after
the first 90 days is measured; by then as much leaves a window of any length as comes. An event costs its share of all
processor time, of the thread that writes files too, from its bytes to transitions; what of it is decoding, which costs
the same whatever the windows are, is told apart. Memory is what the process holds in pages of its own at the end, less
what it held before the first event. Members are compared with DuckDB's. Written to loadtest/out/windows.json.

All events are one shard's, which a process of a large deployment has. Then more come in the dedupe horizon of 7 days
than a shard keeps in memory (131,072 and those that come meanwhile), as in any deployment with more than one event in
five seconds and shard: all of them are written to files, however short the windows are, and longer windows read them
back. --shards 4 spreads them over four: then those of windows up to 7 days stay in memory, and longer ones cost the
files besides.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from loadtest import calibration, pipeline, workload
from loadtest.oracle import Oracle
from loadtest.ratios import Say, require

WINDOWS = (1, 7, 30, 90)
#: Days of the stream; those after the longest window are measured.
DAYS, FEATURES, USERS, EVENTS = 120, 90, 8_000, 2_880_000
OUT = Path(__file__).parent / "out" / "windows.json"


def run(window: int, days: int, events: int, users: int, shards: int, read: int = pipeline.READ) -> dict[str, Any]:
    """window: days of all windows; read: messages of a read."""
    drawn = workload.draw(events, users, days)
    measured_from = events * max(WINDOWS) // days // read * read
    chosen = calibration.calibrated(drawn, 100, 0.3, FEATURES, measured_from, windows=(window,))
    plan = pipeline.plan_of(calibration.files_of(chosen))
    process = psutil.Process()
    with pipeline.Pipeline(plan, shards) as engine:
        before, then = process.memory_full_info().uss, (0.0, 0.0, 0)
        for first in range(0, events, read):
            if first == measured_from:
                then = engine.seconds, engine.decoding, engine.transitions
            ((messages, newest, _),) = pipeline.reads(drawn, read, first, min(first + read, events))
            engine.read(messages, newest)
        files = engine.files()
        n = events - measured_from
        result = {
            "window_days": window, "days": days, "events": events, "users": users, "shards": shards,
            "measured_events": n,
            "us_per_event": round((engine.seconds - then[0]) / n * 1e6, 3),
            "us_per_event_decoding": round((engine.decoding - then[1]) / n * 1e6, 3),
            "transitions_per_event": round((engine.transitions - then[2]) / n, 3),
            "memory_mb": round((process.memory_full_info().uss - before) / 2**20, 1),
            "files": len(files), "disk_mb": round(sum(path.stat().st_size for path in files) / 2**20, 1),
        }  # fmt: skip
        oracle = Oracle(drawn)
        engine.finish(oracle.at)
        require("the engine", engine.members(), oracle.members(chosen)[0])
    return result | {"members_equal_duckdb": True}


def child(window: int, days: int, events: int, users: int, shards: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtest.windows", "--one", str(window), "--days", str(days),
               "--events", str(events), "--users", str(users), "--shards", str(shards)]  # fmt: skip
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    by = []
    for window in WINDOWS:
        by.append(child(window, DAYS, EVENTS // 4 if quick else EVENTS, USERS // 4 if quick else USERS, 1))
        say(f"windows of {window} days: {by[-1]['us_per_event']} µs an event, {by[-1]['memory_mb']} MB")
    found: dict[str, Any] = {
        "windows_cost_factor": {"figure": _factor([each["us_per_event"] for each in by]), "by_window": by},
        # The same of all that comes after decoding.
        "windows_evaluating_factor": {
            "figure": _factor([each["us_per_event"] - each["us_per_event_decoding"] for each in by])
        },
        "windows_memory_factor": {"figure": _factor([each["memory_mb"] for each in by])},
    }
    if not by[0]["files"]:
        found["left_out"] = ["too few events for those of the shortest window to go to files"]
    return found


def _factor(values: list[float]) -> float:
    return round(max(values) / min(values), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--users", type=int, default=USERS)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--windows", default=",".join(map(str, WINDOWS)))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(run(given.one, given.days, given.events, given.users, given.shards)))
        return
    results: list[dict[str, Any]] = []
    for window in map(int, given.windows.split(",")):
        results.append(child(window, given.days, given.events, given.users, given.shards))
        print(json.dumps(results[-1]), flush=True)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
