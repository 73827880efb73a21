"""A version is built beside the flow, which counts and answers by the one before, whatever comes meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import beside, deploying
from flows.backfill import backfill
from flows.clock import now_us
from flows.reshard import reshard
from segmentation.errors import TidegateError
from segmentation.state import log
from storage import deployments
from storage.applying import apply
from storage.deployments import DeploymentError
from tests.fix_kafka import produce
from tests.flows import held_builder
from tests.flows.conftest import DEFINITIONS, ROOT, SCHEMA, Running, World, ended, event, until
from tests.flows.erased import in_files
from tests.flows.oracle import folded, settled_members
from tests.flows.test_deploying import CHANGED, changed, check, complete, texts

Make = Callable[..., World]
Start = Callable[..., Running]
Messages = list[tuple[str | bytes | None, bytes | None]]
HOUR, SECOND = 3_600_000_000, 1_000_000
BUILD, FOLLOW = "segmentation.evaluate.building:build", "flows.switching:Switch.follow"
ERASED = "erase-me"


class Builders:
    """Those that are held at a place, by number."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def command(self, place: str, what: str = "hold") -> list[str]:
        return held_builder.command(what, str(self.folder), place)

    def pid(self, number: int, alive: "list[Running | subprocess.Popen[str]]") -> int:
        path = self.folder / f"held-{number}"
        until(path.exists, f"builder {number} is at the place", alive=alive)
        return int(path.read_text())

    def release(self) -> None:
        (self.folder / "go").touch()


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builders:
    monkeypatch.setattr(deploying, "PAUSE_SECONDS", 0.1)
    return Builders(tmp_path / "builders")


def some(first: int, last: int, at: int) -> Messages:
    """One in seven comes half an hour late."""
    return [
        event(ERASED if i % 11 == 3 else f"u{i % 31}", i, at + (i - (1_800 if i % 7 == 5 else 0)) * SECOND,
              "buy" if i % 3 else "view", i % 5)
        for i in range(first, last)
    ]  # fmt: skip


def check_without_erased(world: World) -> None:
    """Where a user was erased his log begins anew; of all others everything holds."""
    wanted = {(segment, user) for segment, user in settled_members(world) if user != ERASED}
    assert world.members() == folded(world.log()) == wanted
    alternate = """
        SELECT bool_and(entered IS DISTINCT FROM before) FROM (
            SELECT entered, lag(entered) OVER (PARTITION BY user_id, segment ORDER BY seq) AS before
            FROM segment_transitions) t
    """
    assert world.query(alternate) == [(True,)]
    gaps = "SELECT count(DISTINCT seq) = max(seq) FROM segment_transitions GROUP BY user_id"
    assert all(whole for whole, in world.query(gaps))


def test_the_old_version_counts_meanwhile(
    make_world: Make, embedded_broker: str, start: Start, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late events, an erasure, a builder that is killed, a version that is taken back; files that go meanwhile."""
    for name, rows in {"CHUNK_ROWS": 20, "LATE_ROWS": 5, "LONG_ROWS": 80}.items():
        monkeypatch.setattr(log, name, rows)
    monkeypatch.setattr(beside, "command", lambda: builders.command(BUILD))
    world = make_world(embedded_broker, shards=2, checkpoint_every=0.5)
    at = now_us() - 5 * HOUR
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, some(0, 300, at))
    until(lambda: world.taken() == 300, "taken", alive=[engine])
    assert apply(world.url, texts(DEFINITIONS) | {"never.sql": DEFINITIONS["recent"]}, "ann") == 2
    first = builders.pid(1, [engine])
    with pytest.raises(DeploymentError, match="is being built"):
        apply(world.url, texts(CHANGED), "bob")
    assert deployments.withdraw(world.url, 2, "by ann")
    assert apply(world.url, texts(CHANGED), "bob") == 3
    second = builders.pid(2, [engine])
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    produce(world.bootstrap, world.topic, some(300, 500, at))
    produce(world.bootstrap, world.values["profiles_topic"], [(ERASED, None)])
    until(lambda: world.taken() == 500, "the old version counts", alive=[engine])
    until(lambda: not any(user == ERASED for _, user in world.members()), "erased", alive=[engine])
    assert deployments.version(world.url, 3).state == deployments.BUILDING
    assert folded(world.log()) == world.members(), "and answers"
    assert not world.query("SELECT 1 FROM segment_transitions WHERE cause = 'definition'")
    os.kill(second, signal.SIGKILL)
    third = builders.pid(3, [engine])
    assert third != second
    produce(world.bootstrap, world.topic, [e for e in some(500, 600, at) if e[0] != ERASED])
    builders.release()
    until(lambda: complete(world, 3), "the version is answered by", alive=[engine])
    until(lambda: deployments.version(world.url, 3).waited, "events are taken again", alive=[engine])
    assert world.query("SELECT count(*) FROM tidegate.shards WHERE followed IS NOT NULL") == [(0,)]
    count = 600 - sum(e[0] == ERASED for e in some(500, 600, at))
    until(lambda: world.taken() == count, "all taken", alive=[engine])
    until(lambda: not in_files(world.folder / "storage", [ERASED]), "no file has the erased user", alive=[engine])
    engine.end()
    changed(world, CHANGED)
    check_without_erased(world)


#: After which call the first builder is killed; all of them with TIDEGATE_LONG=1, else the last.
KILLS = [
    "flows.switching:Switch.prepare", BUILD, FOLLOW, "storage.checkpoints:CheckpointStore.save",
    "storage.deployments:complete", "storage.rebuild:Rebuild.__exit__",
]  # fmt: skip
LONG = os.environ.get("TIDEGATE_LONG")


@pytest.mark.parametrize("place", KILLS if LONG else [KILLS[-1]])
def test_a_builder_that_is_killed(
    make_world: Make, embedded_broker: str, start: Start, builders: Builders, monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(beside, "command", lambda: builders.command(place, "kill"))
    monkeypatch.setattr(log, "CHUNK_ROWS", 20)  # the new state has files
    world = make_world(embedded_broker, shards=2, checkpoint_every=0.5)
    at = now_us() - 5 * HOUR
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, some(0, 200, at))
    until(lambda: world.taken() == 200, "taken", alive=[engine])
    assert apply(world.url, texts(CHANGED), "ann") == 2
    builders.pid(1, [engine])
    produce(world.bootstrap, world.topic, some(200, 300, at))
    until(lambda: complete(world, 2), "the version is answered by", alive=[engine])
    until(lambda: world.taken() == 300, "all taken", alive=[engine])
    engine.end()
    changed(world, CHANGED)
    check(world, world.watermark())
    left = [path for path in (world.folder / "storage").rglob("*.tmp")]
    assert not left


def test_an_engine_that_is_killed_meanwhile(
    make_world: Make, embedded_broker: str, start: Start, builders: Builders
) -> None:
    """Its builder ends with it. With the clock of the events nothing else comes then, and nobody waits for ever."""
    world = make_world(embedded_broker, shards=2, clock="event", checkpoint_every=1_000)
    at = now_us() - 5 * HOUR
    produce(world.bootstrap, world.topic, some(0, 100, at))
    engine = subprocess.Popen(
        [sys.executable, "-m", "tests.flows.held_builder", "engine", "hold", str(builders.folder), BUILD], cwd=ROOT,
        env=world.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        until(lambda: world.taken() == 100, "taken", alive=[engine])
        produce(world.bootstrap, world.topic, some(100, 200, at))
        until(lambda: world.taken() == 200, "every partition's first messages are saved", alive=[engine])
        produce(world.bootstrap, world.topic, some(200, 300, at))
        until(lambda: world.taken() == 300, "taken", alive=[engine])
        assert apply(world.url, texts(CHANGED), "ann") == 2
        builder = builders.pid(1, [engine])
    finally:
        engine.kill()
        engine.communicate()
    until(lambda: not _lives(builder), "the builder has ended, too")
    assert world.query("SELECT count(*) > 0 FROM tidegate.steps") == [(True,)], "there is something to run again"
    again = start(world.settings())
    until(lambda: complete(world, 2), "the version is answered by", alive=[again])
    again.end()
    changed(world, CHANGED)
    check(world, world.watermark() - 1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def being_built(world: World, start: Start, builders: Builders, events: Messages) -> Running:
    """An engine that has taken these 200 events, and whose builder of version 2 is held."""
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, events)
    until(lambda: world.taken() == 200, "taken", alive=[engine])
    assert apply(world.url, texts(CHANGED), "ann") == 2
    builders.pid(1, [engine])
    return engine


def goes_on(engine: Running, world: World, events: Messages) -> None:
    """The next engine takes 100 more, and version 2 up."""
    produce(world.bootstrap, world.topic, events)
    until(lambda: complete(world, 2), "the version is answered by", alive=[engine])
    until(lambda: world.taken() == 300, "all taken", alive=[engine])
    engine.end()
    changed(world, CHANGED)


def test_shards_become_others_meanwhile(
    make_world: Make, embedded_broker: str, start: Start, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine and its builder are shut out; the next engine builds from the new shards."""
    monkeypatch.setattr(beside, "command", lambda: builders.command(FOLLOW))
    world, at = make_world(embedded_broker, shards=2), now_us() - 5 * HOUR
    engine = being_built(world, start, builders, some(0, 200, at))
    reshard(world.settings(), 3, threading.Event())
    builders.release()
    until(lambda: not engine.alive, "the engine is shut out")
    assert isinstance(engine.error, TidegateError)
    goes_on(start(world.settings(shards=3)), world, some(200, 300, at))
    check(world, world.watermark())


def test_history_comes_from_a_file_meanwhile(
    make_world: Make, embedded_broker: str, start: Start, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above; the next engine builds from all of it."""
    monkeypatch.setattr(beside, "command", lambda: builders.command(FOLLOW))
    world, at = make_world(embedded_broker, shards=2), now_us() - 5 * HOUR
    engine = being_built(world, start, builders, some(200, 400, at))
    history = some(0, 200, at)
    file = world.folder / "history.ndjson"
    file.write_bytes(b"".join((value or b"") + b"\n" for _, value in history))
    done = backfill(world.settings(), [file], {}, None, True, threading.Event())
    assert (done.counts.taken, done.counts.refused) == (200, 0) and done.entered > 0
    assert deployments.version(world.url, 2).state == deployments.BUILDING
    builders.release()
    until(lambda: not engine.alive, "the engine is shut out")
    goes_on(start(world.settings()), world, some(400, 500, at))
    produce(world.bootstrap, world.topic, history)  # for the oracle, which reads the topic
    check(world, world.watermark())


def test_a_new_column_counts_from_the_switch_on(
    make_world: Make, embedded_broker: str, start: Start, builders: Builders, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted meanwhile is read with the old schema, so nobody knows its values in the new column."""
    monkeypatch.setattr(beside, "command", lambda: builders.command(FOLLOW))
    world = make_world(embedded_broker, shards=2)
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, [event("before", 1, now_us(), amount=20)])
    until(lambda: world.taken() == 1, "taken", alive=[engine])
    files = texts(DEFINITIONS) | {"schema.yml": SCHEMA + "  note: {type: text}\n"}
    files["noted.sql"] = "SELECT user_id FROM events WHERE note IS NULL GROUP BY user_id"
    assert apply(world.url, files, "ann", allow_incomplete=True) == 2
    builders.pid(1, [engine])
    produce(world.bootstrap, world.topic, [event("meanwhile", 2, now_us(), amount=20)])
    until(lambda: world.taken() == 2, "the old version counts", alive=[engine])
    builders.release()
    begins = until(lambda: (one := complete(world, 2)) and one.begins, "the version is answered by", alive=[engine])
    assert world.query("SELECT complete_since FROM tidegate.definitions WHERE name = 'noted'") == [(begins,)]
    produce(world.bootstrap, world.topic, [event("after", 3, now_us(), amount=20)])
    until(lambda: world.taken() == 3, "taken", alive=[engine])
    engine.end()
    members = world.members()
    assert {user for segment, user in members if segment == "noted"} == {"after"}
    assert {user for segment, user in members if segment == "buyers"} == {"before", "meanwhile", "after"}


def test_several_hosts(
    make_world: Make, embedded_broker: str, tidegate: Callable[..., "subprocess.Popen[str]"]
) -> None:
    """Started by hand with -i and -a: each process ends in order for the switch, and all are started again."""
    world = make_world(embedded_broker, shards=4)
    at = now_us() - 5 * HOUR

    def cluster() -> list["subprocess.Popen[str]"]:
        probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        addresses = ";".join(f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes)
        for probe in probes:
            probe.close()
        return [tidegate(world.environment(), "-i", str(number), "-a", addresses) for number in range(2)]

    produce(world.bootstrap, world.topic, some(0, 200, at))
    hosts = cluster()
    until(lambda: world.taken() == 200, "taken", alive=hosts, timeout_s=120)
    assert apply(world.url, texts(CHANGED), "ann") == 2
    said = [ended(host, code=75, number=None) for host in hosts]
    assert complete(world, 2), said
    hosts = cluster()
    produce(world.bootstrap, world.topic, some(200, 300, at))
    until(lambda: world.taken() == 300, "all taken", alive=hosts, timeout_s=120)
    until(lambda: deployments.version(world.url, 2).waited, "events are taken again", alive=hosts)
    for host in hosts:
        host.send_signal(signal.SIGTERM)
    for host in hosts:
        ended(host, number=None)
    changed(world, CHANGED)
    check(world, world.watermark())
