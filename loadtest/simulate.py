"""One worker of a large deployment, as far as it fits on this machine: `python -m loadtest.simulate`.

    python -m loadtest.simulate --users 100000000 --rate 1000000 --workers 40 --partitions 160

The deployment is divided by its workers, and one share runs here for `--seconds` of its stream: two shards, their part
of the users, each of whom has been met twice within 30 days, and reads of all partitions every `--every-ms`, of which
each holds only a few events for these shards. That is what grows with the size of a deployment and what a small test
does not show: a shard hears of every read of every partition. Printed are the processor seconds that a second of the
stream takes (above 1 a worker falls behind), memory, the saved state, and what the share writes. The state is large
from the first second: loading it is not measured. Network, Kafka and PostgreSQL are not in it; docs/scale.md adds
them up.
"""

import argparse
import json
import time
from typing import Any

import numpy as np
import psutil

from loadtest import calibration, pipeline, users, workload
from segmentation.events.decode import Decoder
from segmentation.events.schema import load_schema

SHARDS = 2
_SAMPLE = 100_000


def decoding_us(drawn: workload.Drawn) -> float:
    """Processor µs an event of the product's decoder, which a worker has for its share of the partitions."""
    decoder = Decoder(load_schema(workload.SCHEMA), None)
    messages = drawn.messages(0, _SAMPLE)
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        decoder.decode(messages, np.arange(len(messages)), np.full(len(messages), -1))
        best = min(best, (time.process_time() - began) / len(messages) * 1e6)
    return best


def simulate(
    total_users: int, rate: float, workers: int, partitions: int, seconds: float, every_ms: float
) -> dict[str, Any]:
    mine, events_s = total_users // workers, rate / workers
    measured = round(events_s * seconds)
    drawn, first = users.stream(mine, measured, users.PER_USER)
    chosen = users.definitions(mine, min(400_000, max(20_000, measured)), users.PER_USER)
    plan = pipeline.plan_of(calibration.files_of(chosen))
    read = max(1, round(events_s * every_ms / 1e3))
    process = psutil.Process()
    with pipeline.Pipeline(plan, SHARDS, partitions=partitions) as engine:
        for start in range(0, first, users.READ):
            end = min(start + users.READ, first)
            polls = dict(users.polls(drawn, engine, start, end, partitions))
            engine.read_columns(polls, int(drawn.time[start:end].max()))
        before = engine.seconds, engine.transitions
        for start in range(first, len(drawn), read):
            end = min(start + read, len(drawn))
            polls = dict(users.polls(drawn, engine, start, end, partitions))
            engine.read_columns(polls, int(drawn.time[start:end].max()))
        evaluating = (engine.seconds - before[0]) / seconds
        memory = process.memory_full_info().uss
        began = time.process_time()
        saved = engine.save()
        saving, every = time.process_time() - began, engine.saves_every_s()
        files = sum(path.stat().st_size for path in (engine.folder / "reservoir").rglob("*") if path.is_file())
        transitions = (engine.transitions - before[1]) / seconds
    decoding = decoding_us(drawn) * events_s / 1e6
    return {
        "deployment": {"users": total_users, "events_per_s": rate, "workers": workers, "shards": SHARDS * workers,
                       "partitions": partitions},
        "this_worker": {"users": mine, "events_per_s": round(events_s), "events_per_read": read},
        "evaluating_cpu_s_per_s": round(evaluating, 3), "decoding_cpu_s_per_s": round(decoding, 3),
        "saving_cpu_s_per_s": round(saving / every, 3), "saves_every_s": every,
        "memory_gib": round(memory / 2**30, 2), "saved_gib": round(saved / 2**30, 3),
        "saved_mb_per_s": round(saved / 2**20 / every, 1),
        "archive_bytes_per_event": round(files / max(1, len(drawn)), 1),
        "transitions_per_s": round(transitions), "keeps_up": evaluating + decoding < 1,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000_000)
    parser.add_argument("--rate", type=float, default=1_000_000, help="events a second of the deployment")
    parser.add_argument("--workers", type=int, default=40)
    parser.add_argument("--partitions", type=int, default=160)
    parser.add_argument("--seconds", type=float, default=30, help="of the stream")
    parser.add_argument("--every-ms", type=float, default=100, help="between two reads of a partition")
    given = parser.parse_args()
    found = simulate(given.users, given.rate, given.workers, given.partitions, given.seconds, given.every_ms)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
