"""Each message once and in order, whatever is killed, paused, cut off or restarted; on Apache Kafka.

Relays in processes of their own (relay_lives.py) end at named steps while shards go on putting
messages into the outbox (relay_feed.py); then a reader reads both topics from their beginning.
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from flows.relay import ensure_topics
from storage.migrate import migrate
from storage.postgres import DatabaseError
from tests.fix_kafka import apache_kafka_node, consume_all
from tests.flows.conftest import ROOT, World, until
from tests.flows.relay_feed import Feed, as_read, differences
from tests.proxy import TcpProxy
from tests.torture.world import Database

pytestmark = pytest.mark.kafka
Make = Callable[..., World]
NOTHING = {"missing": 0, "repeated": 0, "disordered": 0}


class Lives:
    """Relays of one world, forked by one process that has everything imported; and what they have to send."""

    def __init__(self, world: World, folder: Path, seed: int) -> None:
        self._world, self._said = world, folder / "relays.log"
        self.draw = random.Random(seed)
        ensure_topics(world.settings())
        environment = world.environment(relay="transactions") | {"PYTHONFAULTHANDLER": "1"}
        with self._said.open("wb") as log:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "tests.flows.relay_lives"], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self._alive: set[int] = set()
        self.feed = Feed(world.url, seed)

    def start(self, *at: tuple[str, int, str], **more: Any) -> int:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(json.dumps({"at": at, "rows": self.draw.randint(1, 60), **more}) + "\n")
        self._parent.stdin.flush()
        pid = int(self._parent.stdout.readline())
        self._alive.add(pid)
        return pid

    def wait(self, pid: int) -> None:
        try:
            # In a call that Kafka does not answer it ends with the transaction, after TRANSACTION_MS.
            until(lambda: state(pid) is None, f"relay {pid} has ended", timeout_s=120)
        except pytest.fail.Exception:
            os.kill(pid, signal.SIGABRT)  # it says where it stands
            raise
        self._alive.discard(pid)

    def end(self, pid: int, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(pid, number)
        self.wait(pid)

    def said(self) -> str:
        return self._said.read_text()

    def more(self, batches: int = 3) -> None:
        """Returns when some more batches were begun, by whomever."""
        before = last_batch(self._world)
        until(lambda: last_batch(self._world) > before + batches, "more is sent")

    def finish(self) -> dict[str, int]:
        """No more messages; a relay that nothing happens to sends what is left. What readers find then."""
        expected = self.feed.end()
        last = self.start(rows=5_000)
        until(lambda: self._world.query("SELECT count(*) FROM tidegate.outbox") == [(0,)], "all is sent")
        self.end(last)
        settings = self._world.settings()
        read = as_read(consume_all(self._world.bootstrap, settings.transitions_topic, 4))
        read |= as_read(consume_all(self._world.bootstrap, settings.dead_letter_topic, 1))
        found = differences(expected, read)
        print(f"{self.feed.messages} messages, {last_batch(self._world)} batches: {found}")
        return found

    def close(self) -> None:
        self.feed.end()
        for pid in self._alive:
            if state(pid) is not None:
                os.kill(pid, signal.SIGKILL)
        self._parent.communicate()
        print(self.said())


def state(pid: int) -> str | None:
    """`T`: paused; None: there is no such process any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


@pytest.fixture
def seed() -> int:
    number = random.SystemRandom().randrange(10**6)
    print(f"seed {number}")
    return number


@pytest.fixture
def world(make_world: Make, apache_kafka: str) -> World:
    return make_world(apache_kafka)


@pytest.fixture
def lives(world: World, tmp_path: Path, seed: int) -> Iterator[Lives]:
    with closing(Lives(world, tmp_path, seed)) as lives:
        yield lives


def test_killed_after_every_step(lives: Lives) -> None:
    steps = ["fixed", "producing", "flushed", "committed"] * 5 + ["settled", "opened"] * 2
    lives.draw.shuffle(steps)
    for step in steps:
        # A batch is settled by itself at a start only, after one that was sent.
        before = [("committed", lives.draw.randint(1, 3), "cut")] if step == "settled" else []
        at = 1 if step in ("opened", "settled") else lives.draw.randint(1, 5)
        lives.wait(lives.start(*before, (step, at, "kill")))
    said = lives.said()
    assert {step: said.count(f"kill at {step}\n") for step in steps} == Counter(steps), said
    assert lives.finish() == NOTHING and lives.feed.messages > 500


def test_killed_at_any_moment(lives: Lives) -> None:
    for _ in range(4):
        pid = lives.start()
        lives.more(lives.draw.randint(1, 8))
        threading.Event().wait(lives.draw.random() * 0.02)  # anywhere within a batch
        lives.end(pid, signal.SIGKILL)
    assert lives.finish() == NOTHING


def test_without_the_record_messages_are_repeated(lives: Lives) -> None:
    """What the tests here find if the protection is switched off."""
    for _ in range(3):
        lives.wait(lives.start(("committed", lives.draw.randint(1, 5), "kill"), forgetful=True))
    found = lives.finish()
    assert found["repeated"] >= 2 and found["missing"] == 0, found


def test_paused_relays_come_back(world: World, lives: Lives) -> None:
    """At every step one is paused, another takes over, and the first one goes on as if nothing had happened."""
    for step in ("acquired", "fixed", "producing", "flushed", "committed"):
        old = lives.start((step, 1 if step == "acquired" else lives.draw.randint(1, 5), "stop"))
        until(lambda: state(old) == "T", "it is paused")  # noqa: B023
        # As the database's server does when the paused one's connection is found dead.
        world.query("SELECT pg_terminate_backend(pid, 30000) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                    "WHERE locktype = 'advisory' AND datname = current_database()")  # fmt: skip
        new = lives.start()
        lives.more()
        os.kill(old, signal.SIGCONT)
        until(lambda: re.search(f"{old} [A-Z]+ tidegate.relay", lives.said()), "the old one has noticed")  # noqa: B023
        lives.more()
        lives.end(new)
        lives.end(old)
        if step in ("fixed", "producing", "flushed"):
            assert f"{old} WARNING tidegate.relay: no longer the relay: " in lives.said()
    assert "Traceback" not in lives.said()
    assert lives.finish() == NOTHING


def last_batch(world: World) -> int:
    """0 while the database is away."""
    with suppress(DatabaseError):
        return int(world.query("SELECT coalesce(max(batch), 0) FROM tidegate.relay")[0][0])
    return 0


def test_connections_to_the_database_are_cut(lives: Lives) -> None:
    steps = ["committed"] * 5 + ["opened", "fixed", "flushed"]
    lives.draw.shuffle(steps)
    pid = lives.start(*[(step, 1 if step == "opened" else lives.draw.randint(1, 3), "cut") for step in steps])
    until(lambda: lives.said().count("cut at") == len(steps), "all cuts")
    lives.end(pid)
    assert "Traceback" not in lives.said()
    assert lives.finish() == NOTHING


def test_broker_and_database_crash_and_come_back(make_world: Make, tmp_path: Path, seed: int) -> None:
    with ExitStack() as stack:
        node = apache_kafka_node()
        stack.push(node)
        database = Database(tmp_path / "postgres")
        stack.enter_context(database)
        proxy = stack.enter_context(TcpProxy(("127.0.0.1", database.port)))
        url = make_conninfo(database.url, port=proxy.port)
        migrate(url)
        world = make_world(node.bootstrap, database_url=url)
        world.url = url
        lives = stack.enter_context(closing(Lives(world, tmp_path, seed)))
        pid = lives.start()
        lives.more()
        node.kill()
        fed = lives.feed.messages
        until(lambda: lives.feed.messages > fed + 100, "some more wait")
        node.start()
        lives.more()
        database.crash()
        database.restart()
        proxy.target = ("127.0.0.1", database.port)
        lives.more()
        lives.end(pid)
        assert lives.finish() == NOTHING
