"""From the producer's stamp to visible over gRPC, on one machine with everything; and a wave of expiries.

Broker, database (flushing to disk), engine, server, producer and callers share the cores. First a load of 10,000
events a second: entries by events, and leavings by time. Then the wave: a million users, who entered a segment by
events of one instant, leave it at one instant, while events go on to come. `loadtest.drive` says how latencies are
taken.
"""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer

from loadtest import drive, workload
from loadtest.deployment import TOPIC, Deployment
from loadtest.drive_report import page
from loadtest.ratios import Say
from segmentation.events.times import text_of

OUT = Path(__file__).parent / "out"
RATE, USERS = 10_000, 20_000
WAVE_RATE = 2_000
#: Until a Java process has compiled what it runs often.
WARM_UP_S = 10
#: For so long a probe is a member, s: longer than anything may take to become visible.
PROBE_S, WAVE_PROBE_S = 20, 60
_HIDDEN = ("buckets", "curve", "by_second")


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    steady = live(RATE, 15 if quick else 90, say)
    _report("latency.html", steady)
    waved = wave(50_000 if quick else 1_000_000, 60 if quick else 150, say)
    found: dict[str, Any] = {
        "latency_ms": {"figure": _three(steady["check"]), **_shown(steady)},
        "watch_latency_ms": {"figure": _three(steady["watch"])},
        "flip_latency_ms_p99": {"figure": steady["check_flips"].get("p99"), "of": steady["check_flips"]["samples"]},
        "wave_latency_ms_p99": {"figure": waved["check"].get("p99"), **_shown(waved)},
    }  # fmt: skip
    if quick:
        found["left_out"] = ["the wave had 50,000 users instead of 1,000,000"]
    return found


def _three(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: summary.get(name) for name in ("p50", "p99", "p999")}


def _shown(result: dict[str, Any]) -> dict[str, Any]:
    """Without what only the page needs."""
    return {
        name: {key: value for key, value in each.items() if key not in _HIDDEN} if isinstance(each, dict) else each
        for name, each in result.items() if name not in _HIDDEN
    }  # fmt: skip


def live(rate: float, seconds: float, say: Say, users: int = USERS) -> dict[str, Any]:
    files = drive.definitions(rate, seconds, users, probe_s=PROBE_S)
    with Deployment(files, apache=True) as line:
        say(f"{rate:,.0f} events a second, broker {line.broker}: warming up")
        drive.drive(line.bootstrap, line.grpc, rate, WARM_UP_S, users, seed=3, flips=False)
        before = line.cpu_seconds()
        result = drive.drive(line.bootstrap, line.grpc, rate, seconds, users, probe_s=PROBE_S)
        after = line.cpu_seconds()
    result["broker"] = line.broker
    result["cpu_s_per_s"] = {
        name: round((after[name] - before[name]) / (seconds + PROBE_S), 3) for name in after
    }
    _require(result)
    say(f"visible to checks: {_three(result['check'])} ms; watched: {_three(result['watch'])} ms; "
        f"flips by time: p99 {result['check_flips'].get('p99')} ms")  # fmt: skip
    return result


def wave(users: int, window_s: int, say: Say, rate: float = WAVE_RATE) -> dict[str, Any]:
    """The result of a drive that begins 5 s before `users` leave at once and lasts until all of them have left."""
    files = drive.definitions(rate, 30, USERS, count=20, probe_s=WAVE_PROBE_S)
    files["wave.sql"] = (
        "SELECT user_id FROM events GROUP BY user_id HAVING count(*) FILTER (WHERE event_type = 'wave' "
        f"AND event_time > now() - INTERVAL '{window_s} seconds') >= 1"
    )
    with Deployment(files, apache=True) as line, closing(psycopg.connect(line.url, autocommit=True)) as database:
        at = time.time_ns() // 1_000
        leaves = at / 1e6 + window_s
        _produce_wave(line.bootstrap, users, at)
        while (inside := _members(database)) < users:
            if time.time() > leaves - 8:
                raise SystemExit(f"of {users:,} users only {inside:,} had entered when they were to leave")
            time.sleep(0.5)
        say(f"{users:,} users are in, {leaves - time.time():.0f} s before they leave")
        time.sleep(max(0.0, leaves - 6.5 - time.time()))
        seconds = 25 + users / 25_000
        result = drive.drive(line.bootstrap, line.grpc, rate, seconds, USERS, seed=5, probe_s=WAVE_PROBE_S)
        result["left_in_the_end"] = _members(database)
        result["wave_users"], result["wave_at_second"], result["broker"] = users, 5, line.broker
    _report("wave.html", result)
    _require(result)
    if result["left_in_the_end"]:
        raise SystemExit(f"{result['left_in_the_end']:,} users are still in after {seconds - 5:.0f} s")
    say(f"meanwhile visible to checks: {_three(result['check'])} ms, at most {result['check']['max']} ms")
    return result


def _report(name: str, result: dict[str, Any]) -> None:
    OUT.mkdir(exist_ok=True)
    (OUT / name).write_text(page(result))


def _members(database: "psycopg.Connection[tuple[Any, ...]]") -> int:
    row = database.execute("SELECT members FROM segments WHERE segment = 'wave'").fetchone()
    return 0 if row is None else int(row[0])


def _produce_wave(bootstrap: str, users: int, at: int) -> None:
    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 20, "partitioner": "murmur2_random", "acks": "all",
        "queue.buffering.max.messages": 1_000_000, "compression.type": "lz4",
    })  # fmt: skip
    stamp = text_of(at)
    for number in range(users):
        message = (
            f'{{"event_id":"wave-{number}","user_id":"wave-{number:08}","event_type":"wave","event_time":"{stamp}",'
            f'"region":"{workload.REGIONS[number % len(workload.REGIONS)]}"}}'
        )
        while True:
            try:
                producer.produce(TOPIC, message.encode(), f"wave-{number:08}".encode())
                break
            except BufferError:
                producer.poll(0.1)
    if producer.flush(120):
        raise SystemExit("the broker did not take the wave's events")


def _require(result: dict[str, Any]) -> None:
    if result["missing"] or result["sent"].get("failed", 1) or not result["check"]["samples"]:
        raise SystemExit(f"{result['missing']} probes never became visible; sent: {json.dumps(result['sent'])}")
