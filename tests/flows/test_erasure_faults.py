"""Erasures and what may come in between: kills, other numbers of shards, rebuilds."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable

from flows.clock import now_us
from flows.reshard import reshard
from flows.run import run
from tests.fix_kafka import new_topic, produce
from tests.flows.conftest import ROOT, Running, World, until
from tests.flows.erased import in_database, in_files
from tests.flows.killed_run import POINTS
from tests.flows.oracle import folded
from tests.flows.test_erasure import (
    ERASED,
    OTHER,
    canary,
    erase,
    erased_until,
    event,
    history,
    make,
    refused,
    small_chunks,
    take_all,
)

__all__ = ["small_chunks"]

Make = Callable[..., World]
Start = Callable[..., Running]
HISTORY = 60


def words(*users: str) -> list[str]:
    return [word for user in users for word in (user, canary(user))]


def killed(world: World, point: str, user: str, taken: int, kind: str = ".parquet") -> None:
    """An engine that is killed at this point of the user's erasure. kind: of the files in which he is before."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.killed_run", point], cwd=ROOT, env=world.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until(lambda: world.taken() >= taken, "all is taken", alive=[process])
        files = world.folder / "storage"
        until(lambda: any(kind in place for place in in_files(files, [user])), "he is in files", alive=[process])
        erase(world, user)
        assert process.wait(60) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()
    assert in_files(files, words(user)) or point in ("half", "deleted")


def test_killed_between_the_erasure_and_clean_files(make_world: Make, start: Start, embedded_broker: str) -> None:
    world = make(make_world, embedded_broker)
    users = [f"killed-{point}" for point in POINTS]
    for number, (point, user) in enumerate(zip(POINTS, users)):
        produce(world.bootstrap, world.topic, history(now_us(), user, OTHER))
        killed(world, point, user, 2 * HISTORY * (number + 1))
        engine = start(world.settings())
        until(lambda: erased_until(world, user), "erased", alive=[engine])  # noqa: B023
        until(lambda: in_files(world.folder / "storage", words(user)) == [], "clean", alive=[engine])  # noqa: B023
        engine.end()
    assert in_files(world.folder / "storage", words(*users)) == in_database(world.url, words(*users)) == []
    assert in_files(world.folder / "storage", [OTHER, canary(OTHER)])
    assert {user for _, user in world.members()} == {OTHER} and folded(world.log()) == world.members()


def test_other_numbers_of_shards_bring_nobody_back(make_world: Make, start: Start, embedded_broker: str) -> None:
    world = make(make_world, embedded_broker, shards=4)
    users = [f"user-{number}" for number in range(8)]
    gone, later = users[:3], users[3]
    now, sent = now_us(), 0

    def send(*some: str) -> None:
        nonlocal sent
        produce(world.bootstrap, world.topic, history(now, *some))
        sent += HISTORY * len(some)

    def checked(shards: int, *erased: str) -> None:
        """Nothing is left of these, and nothing comes with what was before."""
        assert in_files(world.folder / "storage", words(*erased)) == []
        engine = start(world.settings(shards=shards))
        send(*erased)
        take_all(world, engine, sent)
        until(lambda: in_database(world.url, words(*erased)) == [], "nothing of them", alive=[engine])
        engine.end()
        assert in_files(world.folder / "storage", words(*erased)) == []

    produce(world.bootstrap, world.values["profiles_topic"], [(user, b'{"tier": 1}') for user in users])
    engine = start(world.settings(shards=4))
    send(*users)
    take_all(world, engine, sent)
    erase(world, *gone)
    until(lambda: all(erased_until(world, user) for user in gone), "erased", alive=[engine])
    engine.end()
    stay = {row for row in world.log() if row[0] not in gone}
    assert reshard(world.settings(shards=4), 8, threading.Event()).changed
    checked(8, *gone)
    world.values["shards"] = 8
    killed(world, "commit", later, sent, kind=".state")  # alone in his shard, his few events need no other file
    assert reshard(world.settings(shards=8), 4, threading.Event()).changed
    checked(4, *gone, later)
    assert {row for row in stay if row[0] != later} <= set(world.log())

    engine = start(world.settings(shards=4))
    at = now_us()
    produce(world.bootstrap, world.topic, [event(user, "new", at) for user in gone])
    take_all(world, engine, sent + 3)
    engine.end()
    back = world.query("SELECT user_id, seq FROM tidegate.users_now ORDER BY 1")
    assert [row for row in back if row[0] in gone] == [(user, 1) for user in gone]
    assert later not in dict(back) and set(users[4:]) <= set(dict(back))
    assert folded(world.log()) == world.members()


def test_a_tombstone_that_a_rebuild_reads_first(make_world: Make, start: Start, embedded_broker: str) -> None:
    """It stands in another topic of profiles than the one so far."""
    world = make(make_world, embedded_broker)
    sent = [*history(now_us(), ERASED, OTHER), *refused(ERASED), *refused(OTHER)]
    produce(world.bootstrap, world.topic, sent)
    engine = start(world.settings())
    take_all(world, engine, len(sent))
    until(lambda: in_files(world.folder / "storage", [ERASED]), "he is in files", alive=[engine])
    engine.end()
    others = {row for row in world.log() if row[0] == OTHER}
    letters = "SELECT count(*) FROM tidegate.dead_letters"
    assert world.query(letters) == [(12,)] and others
    world.values["profiles_topic"] = new_topic(world.bootstrap, "profiles", 1)
    erase(world, ERASED)
    run(world.settings(), rebuild=True, then_end=True)
    assert in_database(world.url, words(ERASED)) == [f"outbox.key: {ERASED}"], "what tells the readers"
    assert {row for row in world.log() if row[0] == OTHER} == others and world.query(letters) == [(6,)]
    engine = start(world.settings())
    until(lambda: in_files(world.folder / "storage", words(ERASED)) == [], "the files are clean", alive=[engine])
    produce(world.bootstrap, world.topic, [event(ERASED, "new", now_us())])
    until(lambda: world.query(f"SELECT seq FROM tidegate.users_now WHERE user_id = '{ERASED}'") == [(1,)], "he is new",
          alive=[engine])  # fmt: skip
    engine.end()
    assert folded(world.log()) == world.members()
