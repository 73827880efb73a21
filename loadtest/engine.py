"""Engine against decoder, and engine against the obvious keyed Bytewax flow: ratios of one run.

    python -m loadtest.engine [--events N] [--definitions N] [--users N] [--rounds N] [--without-naive] [--in-memory]

The engine is what a worker does on one core for one shard: JSON bytes to columns to transitions,
with windows, older events on disk, repeats found, and 5% of the events out of order. The decoder alone makes the same
columns from the same bytes. Both take turns, `rounds` times; medians and spreads are printed and
written to loadtest/out/engine.json. The share of time after decoding is the engine's own work.
"""

import argparse
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from loadtest import workload
from segmentation.compile import compile_files
from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.events.schema import load_schema
from storage.reservoir import Reservoir, columns_of

POLL = 20_000
OUT = Path(__file__).parent / "out" / "engine.json"


def decode(decoder: Decoder, messages: list[bytes], first: int) -> Any:
    offsets = np.arange(first, first + len(messages), dtype=np.int64)
    return decoder.decode(messages, offsets, np.full(len(messages), 2**60, np.int64))


def decoding(stream: workload.Stream, decoder: Decoder) -> float:
    """Seconds to turn all bytes into columns."""
    started = time.perf_counter()
    for first in range(0, len(stream.messages), POLL):
        decode(decoder, stream.messages[first : first + POLL], first)
    return time.perf_counter() - started


def engine(
    stream: workload.Stream, decoder: Decoder, plan: Plan, warm: int, archive: Reservoir | None
) -> tuple[float, float, dict[str, set[str]]]:
    """(seconds for the events after the first `warm`, transitions an event there, final members)."""
    shard = Shard(plan, 1, 250_000, 7 * workload.DAY_US, True, archive)
    transitions, started, measured = 0, 0.0, 0
    for first in range(0, len(stream.messages), POLL):
        if first >= warm and not measured:
            started, transitions = time.perf_counter(), 0
        rows = decode(decoder, stream.messages[first : first + POLL], first).rows
        high = int(rows.high[-1]) if len(rows) else workload.START_US
        step = shard.run([Poll(0, first + len(rows), high, high, None, rows)])
        transitions += len(step.transitions.segment)
        measured += len(rows) if first >= warm else 0
    seconds = time.perf_counter() - started
    members: dict[str, set[str]] = {name: set() for name in plan.names}
    for user, segments in shard.members():
        for segment in segments:
            members[plan.names[segment]].add(user)
    return seconds, transitions / measured, members


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=600_000)
    parser.add_argument("--definitions", type=int, default=100)
    parser.add_argument("--users", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--naive-events", type=int, default=60_000)
    parser.add_argument("--without-naive", action="store_true")
    parser.add_argument("--in-memory", action="store_true", help="without files for the older events")
    args = parser.parse_args()

    days = 60.0
    per_user = args.events / args.users / (days / 30)
    schema = load_schema(workload.SCHEMA)
    plan = compile_files(workload.files(args.definitions, per_user=per_user), schema)
    stream = workload.stream(args.events, args.users, days)
    decoder = Decoder(schema, None)
    warm = (args.events // 3) // POLL * POLL
    rest = workload.Stream(stream.messages[warm:], stream.times[warm:])
    decoding(rest, decoder)
    decodes, engines, rate = [], [], 0.0
    members: dict[str, set[str]] = {}
    for _ in range(args.rounds):
        decodes.append(decoding(rest, decoder))
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as pool:
            archive = None if args.in_memory else Reservoir(Path(folder), 0, 1, columns_of(schema), pool)
            seconds, rate, members = engine(stream, decoder, plan, warm, archive)
        engines.append(seconds)
    ratios = [d / e for d, e in zip(decodes, engines)]
    n = len(rest.messages)
    users = {user for inside in members.values() for user in inside}
    split = sum(0 < len(inside) < len(users) for inside in members.values())
    result: dict[str, Any] = {
        "events": args.events, "measured_events": n, "definitions": args.definitions, "users": args.users,
        "transitions_per_event": round(rate, 3),
        "definitions_with_members_and_others": split,
        "decode_events_per_s": round(n / statistics.median(decodes)),
        "engine_events_per_s": round(n / statistics.median(engines)),
        "engine_ratio": {
            "median": round(statistics.median(ratios), 3), "min": round(min(ratios), 3), "max": round(max(ratios), 3),
        },
    }
    if not args.without_naive:
        from loadtest import naive_bytewax

        result["vs_naive_bytewax"] = naive_bytewax.compare(args.definitions, args.naive_events, args.rounds)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
