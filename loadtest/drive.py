"""Drives a running deployment: events at a fixed rate, checks over gRPC beside it, a report with histograms.

    python -m loadtest.drive --write-definitions segment_defs/    (what the deployment must have, once)
    python -m loadtest.drive --bootstrap localhost:9092 --grpc localhost:50051 --rate 10000 --seconds 60

Open loop: each event has its instant and is not held back by anything, and latencies count from that instant, so that a
system that stalls is seen to stall. Producer and checks run on this machine, by one clock. Results go to --out (JSON)
and --report (a page that needs nothing else). Code 1 where something never became visible or was not taken by Kafka.
"""

import argparse
import asyncio
import json
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from loadtest import calibration, drive_checks, histogram, workload
from loadtest.drive_report import page
from storage.interpreter import undisturbed

OUT = Path(__file__).parent / "out"


def definitions(
    rate: float, seconds: float, users: int, count: int = 100, seed: int = 7, probe_s: int = drive_checks.PROBE_S
) -> dict[str, str]:
    """Files whose transitions are some 0.3 an event of such a run, and the probes' segment."""
    drawn = workload.draw(round(rate * seconds), users, 1.0, seed=seed, disorder=0.0)
    # In a run no window of days runs out; that is what the probes' window is for.
    files = calibration.files_of(calibration.calibrated(drawn, count, 0.3, 90, 0)) if count else {}
    return {**files, f"{drive_checks.SEGMENT}.sql": drive_checks.definition(probe_s)}


def drive(
    bootstrap: str, address: str, rate: float, seconds: float, users: int, probes: float = 25.0, topic: str = "events",
    kafka_options: dict[str, str] | None = None, token: str | None = None, tls: Path | None = None, watch: bool = True,
    seed: int = 7, probe_s: int = drive_checks.PROBE_S, flips: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """What was measured, by name. probes: a second, of the `rate` events."""
    run = secrets.token_hex(4)
    # Not quite as often, so that probes do not keep step with what the engine does every so many milliseconds.
    every = max(1, round(0.993 * rate / probes))
    given = {
        "bootstrap": bootstrap, "topic": topic, "rate": rate, "seconds": seconds, "users": users, "probe_every": every,
        "run": run, "seed": seed, "kafka_options": kafka_options or {},
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "loadtest.drive_producer"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as producer:
        assert producer.stdin is not None and producer.stdout is not None
        try:
            producer.stdin.write(json.dumps(given) + "\n")
            producer.stdin.flush()
            if producer.stdout.readline().strip() != "ready":
                raise SystemExit("the producer did not start; what it says stands above")
            start_us = time.time_ns() // 1_000 + 1_500_000
            producer.stdin.write(json.dumps({"start_us": start_us}) + "\n")
            producer.stdin.flush()
            gap = every * 1e6 / rate
            count = -(-round(rate * seconds) // every)
            with undisturbed():
                seen = asyncio.run(_observe(address, run, start_us, gap, count, token, tls, watch, probe_s, flips))
            sent = json.loads(producer.stdout.read() or "{}")
        finally:
            producer.kill()
    streams = {
        "check": seen.entries, "check_flips": seen.flips, "watch": seen.watched, "watch_flips": seen.watched_flips,
    }  # fmt: skip
    return {
        "rate": rate, "seconds": seconds, "users": users, "probes": count, "checks": seen.calls, "sent": sent,
        "missing": len(seen.missing), "overdue": len(seen.overdue), "errors": seen.errors,
        **{name: histogram.summary([took for _, took in samples]) for name, samples in streams.items()},
        "by_second": {name: histogram.by_second(samples, start_us) for name, samples in streams.items()},
    }  # fmt: skip


async def _observe(
    address: str, run: str, start_us: int, gap: float, count: int, token: str | None, tls: Path | None, watch: bool,
    probe_s: int, flips: bool,
) -> drive_checks.Seen:
    metadata = (("authorization", f"Bearer {token}"),) if token else None
    if tls is None:
        channel = grpc.aio.insecure_channel(address)
    else:
        channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(tls.read_bytes()))
    async with channel:
        return await drive_checks.observe(channel, run, start_us, gap, count, metadata, watch, probe_s, flips)


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", default="localhost:9092")
    parser.add_argument("--grpc", default="localhost:50051", metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, default=10_000, help="events a second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--probes", type=float, default=25, help="a second, of these events")
    parser.add_argument("--topic", default="events")
    parser.add_argument("--kafka-option", action="append", default=[], metavar="NAME=VALUE",
                        help="librdkafka's (TLS, SASL)")  # fmt: skip
    parser.add_argument("--token-file", type=Path, help="a file with a token that may read")
    parser.add_argument("--tls", type=Path, metavar="FILE", help="certificates of who signed the server's")
    parser.add_argument("--without-watch", action="store_true")
    parser.add_argument("--write-definitions", type=Path, metavar="FOLDER", help="only writes these, and schema.yml")
    parser.add_argument("--out", type=Path, default=OUT / "drive.json")
    parser.add_argument("--report", type=Path, default=OUT / "drive.html")
    given = parser.parse_args(words)
    if given.write_definitions:
        given.write_definitions.mkdir(parents=True, exist_ok=True)
        (given.write_definitions / "schema.yml").write_text(workload.SCHEMA)
        for name, text in definitions(given.rate, given.seconds, given.users).items():
            (given.write_definitions / name).write_text(text + "\n")
        return 0
    result = drive(
        given.bootstrap, given.grpc, given.rate, given.seconds, given.users, given.probes, given.topic,
        dict(option.split("=", 1) for option in given.kafka_option),
        given.token_file.read_text().strip() if given.token_file else None, given.tls, not given.without_watch,
    )  # fmt: skip
    for path, text in ((given.out, json.dumps(result, indent=1) + "\n"), (given.report, page(result))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    hidden = ("buckets", "curve")
    print(json.dumps({
        name: {k: v for k, v in value.items() if k not in hidden} if isinstance(value, dict) else value
        for name, value in result.items() if name != "by_second"
    }, indent=1))  # fmt: skip
    return 1 if result["missing"] or result["overdue"] or result["sent"].get("failed", 1) else 0


if __name__ == "__main__":
    sys.exit(main())
