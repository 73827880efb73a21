"""Brokers, databases, and an engine in this process or in one of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.relay import relay_forever
from flows.run import run
from storage import postgres
from storage.settings import Settings
from tests.fix_kafka import apache_kafka, embedded_broker, new_topic
from tests.fix_postgres import database_url, postgres_server

__all__ = ["apache_kafka", "database_url", "embedded_broker", "postgres_server"]

ROOT = Path(__file__).parents[2]
SCHEMA = "events:\n  amount: {type: bigint}\n"
DEFINITIONS = {
    "buyers": "SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id HAVING sum(amount) >= 10",
    "recent": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '1 hour' GROUP BY user_id "
              "HAVING count(*) >= 2",
    "gone": "SELECT user_id FROM events GROUP BY user_id HAVING max(event_time) <= now() - INTERVAL '2 hours'",
    "hour": "SELECT user_id, CASE WHEN count(*) < 3 THEN '0-2' WHEN count(*) < 6 THEN '3-5' ELSE '6+' END AS band "
            "FROM events WHERE event_time > now() - INTERVAL '1 hour' GROUP BY user_id",
    "away": "SELECT user_id FROM segments.gone UNION SELECT user_id FROM segments.\"hour/0-2\"",
}  # fmt: skip


def write_definitions(folder: Path, definitions: dict[str, str] = DEFINITIONS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schema.yml").write_text(SCHEMA)
    for name, sql in definitions.items():
        (folder / f"{name}.sql").write_text(sql)
    return folder


class World:
    """Settings of one engine with a topic, a database and folders of its own."""

    def __init__(self, bootstrap: str, url: str, folder: Path, partitions: int, **more: Any) -> None:
        self.bootstrap, self.url, self.folder, self.partitions = bootstrap, url, folder, partitions
        self.topic = new_topic(bootstrap, "events", partitions)
        self.values: dict[str, Any] = {
            "definitions": str(write_definitions(folder / "definitions")), "database_url": url, "kafka": bootstrap,
            "storage_url": str(folder / "storage"), "events_topic": self.topic,
            "profiles_topic": f"{self.topic}-profiles", "transitions_topic": f"{self.topic}-transitions",
            "dead_letter_topic": f"{self.topic}-dead",
            "engine_metrics_port": 0, **more,
        }  # fmt: skip

    def settings(self, **more: Any) -> Settings:
        return Settings(**{**self.values, **more})

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(postgres.connect(self.url, autocommit=True)) as connection:
            return connection.execute(sql.encode()).fetchall()

    def execute(self, *statements: str) -> None:
        with closing(postgres.connect(self.url, autocommit=True)) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def members(self) -> set[tuple[str, str]]:
        return set(self.query("SELECT segment, user_id FROM segment_members"))

    def log(self) -> list[tuple[Any, ...]]:
        return sorted(
            self.query("SELECT user_id, seq, segment, entered, effective_at FROM segment_transitions")
        )

    def taken(self) -> int:
        """Messages that every shard has committed."""
        rows = self.query(
            "SELECT coalesce(sum(o), 0) FROM (SELECT min(coalesce((offsets ->> p::text)::bigint, 0)) AS o FROM "
            f"tidegate.shards, generate_series(0, {self.partitions - 1}) p GROUP BY p) x"
        )
        return int(rows[0][0])

    def watermark(self) -> int:
        """The least of all shards, µs."""
        return int(self.query("SELECT min(watermark) FROM tidegate.shards")[0][0])

    def environment(self, **more: Any) -> dict[str, str]:
        values = {**self.values, **more}
        return {**os.environ, **{f"TIDEGATE_{name.upper()}": str(value) for name, value in values.items()}}


@pytest.fixture
def make_world(database_url: str, tmp_path: Path) -> Callable[..., World]:
    def make(bootstrap: str, partitions: int = 3, **more: Any) -> World:
        return World(bootstrap, database_url, tmp_path, partitions, **more)

    return make


class Running:
    """The engine in a thread of this process."""

    def __init__(self, settings: Settings, **more: Any) -> None:
        self.stop = threading.Event()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(settings, more), daemon=True)
        self._thread.start()

    def _run(self, settings: Settings, more: dict[str, Any]) -> None:
        try:
            run(settings, stop=self.stop, **more)
        except BaseException as error:
            self.error = error

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self, timeout_s: float = 60) -> None:
        self.stop.set()
        self._thread.join(timeout_s)
        assert not self.alive, "the engine did not end"
        if self.error is not None:
            raise self.error


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start_one(settings: Settings, **more: Any) -> Running:
        started.append(Running(settings, **more))
        return started[-1]

    yield start_one
    for one in started:
        one.stop.set()
    for one in started:
        one._thread.join(60)


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """The flow in processes of their own, as `python -m bytewax.run` starts it."""
    with _processes("bytewax.run", "flows.dataflow:flow()") as spawn_one:
        yield spawn_one


@pytest.fixture
def tidegate() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """`tidegate run` in a process of its own, which may have processes in turn: those of a supervisor end with it."""
    with _processes("console.main", "run") as run_one:
        yield run_one


@contextmanager
def _processes(*program: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts one with an environment and further arguments. Ended by the test, or killed."""
    started: list[subprocess.Popen[str]] = []

    def start_one(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *program, *arguments],
            cwd=ROOT, env=environment | {"PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]", code: int = 0, number: signal.Signals | None = signal.SIGTERM) -> str:
    """What the process has said by its end, for which it gets the signal."""
    if number is not None:
        process.send_signal(number)
    try:
        said, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # it says where it stands
        pytest.fail(f"has not ended in 60 s:\n{process.communicate()[0]}")
    assert process.returncode == code, said
    return said


def send_all(settings: Settings) -> None:
    """What is in the outbox, by a relay that ends then."""
    stop = threading.Event()
    relay = threading.Thread(target=relay_forever, args=(settings, stop))
    relay.start()
    try:
        url = settings.database_url.get_secret_value()
        with closing(postgres.connect(url, autocommit=True)) as connection:
            until(lambda: connection.execute("SELECT FROM tidegate.outbox").fetchone() is None, "all is sent")
    finally:
        stop.set()
        relay.join(60)


def until(condition: Callable[[], Any], what: str, timeout_s: float = 60, alive: Sequence[Any] = ()) -> Any:
    """What the condition gives once it is true; fails after the time, or when one of `alive` has ended."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (found := condition()):
        for one in alive:
            if isinstance(one, Running) and not one.alive:
                raise one.error or AssertionError("the engine ended")
            if isinstance(one, subprocess.Popen) and one.poll() is not None:
                pytest.fail(f"the engine ended with {one.returncode}:\n{one.communicate()[0]}")
        if time.monotonic() > deadline:
            pytest.fail(f"not in {timeout_s} s: {what}")
        pause.wait(0.02)
    return found


def event(user: str, number: int | str, time_us: int, kind: str = "buy", amount: int = 1) -> tuple[str, bytes]:
    at = f"{time_us // 1_000_000}"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(at))) + f".{time_us % 1_000_000:06d}Z"
    value = {"user_id": user, "event_id": str(number), "event_type": kind, "event_time": stamp, "amount": amount}
    return user, json.dumps(value).encode()
