"""How long a killed engine takes until its first new step, with many users and definitions.

    python -m loadtest.recovery [--users N] [--definitions N] [--events-per-user N] [--rounds N]

Everything real: embedded PostgreSQL and broker, `tidegate run` as its own process. It is killed with
-9 in mid-stream at full speed, between two saved states, and started again; the time counts from the
start of the process to the commit of the first step that was not there before. Printed with what had
to be loaded and run again, and written to loadtest/out/recovery.json.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from confluent_kafka import Producer

from flows.embedded_broker import EmbeddedBroker
from loadtest import workload
from storage.embedded import EmbeddedPostgres

OUT = Path(__file__).parent / "out" / "recovery.json"
TOPIC, PARTITIONS = "events", 4


class Line:
    """The whole line in one folder; `start` and `kill` are the engine's."""

    def __init__(self, folder: Path, postgres: str, bootstrap: str, definitions: int, per_user: float) -> None:
        defs = folder / "defs"
        defs.mkdir()
        (defs / "schema.yml").write_text(workload.SCHEMA)
        for name, text in workload.files(definitions, per_user=per_user).items():
            (defs / name).write_text(text)
        self.folder = folder
        self.environment = os.environ | {
            "TIDEGATE_DEFINITIONS": str(defs), "TIDEGATE_DATABASE_URL": postgres, "TIDEGATE_KAFKA": bootstrap,
            "TIDEGATE_STORAGE_URL": str(folder / "storage"), "TIDEGATE_CLOCK": "event",
            "TIDEGATE_ENGINE_METRICS_PORT": "0",
        }  # fmt: skip
        self.connection = psycopg.connect(postgres, autocommit=True)
        self._engine: subprocess.Popen[bytes] | None = None
        self.tidegate("migrate")

    def tidegate(self, *arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "console.main", *arguments], env=self.environment, check=True)

    def start(self) -> None:
        log = (self.folder / "engine.log").open("ab")
        command = [sys.executable, "-m", "console.main", "run"]
        self._engine = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def kill(self) -> None:
        assert self._engine is not None
        self._engine.kill()
        self._engine.wait()

    def wait(self, what: str, values: tuple[Any, ...], until: float = 3_600) -> None:
        """Until the query `what` gives true."""
        deadline = time.monotonic() + until
        while True:
            row = self.connection.execute(what.encode(), values).fetchone()
            if row is not None and row[0]:
                return
            if self._engine is not None and self._engine.poll() is not None:
                raise SystemExit((self.folder / "engine.log").read_text()[-2_000:])
            if time.monotonic() > deadline:
                raise SystemExit(f"waited {until:.0f} s for: {what}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        assert self._engine is not None
        return self._engine.pid

    def one(self, query: str) -> Any:
        return self.row(query)[0]

    def row(self, query: str) -> Any:
        """The first one; of nothing but None where there is none."""
        return self.connection.execute(query.encode()).fetchone() or (None,)


TAKEN = f"""
    SELECT coalesce(sum(least_taken), 0)::bigint FROM (
        SELECT min(coalesce((s.offsets->>p::text)::bigint, 0)) AS least_taken
        FROM tidegate.shards s CROSS JOIN generate_series(0, {PARTITIONS - 1}) AS p GROUP BY p) each
"""
SAVED = TAKEN.replace("s.offsets", "s.checkpoint->'offsets'")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--definitions", type=int, default=100)
    parser.add_argument("--events-per-user", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedPostgres() as postgres,
        EmbeddedBroker(topics={TOPIC: PARTITIONS}) as broker,
    ):
        line = Line(Path(name), postgres.url, broker.bootstrap, args.definitions, args.events_per_user / 2)
        total = produce(broker.bootstrap, args.users, int(args.users * args.events_per_user))
        print(f"{total:,} events of {args.users:,} users are in Kafka; the engine reads them", flush=True)
        line.start()
        results = []
        for number in range(args.rounds):
            # The first two thirds make the users; then a kill every so often.
            goal = int(total * (0.67 + 0.3 * number / args.rounds))
            line.wait(f"SELECT ({TAKEN}) >= %s", (goal,))
            line.kill()
            step = line.one("SELECT sum(step) FROM tidegate.shards")
            users, again = line.one("SELECT count(*) FROM tidegate.users"), line.one(f"SELECT ({TAKEN}) - ({SAVED})")
            files = list((Path(name) / "storage").rglob("*.state"))
            began = time.perf_counter()
            line.start()
            line.wait("SELECT sum(step) > %s FROM tidegate.shards", (step,))
            results.append({
                "seconds": round(time.perf_counter() - began, 2), "users": users, "events_run_again": again,
                "state_mb": round(sum(file.stat().st_size for file in files) / 2**20),
            })  # fmt: skip
            print(json.dumps(results[-1]), flush=True)
        line.kill()
    result = {
        "definitions": args.definitions, "recovery_s": statistics.median(each["seconds"] for each in results),
        "rounds": results,
    }  # fmt: skip
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def produce(bootstrap: str, users: int, events: int) -> int:
    """First one event of every user, then the workload's stream; keyed by user."""
    producer = Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 20, "partitioner": "murmur2_random", "acks": 1,
        "queue.buffering.max.messages": 1_000_000, "compression.type": "lz4",
    })  # fmt: skip
    stream = workload.stream(events - users, users, 30.0)
    start = workload.START_US - users
    first = (
        f'{{"event_id":"first-{n}","user_id":"user-{n:08}","event_type":"login",'
        f'"event_time":"{time_text(start + n)}","region":"Texas"}}'.encode()
        for n in range(users)
    )
    for sent in (first, stream.messages):
        for message in sent:
            at = message.index(b'"user_id":"') + 11
            while True:
                try:
                    producer.produce(TOPIC, message, message[at : at + 13])
                    break
                except BufferError:
                    producer.poll(0.1)
    producer.flush()
    return events


def time_text(micros: int) -> str:
    """RFC 3339."""
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=micros)
    return f"{at.isoformat(timespec='microseconds')}Z"


if __name__ == "__main__":
    main()
