"""A wave of expiries: very many users leave a segment at one instant, while events go on to come.

They entered it by events of one instant. What counts is the latency of the others' events meanwhile, as
`loadtest.drive` takes it; how many of the wave are still in at the end, and how many others time was to move and had
not after a minute, is told beside it.
"""

import time
from contextlib import closing
from typing import Any

import psycopg
from confluent_kafka import Producer

from loadtest import drive, workload
from loadtest.deployment import TOPIC, Deployment
from loadtest.latency import USERS, report, require, shown, three
from loadtest.ratios import Say
from segmentation.events.times import text_of

RATE = 2_000
#: For so long a probe is a member, s: longer than anything may take to become visible.
PROBE_S = 60


def measure(quick: bool, say: Say) -> dict[str, Any]:
    """For `loadtest.bench`."""
    waved = wave(50_000 if quick else 1_000_000, 60 if quick else 150, say)
    found: dict[str, Any] = {"wave_latency_ms_p99": {"figure": waved["check"].get("p99"), **shown(waved)}}
    if quick:
        found["left_out"] = ["the wave had 50,000 users instead of 1,000,000"]
    return found


def wave(users: int, window_s: int, say: Say, rate: float = RATE) -> dict[str, Any]:
    """The result of a drive that begins 5 s before `users` leave at once and lasts until all of them have left."""
    files = drive.definitions(rate, 30, USERS, count=20, probe_s=PROBE_S)
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
        result = drive.drive(line.bootstrap, line.grpc, rate, seconds, USERS, seed=5, probe_s=PROBE_S)
        result["left_in_the_end"], result["watched_s"] = _members(database), time.time() - leaves
        result["wave_users"], result["wave_at_second"], result["broker"] = users, 5, line.broker
    report("wave.html", result)
    require(result)
    say(f"meanwhile visible to checks: {three(result['check'])} ms, at most {result['check']['max']} ms; "
        f"{result['left_in_the_end']:,} users are still in after {result['watched_s']:.0f} s, and {result['overdue']} "
        "others a minute after time was to move them")  # fmt: skip
    return result


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
