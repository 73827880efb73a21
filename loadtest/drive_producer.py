"""Events at a fixed rate, whatever becomes of them: `python -m loadtest.drive_producer` with one JSON line on stdin.

Event n is due at start + n / rate, and its time says so, even if this process comes late: its delay is part of what
the event's latency will be (no coordinated omission). Every `probe_every`th is a probe: of a user of its own, whose one
event makes it a member of the probe segment. Every 20th user's events are out of order: their times lie up to 200 ms
before.

Prints one JSON object: events sent, how late they were handed to Kafka's client, and failed deliveries.
"""

import json
import sys
import time
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, Message, Producer

from loadtest import workload

#: Users whose number leaves DISORDERED - 1 when divided by it are out of order, by up to this many µs.
DISORDERED, DISORDER_US = 20, 200_000


def probe_user(run: str, number: int) -> str:
    return f"probe-{run}-{number}"


def templates(given: dict[str, Any]) -> list[tuple[bytes, bytes, bytes, int]]:
    """(key, before the time, after it, µs that the event's time lies before its stamp) of each event."""
    count = round(given["rate"] * given["seconds"])
    drawn = workload.draw(count, given["users"], 1.0, seed=given["seed"], disorder=0.0)
    back = np.random.default_rng(given["seed"]).integers(1, DISORDER_US, count).tolist()
    found = []
    every, run = given["probe_every"], given["run"]
    for number, text in enumerate(drawn.messages()):
        place = text.index(b'"event_time":"') + 14
        # The run at the head of the id keeps the ids of two runs apart.
        before = text[:place].replace(b'"event_id":"' + b"0" * len(run), f'"event_id":"{run}'.encode(), 1)
        after = text[place + 27 :]
        rank = int(drawn.user[number])
        key = f"user-{rank:08}".encode()
        if every and number % every == 0:
            user = probe_user(run, number // every)
            before = before.replace(key, user.encode())
            kind = before.index(b'"event_type":"') + 14
            before = before[:kind] + b"probe" + before[before.index(b'"', kind) :]
            key = user.encode()
            found.append((key, before, after, 0))
        else:
            found.append((key, before, after, back[number] if rank % DISORDERED == DISORDERED - 1 else 0))
    return found


def main() -> None:
    given = json.loads(sys.stdin.readline())
    events = templates(given)
    failed: list[str] = []

    def reported(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.str())

    producer = Producer({
        "bootstrap.servers": given["bootstrap"], "linger.ms": 5, "partitioner": "murmur2_random", "acks": "all",
        "queue.buffering.max.messages": 1_000_000, "delivery.report.only.error": True, "on_delivery": reported,
        "log.connection.close": False, **given["kafka_options"],
    })  # fmt: skip
    producer.list_topics(given["topic"], 30)
    print("ready", flush=True)
    start_us = json.loads(sys.stdin.readline())["start_us"]
    gap, topic = 1e6 / given["rate"], given["topic"]
    late = np.zeros(len(events), np.int64)
    sent = 0
    texts = (0, b"")  # of the last second
    while sent < len(events):
        now = time.time_ns() // 1_000
        due = min(len(events), int((now - start_us) / gap) + 1) if now >= start_us else 0
        for number in range(sent, due):
            key, before, after, back = events[number]
            stamp = start_us + int(number * gap)
            seconds, micros = divmod(stamp - back, 1_000_000)
            if seconds != texts[0]:
                texts = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()
            producer.produce(topic, b"%s%s.%06dZ%s" % (before, texts[1], micros, after), key)
            late[number] = time.time_ns() // 1_000 - stamp
        sent = max(sent, due)
        producer.poll(0)
        pause = (start_us + int(sent * gap) - time.time_ns() // 1_000) / 1e6
        if pause > 0:
            time.sleep(max(pause, 0.001))
    left = producer.flush(60)
    p50, p99 = np.percentile(late, (50, 99)) / 1e3
    print(json.dumps({
        "events": len(events), "late_ms": {"p50": round(p50, 3), "p99": round(p99, 3),
                                           "max": round(float(late.max()) / 1e3, 3)},
        "failed": len(failed) + left, "why": failed[:1],
    }))  # fmt: skip


if __name__ == "__main__":
    main()
