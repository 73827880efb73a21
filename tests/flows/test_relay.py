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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from flows.relay import ensure_topics
from storage import embedded
from storage.migrate import migrate
from storage.postgres import DatabaseError
from tests.fix_kafka import apache_kafka_node, consume_all
from tests.flows.conftest import ROOT, World, until
from tests.flows.relay_feed import Feed, as_read, differences
from tests.flows.relay_lives import STEPS

pytestmark = pytest.mark.kafka
Make = Callable[..., World]
NOTHING = {"missing": 0, "repeated": 0, "disordered": 0}


class Lives:
    """Relays of one world, forked by one process that has everything imported."""

    def __init__(self, world: World, folder: Path, seed: int) -> None:
        self._world, self._said = world, folder / "relays.log"
        self.draw = random.Random(seed)
        ensure_topics(world.settings())
        environment = world.environment(relay="transactions")
        with self._said.open("wb") as log:
            self._parent = subprocess.Popen(
                [sys.executable, "-m", "tests.flows.relay_lives"], cwd=ROOT, env=environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=log, text=True,
            )  # fmt: skip
        self._alive: set[int] = set()

    def start(self, *at: tuple[str, int, str], **more: Any) -> int:
        assert self._parent.stdin is not None and self._parent.stdout is not None
        self._parent.stdin.write(json.dumps({"at": at, "rows": self.draw.randint(1, 60), **more}) + "\n")
        self._parent.stdin.flush()
        pid = int(self._parent.stdout.readline())
        self._alive.add(pid)
        return pid

    def wait(self, pid: int) -> None:
        until(lambda: state(pid) is None, f"relay {pid} has ended: {self.said()[-2000:]}")
        self._alive.discard(pid)

    def end(self, pid: int, number: signal.Signals = signal.SIGTERM) -> None:
        os.kill(pid, number)
        self.wait(pid)

    def said(self) -> str:
        return self._said.read_text()

    def finish(self, feed: Feed) -> dict[str, int]:
        """No more messages; a relay that nothing happens to sends what is left. What readers find then."""
        expected = feed.end()
        last = self.start()
        until(lambda: self._world.query("SELECT count(*) FROM tidegate.outbox") == [(0,)], "all is sent")
        self.end(last)
        settings = self._world.settings()
        read = as_read(consume_all(self._world.bootstrap, settings.transitions_topic, 4))
        read |= as_read(consume_all(self._world.bootstrap, settings.dead_letter_topic, 1))
        return differences(expected, read)

    def close(self) -> None:
        for pid in self._alive:
            if state(pid) is not None:
                os.kill(pid, signal.SIGKILL)
        self._parent.communicate()


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
    lives = Lives(world, tmp_path, seed)
    yield lives
    lives.close()
    print(lives.said())


def test_killed_after_every_step(world: World, lives: Lives, seed: int) -> None:
    feed = Feed(world.url, seed)
    steps = [*STEPS, "opened"] * 5
    lives.draw.shuffle(steps)
    for step in steps:
        # Batches are settled by themselves only at a start, after one that was sent.
        at = [("committed", lives.draw.randint(1, 3), "cut")] if step == "settled" else []
        lives.wait(lives.start(*at, (step, 1 if step in ("opened", "settled") else lives.draw.randint(1, 5), "kill")))
    said = lives.said()
    assert {step: said.count(f"kill at {step}\n") for step in steps} == dict.fromkeys(steps, 5), said
    found = lives.finish(feed)
    print(f"{len(steps)} kills, {feed.messages} messages: {found}")
    assert found == NOTHING and feed.messages > 500


def test_killed_at_any_moment(world: World, lives: Lives, seed: int) -> None:
    feed = Feed(world.url, seed)
    for _ in range(8):
        pid = lives.start()
        sent = feed.messages
        until(lambda: feed.messages > sent + lives.draw.randint(20, 200), "some more")  # noqa: B023
        lives.end(pid, signal.SIGKILL)
    assert lives.finish(feed) == NOTHING


def test_without_the_record_messages_are_repeated(world: World, lives: Lives, seed: int) -> None:
    """What the tests here find if the protection is switched off."""
    feed = Feed(world.url, seed)
    for _ in range(3):
        lives.wait(lives.start(("committed", lives.draw.randint(1, 5), "kill"), forgetful=True))
    found = lives.finish(feed)
    assert found["repeated"] >= 2 and found["missing"] == 0, found


@pytest.mark.parametrize("step", ["acquired", "opened", "fixed", "producing", "flushed", "committed"])
def test_a_paused_relay_that_comes_back(world: World, lives: Lives, seed: int, step: str) -> None:
    feed = Feed(world.url, seed)
    old = lives.start((step, 1 if step in ("acquired", "opened") else lives.draw.randint(1, 5), "stop"))
    until(lambda: state(old) == "T", "it is paused")
    # As the database's server does when the paused one's connection is found dead.
    world.query("SELECT pg_terminate_backend(pid, 30000) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                "WHERE locktype = 'advisory' AND datname = current_database()")  # fmt: skip
    new = lives.start()
    before = last_batch(world)
    until(lambda: last_batch(world) > before + 3, "the new one sends")
    os.kill(old, signal.SIGCONT)
    until(lambda: re.search(f"{old} [A-Z]+ tidegate.relay", lives.said()), "the old one has noticed")
    before = last_batch(world)
    until(lambda: last_batch(world) > before + 3, "one of them goes on")
    lives.end(new)
    lives.end(old)
    said = lives.said()
    if step in ("opened", "fixed", "producing", "flushed"):
        assert f"{old} WARNING tidegate.relay: no longer the relay: " in said
    assert "Traceback" not in said
    assert lives.finish(feed) == NOTHING


def last_batch(world: World) -> int:
    """0 while the database is away."""
    with suppress(DatabaseError):
        return int(world.query("SELECT coalesce(max(batch), 0) FROM tidegate.relay")[0][0])
    return 0


def test_connections_to_the_database_are_cut(world: World, lives: Lives, seed: int) -> None:
    feed = Feed(world.url, seed)
    steps = ["committed"] * 5 + ["opened", "fixed", "recorded", "flushed"]
    cuts = [(step, 1 if step == "opened" else lives.draw.randint(1, 3), "cut") for step in steps]
    lives.draw.shuffle(cuts)
    pid = lives.start(*cuts)
    until(lambda: lives.said().count("cut at") == len(cuts), "all cuts")
    lives.end(pid)
    assert "Traceback" not in lives.said()
    assert lives.finish(feed) == NOTHING


def test_broker_and_database_are_restarted(make_world: Make, tmp_path: Path, seed: int) -> None:
    with ExitStack() as stack:
        node = apache_kafka_node()
        stack.push(node)
        url = stack.enter_context(embedded.EmbeddedPostgres(tmp_path / "postgres")).url
        migrate(url)
        world = make_world(node.bootstrap, database_url=url)
        world.url = url
        lives = Lives(world, tmp_path, seed)
        stack.callback(lambda: print(lives.said()))
        stack.callback(lives.close)
        feed = Feed(world.url, seed)
        stack.callback(feed.end)
        pid = lives.start()
        until(lambda: last_batch(world) > 5, "some are sent")
        node.kill()
        sent = feed.messages
        until(lambda: feed.messages > sent + 100, "some more wait")
        node.start()
        before = last_batch(world)
        until(lambda: last_batch(world) > before + 5, "it goes on")
        # A backend that is killed takes the whole server down; it comes back by itself, from its log.
        before = last_batch(world)
        os.kill(world.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'tidegate relay'")[0][0], 9)
        until(lambda: "Traceback" in lives.said() or "announcing" in lives.said(), "the relay has noticed")
        until(lambda: last_batch(world) > before + 5, "it goes on")
        lives.end(pid)
        assert lives.finish(feed) == NOTHING
