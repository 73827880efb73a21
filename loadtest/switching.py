"""How long events wait while all shards change to another version, with many users and definitions.

    python -m loadtest.switching [--users N] [--definitions N] [--changed N] [--events-per-user N]

Everything real, as in loadtest.recovery: embedded PostgreSQL and broker, `tidegate run` as its own process. When the
engine has taken every event, `tidegate apply` deploys a version in which some definitions count over other windows, and
a producer goes on with 1,000 events a second. Printed: how long the version was built beside the flow, for how long
events waited in Kafka at the switch (what the engine's log says, too), who entered and left by it, and the engine's and
the builder's memory. Written to loadtest/out/switching.json.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from flows.embedded_broker import EmbeddedBroker
from loadtest import workload
from loadtest.recovery import TAKEN, TOPIC, Line, produce, time_text
from storage.embedded import EmbeddedPostgres

OUT = Path(__file__).parent / "out" / "switching.json"
RATE = 1_000
_DONE = "SELECT state = 'complete' AND waited IS NOT NULL FROM tidegate.deployments WHERE version = %s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--definitions", type=int, default=100)
    parser.add_argument("--changed", type=int, default=10, help="definitions with another window (default %(default)s)")
    parser.add_argument("--events-per-user", type=float, default=3)
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        EmbeddedPostgres() as postgres,
        EmbeddedBroker(topics={TOPIC: workload.PARTITIONS}) as broker,
    ):
        line = Line(Path(name), postgres.url, broker.bootstrap, args.definitions, args.events_per_user / 2)
        total = produce(broker.bootstrap, args.users, int(args.users * args.events_per_user))
        print(f"{total:,} events of {args.users:,} users are in Kafka; the engine reads them", flush=True)
        line.start()
        line.wait(f"SELECT ({TAKEN}) >= %s", (total,))
        print("the engine has taken them; a version is deployed", flush=True)
        changed = _change(Path(name) / "defs", args.changed)
        end = threading.Event()
        live = threading.Thread(target=_live, args=(broker.bootstrap, args.users, end))
        live.start()
        memory = _Memory(line.pid)
        try:
            line.tidegate("apply", "--no-wait", "--allow-incomplete")
            line.wait(_DONE, (2,))
        finally:
            end.set()
            live.join()
            found = memory.end()
        built, waited = line.row(
            "SELECT extract(epoch FROM stopped_at - made_at)::float, waited::float "
            "FROM tidegate.deployments WHERE version = 2"
        )
        entered = line.one("SELECT count(*) FROM tidegate.transitions WHERE cause = 'definition' AND entered")
        left = line.one("SELECT count(*) FROM tidegate.transitions WHERE cause = 'definition' AND NOT entered")
        line.kill()
    result: dict[str, Any] = {
        "users": args.users, "definitions": args.definitions, "changed": changed, "built_s": round(built, 2),
        "switch_wait_s": round(waited, 2), "entered": entered, "left": left, **found,
    }  # fmt: skip
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


def _change(folder: Path, count: int) -> int:
    """Windows of 30 days become 14 in the first definitions that have one; how many."""
    changed = 0
    for path in sorted(folder.glob("*.sql")):
        text = path.read_text()
        if "'30 days'" in text and changed < count:
            path.write_text(text.replace("'30 days'", "'14 days'"))
            changed += 1
    return changed


def _live(bootstrap: str, users: int, end: threading.Event) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "partitioner": "murmur2_random"})
    number, began, at = 0, time.monotonic(), workload.START_US + 61 * 86_400_000_000
    while not end.wait(0.05):
        while number < (time.monotonic() - began) * RATE:
            user = f"user-{number * 7919 % users:08}"
            producer.produce(
                TOPIC,
                f'{{"event_id":"live-{number}","user_id":"{user}","event_type":"login",'
                f'"event_time":"{time_text(at + number * 1_000)}","region":"Texas"}}'.encode(),
                user.encode(),
            )
            number += 1
        producer.poll(0)
    producer.flush()


class _Memory:
    """The most resident memory of a process, and of its children together, MB."""

    def __init__(self, pid: int) -> None:
        self._process, self._end = psutil.Process(pid), threading.Event()
        self._most = {"engine_mb": 0.0, "builder_mb": 0.0}
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._end.wait(0.2):
            self._note("engine_mb", [self._process])
            self._note("builder_mb", self._process.children(recursive=True))

    def _note(self, name: str, processes: list[psutil.Process]) -> None:
        total = 0.0
        for process in processes:
            try:
                total += process.memory_info().rss / 1e6
            except psutil.NoSuchProcess:
                continue
        self._most[name] = max(self._most[name], round(total, 1))

    def end(self) -> dict[str, float]:
        self._end.set()
        self._thread.join()
        return self._most


if __name__ == "__main__":
    main()
