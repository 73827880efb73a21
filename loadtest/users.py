"""Memory and cost as users grow, from ten thousand to ten million: `python -m loadtest.users [--users 1000000]`.

Each number of users runs in a process of its own, with all shards of a deployment in it. At first every user is met
twice, in random order and over 30 days (oftener where there are few users); then, as many a day, come events of users
drawn by Zipf's law, of which the cost per event is taken (processor time, in many slices; the median counts). Events
come as columns, for their decoding costs the same however many users there are; with it the ratios would be nearer to
one. 100 definitions over 30 features in windows of 30, 14 and 7 days.

`us_per_event_with_saving` is the mean of the slices in which no state was saved, and to it what one save of every shard
takes, spread over the time from one to the next under full load (`saves_every_s`, as shipped: the more saves take the
further apart they are). The measured slices last a second or few, so that `us_per_event_as_it_came` has a whole save of
every shard in it, or none.

Memory is what the process holds in pages of its own (USS), less what it held before the first event. To it comes the
saved state on disk, which a shard writes as a whole. At the end, members are compared with DuckDB's, where
there are not more users than `_JUDGED`.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil

from loadtest import calibration, pipeline, workload
from loadtest.oracle import Oracle
from loadtest.ratios import Say, require
from segmentation.events.rows import Rows, TextColumn, ValueColumn

#: What comes before the measured events lasts as long as the longest window.
DAYS, FEATURES = 30.0, 30
READ = 80_000
#: Events of the measured part, and of the world from which thresholds come.
MEASURED, CALIBRATED = 1_600_000, 1_000_000
#: Events of each user before, and where the size of a user's state is taken: then every family of cells is there.
PER_USER, DENSE = 2, 5
#: At least so many come before.
_LEAST = 1_000_000
_JUDGED = 100_000


def stream(users: int, measured: int, per_user: int, seed: int = 11) -> tuple[workload.Drawn, int]:
    """(all events, how many of them come before the measured ones)."""
    rng = np.random.default_rng(seed)
    rounds = max(per_user, -(-_LEAST // users))
    first = users * rounds
    count = first + measured
    # As many events a day then as before, so that as many run out of windows as come.
    gap = DAYS * workload.DAY_US / first
    time_ = workload.START_US + np.sort(rng.integers(0, int(count * gap), count))
    moved = rng.random(count) < 0.05
    time_[moved] -= rng.integers(1, max(2, int(20 * gap)), int(moved.sum()))
    who = rng.permutation(users).astype(np.int64)
    # The same permutation makes the heavy users any of the numbers.
    user = np.concatenate([who] * rounds + [who[workload.zipf(measured, users, rng)]])
    kind, region = rng.integers(0, len(workload.TYPES), count), rng.integers(0, len(workload.REGIONS), count)
    device, cents = rng.integers(0, len(workload.DEVICES), count), rng.integers(100, 10_000, count)
    return workload.Drawn(users, user, time_, kind, region, device, cents), first


def polls(
    drawn: workload.Drawn, engine: pipeline.Pipeline, first: int, until: int, partitions: int = workload.PARTITIONS
) -> Iterator[tuple[int, Rows]]:
    """The events first <= n < until as a read of every partition."""
    partition = drawn.user[first:until] % partitions
    for number in range(partitions):
        rows = np.flatnonzero(partition == number) + first
        if not rows.size:
            continue
        used, user = np.unique(drawn.user[rows], return_inverse=True)
        ids = np.empty(len(rows), object)
        ids[:] = [f"{n:032x}" for n in rows.tolist()]
        page, cents = drawn.cents[rows] % 97, drawn.cents[rows]
        texts = ((drawn.kind, "event_type", workload.TYPES), (drawn.region, "region", workload.REGIONS),
                 (drawn.device, "device_type", workload.DEVICES))  # fmt: skip
        columns: dict[str, TextColumn | ValueColumn] = {
            name: TextColumn(column[rows].astype(np.int32), list(values)) for column, name, values in texts
        }
        columns["url"] = TextColumn(page.astype(np.int32), [f"/p/{n}" for n in range(97)])
        columns["amount"] = ValueColumn(cents)
        time_ = drawn.time[rows]
        yield number, Rows(
            engine.next_offsets(number, len(rows)), user.astype(np.int32), [f"user-{n:08}" for n in used.tolist()],
            time_, np.maximum.accumulate(time_), ids, columns,
        )  # fmt: skip


def definitions(users: int, measured: int, per_user: int) -> dict[str, list[workload.Condition]]:
    """Calibrated on a smaller world of the same kind where this one is large."""
    some = min(users, CALIBRATED)
    drawn, warm = stream(some, measured, per_user)
    return calibration.calibrated(drawn, 100, 0.3, FEATURES, warm)


def run(users: int, measured: int, per_user: int) -> dict[str, Any]:
    chosen = definitions(users, measured, per_user)
    plan = pipeline.plan_of(calibration.files_of(chosen))
    drawn, first = stream(users, measured, per_user)
    process = psutil.Process()
    with pipeline.Pipeline(plan) as engine:
        before = process.memory_full_info().uss
        for start in range(0, first, READ):
            end = min(start + READ, first)
            engine.read_columns(dict(polls(drawn, engine, start, end)), int(drawn.time[start:end].max()))
        met, costs = engine.seconds, []
        transitions = engine.transitions
        for start in range(first, len(drawn), READ):
            end = min(start + READ, len(drawn))
            rows, then = dict(polls(drawn, engine, start, end)), (engine.seconds, engine.saved)
            engine.read_columns(rows, int(drawn.time[start:end].max()))
            costs.append(((engine.seconds - then[0]) / (end - start) * 1e6, engine.saved - then[1]))
        uss, seconds = process.memory_full_info().uss, engine.seconds - met
        # What all shards save, at once.
        began = time.process_time()
        saved_bytes = engine.save()
        dump = time.process_time() - began
        share = dump / engine.saves_every_s()
        between = statistics.fmean([cost for cost, saved in costs if not saved] or [cost for cost, _ in costs])
        result = {
            "users": users, "events": len(drawn), "events_per_user_before": first // users, "measured_events": measured,
            "transitions_per_event": round((engine.transitions - transitions) / measured, 3),
            "us_per_event": round(statistics.median(cost for cost, _ in costs), 3),
            "us_per_event_least": round(min(cost for cost, _ in costs), 3),
            "us_per_event_most": round(max(cost for cost, _ in costs), 3),
            "us_per_event_with_saving": round(between / (1 - share), 3), "saving_percent": round(100 * share, 1),
            "saves_every_s": engine.saves_every_s(), "states_saved": engine.saved,
            "us_per_event_as_it_came": round(seconds / measured * 1e6, 3),
            "us_per_event_before": round(met / first * 1e6, 3),
            "memory_bytes_per_user": round((uss - before) / users), "saved_bytes_per_user": round(saved_bytes / users),
            "memory_gib": round(uss / 2**30, 2), "rss_gib": round(process.memory_info().rss / 2**30, 2),
            "saving_cpu_s_all_shards": round(dump, 2),
        }  # fmt: skip
        if users <= _JUDGED:
            oracle = Oracle(drawn)
            engine.finish(oracle.at)
            require("the engine", engine.members(), oracle.members(chosen)[0])
            result["members_equal_duckdb"] = True
    return result


def child(users: int, measured: int, per_user: int = PER_USER) -> dict[str, Any]:
    command = [sys.executable, "-m", "loadtest.users", "--one", "--users", str(users), "--measured", str(measured),
               "--per-user", str(per_user)]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    sizes = (10_000, 100_000, 1_000_000) if quick else (10_000, 100_000, 1_000_000, 10_000_000)
    by: dict[int, dict[str, Any]] = {}
    for users in sizes:
        by[users] = child(users, MEASURED // 4 if quick else MEASURED)
        say(f"{users:,} users: {by[users]['us_per_event']} µs an event, {by[users]['memory_bytes_per_user']} + "
            f"{by[users]['saved_bytes_per_user']} bytes a user, {by[users]['memory_gib']} GiB")  # fmt: skip
    million = by[1_000_000]
    dense = child(1_000_000, MEASURED // 4, 2 if quick else DENSE)
    say(f"the same with {dense['events_per_user_before']} events a user: {dense['memory_bytes_per_user']} + "
        f"{dense['saved_bytes_per_user']} bytes a user")  # fmt: skip
    costs = [each["us_per_event"] for each in by.values()]
    found: dict[str, Any] = {
        "bytes_per_user": {"figure": dense["memory_bytes_per_user"] + dense["saved_bytes_per_user"], **dense},
        "users_cost_factor": {"figure": round(max(costs) / min(costs), 2), "by_users": list(by.values())},
    }  # fmt: skip
    if 10_000_000 in by:
        ten = by[10_000_000]
        found["users_10m_ratio"] = {"figure": round(million["us_per_event"] / ten["us_per_event"], 3)}
        found["users_10m_gib"] = {"figure": ten["memory_gib"]}
    else:
        found["left_out"] = ["10,000,000 users: users_10m_ratio and users_10m_gib"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--measured", type=int, default=MEASURED)
    parser.add_argument("--per-user", type=int, default=PER_USER, help="events of each user before the measured ones")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    print(json.dumps(run(given.users, given.measured, given.per_user), indent=None if given.one else 1))


if __name__ == "__main__":
    main()
