"""A real engine for the soak: its definitions, its input, and the process that can be killed.

Every user sends one event at first. Then events come at a rate, half of them of the first HOT users, so that the same
pairs of user and segment turn again and again; callers draw by the same law. Half of the segments follow a user's last
event, the others are windows of WINDOW_S seconds, so that users leave them by time alone.

`python -m loadtest.serving_engine BOOTSTRAP USERS SEGMENTS RATE` sends events until it is ended; RATE 0: the first
ones only.
"""

import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

from loadtest.serving_world import segment_name

TOPIC, PARTITIONS = "events", 4
HOT, WINDOW_S = 500, 15
_SCHEMA = """\
events:
  slot: {type: bigint}
  state: {type: text}
"""
_TICKS_A_SECOND = 50


def user_id(number: int) -> str:
    return f"u{number}"


def drawn(users: int, chance: random.Random) -> str:
    return user_id(chance.randrange(min(HOT, users) if chance.random() < 0.5 else users))


def definitions(segments: int) -> dict[str, str]:
    """By file name."""
    found = {"schema.yml": _SCHEMA}
    for slot in range(segments):
        having = f"arg_max(state, event_time) FILTER (WHERE slot = {slot}) = 'on'"
        if slot % 2:
            recent = f"slot = {slot} AND event_time > now() - INTERVAL '{WINDOW_S} seconds'"
            having = f"count(*) FILTER (WHERE {recent}) >= 1"
        found[f"{segment_name(slot)}.sql"] = f"SELECT user_id FROM events GROUP BY user_id HAVING {having}\n"
    return found


class Engine:
    """`tidegate run` over a folder of its own; its log is there, too."""

    def __init__(self, folder: Path, database_url: str, bootstrap: str, segments: int) -> None:
        written = folder / "definitions"
        written.mkdir(parents=True)
        for name, text in definitions(segments).items():
            (written / name).write_text(text)
        self._log = folder / "engine.log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        self._environment = ours | {
            "TIDEGATE_DEFINITIONS": str(written), "TIDEGATE_DATABASE_URL": database_url, "TIDEGATE_KAFKA": bootstrap,
            "TIDEGATE_STORAGE_URL": str(folder / "storage"), "TIDEGATE_ENGINE_METRICS_PORT": "0",
        }  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "console.main", "run"], env=self._environment, cwd=self._log.parent,
                stdout=log, stderr=log,
            )  # fmt: skip

    def check(self) -> None:
        """Raises SystemExit, with the end of its log, if it has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise SystemExit(f"the engine ended:\n{self._log.read_text()[-2_000:]}")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def producer(bootstrap: str) -> Producer:
    return Producer({
        "bootstrap.servers": bootstrap, "linger.ms": 5, "partitioner": "murmur2_random", "acks": 1,
        "queue.buffering.max.messages": 1_000_000,
    })  # fmt: skip


class Traffic:
    def __init__(self, bootstrap: str, seed: int) -> None:
        self._producer, self._chance = producer(bootstrap), random.Random(seed)
        self._run, self._sent, self._last = f"{seed:x}", 0, 0

    def send(self, user: str, slot: int) -> None:
        # Each later than the one before: two events at one instant would leave a pair of flips that cancel.
        self._last = max(time.time_ns() // 1_000, self._last + 1)
        at = datetime.fromtimestamp(self._last / 1e6, UTC).isoformat(timespec="microseconds")
        state = "on" if self._chance.random() < 0.6 else "off"
        self._sent += 1
        message = (
            f'{{"event_id":"{self._run}-{self._sent}","user_id":"{user}","event_type":"turn","event_time":"{at}",'
            f'"slot":{slot},"state":"{state}"}}'
        )
        while True:
            try:
                return self._producer.produce(TOPIC, message, user)
            except BufferError:
                self._producer.poll(0.1)

    def first(self, users: int, segments: int) -> None:
        """One event of everybody."""
        for number in range(users):
            self.send(user_id(number), 2 * number % segments)
        self.flush()

    def live(self, users: int, segments: int, rate: int) -> None:
        next_at = time.monotonic()
        while True:
            for _ in range(max(1, rate // _TICKS_A_SECOND)):
                self.send(drawn(users, self._chance), self._chance.randrange(segments))
            self._producer.poll(0)
            next_at = max(next_at + 1 / _TICKS_A_SECOND, time.monotonic() - 1)
            time.sleep(max(0.0, next_at - time.monotonic()))

    def flush(self) -> None:
        self._producer.flush()


def main(bootstrap: str, users: int, segments: int, rate: int) -> None:
    traffic = Traffic(bootstrap, time.time_ns() % 2**48)
    if not rate:
        traffic.first(users, segments)
        print("ready", flush=True)
        return
    print("ready", flush=True)
    traffic.live(users, segments, rate)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
