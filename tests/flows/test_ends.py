"""How a process of the engine ends: when it is told to, when others are lost, and when partitions come."""

import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from flows import metrics, signals
from flows.clock import now_us
from flows.embedded_broker import EmbeddedBroker
from flows.engine import Engine
from flows.errors import StartAgain
from flows.placement import Placement
from flows.progress import Progress
from flows.run import Renewal, _error
from segmentation.errors import TidegateError
from segmentation.events.rows import PROFILES
from storage.commits import Fenced
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, ended, event, until
from tests.flows.oracle import folded, settled_members
from tests.flows.test_flow import HOUR, some_events
from tests.flows.traffic import grow
from tests.grpc.proxy import Proxy

Make = Callable[..., World]
Tidegate = Callable[..., "subprocess.Popen[str]"]


@pytest.mark.parametrize("how", ["cut", "freeze"])
def test_told_to_end_while_the_database_is_away(
    make_world: Make, tidegate: Tidegate, embedded_broker: str, how: str
) -> None:
    """It ends in order, and what it could not store comes at the next start."""
    world = make_world(embedded_broker)
    end = now_us()
    produce(world.bootstrap, world.topic, some_events(2_000, 300, end, seed=1))
    with Proxy(world.url) as proxy:
        run = tidegate(world.environment(database_url=proxy.url))
        until(lambda: world.taken() == 2_000, "the first taken", alive=[run])
        getattr(proxy, how)()
        produce(world.bootstrap, world.topic, some_events(20_000, 300, end, seed=2))
        _timed(run, f"database {how}")
    run = tidegate(world.environment())
    until(lambda: world.taken() == 22_000, "all taken", alive=[run])
    until(lambda: world.watermark() > end, "the watermark is past the last event", alive=[run])
    ended(run)
    assert folded(world.log()) == world.members() == settled_members(world)


def test_told_to_end_while_the_broker_is_away(make_world: Make, tidegate: Tidegate) -> None:
    with EmbeddedBroker() as broker:
        world = make_world(broker.bootstrap)
        produce(world.bootstrap, world.topic, some_events(2_000, 300, now_us(), seed=1))
        run = tidegate(world.environment())
        until(lambda: world.taken() == 2_000, "the first taken", alive=[run])
        os.kill(broker.pid, signal.SIGSTOP)
        _timed(run, "broker stopped")
        os.kill(broker.pid, signal.SIGCONT)
    assert world.query("SELECT count(*) FROM tidegate.steps") == [(0,)], "what was taken is saved all the same"


def _timed(run: "subprocess.Popen[str]", what: str) -> None:
    began = time.monotonic()
    said = ended(run)
    print(f"{what}: ended {time.monotonic() - began:.1f} s after SIGTERM")
    assert "Traceback" not in said, said


def test_a_port_that_is_taken(make_world: Make, tidegate: Tidegate, embedded_broker: str) -> None:
    world = make_world(embedded_broker)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = ended(tidegate(world.environment(), "-i", "0", "-a", f"{address};{address}"), code=75, number=None)
    assert "Address already in use" in said


def test_who_does_not_notice_that_another_is_lost(make_world: Make, tidegate: Tidegate, embedded_broker: str) -> None:
    """A host that vanished closes no connection. Another process in its place is seen in the database."""
    world = make_world(embedded_broker)
    produce(world.bootstrap, world.topic, some_events(1_000, 100, now_us(), seed=1))
    addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(2))
    first, lost = (tidegate(world.environment(), "-i", str(n), "-a", addresses) for n in range(2))
    until(lambda: world.taken() == 1_000, "taken", alive=[first, lost])
    lost.send_signal(signal.SIGSTOP)
    back = tidegate(world.environment(), "-i", "1", "-a", addresses)
    said = ended(first, code=75, number=None)
    assert "another process of the cluster was lost and is back" in said, said
    first = tidegate(world.environment(), "-i", "0", "-a", addresses)
    produce(world.bootstrap, world.topic, some_events(1_000, 100, now_us(), seed=2))
    until(lambda: world.taken() == 2_000, "all taken", alive=[first, back])
    ended(first)
    ended(back, code=75, number=None)
    assert folded(world.log()) == world.members()


def test_processes_that_were_all_replaced(make_world: Make, tidegate: Tidegate, embedded_broker: str) -> None:
    """One of them finds out when it writes. None asks to be started again: it would shut the new engine out."""
    world = make_world(embedded_broker)
    produce(world.bootstrap, world.topic, some_events(1_000, 100, now_us(), seed=1))
    addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(2))
    old = [tidegate(world.environment(), "-i", str(n), "-a", addresses) for n in range(2)]
    until(lambda: world.taken() == 1_000, "taken", alive=old)
    new = tidegate(world.environment())
    for process in old:
        assert "was taken over by another engine" in ended(process, code=2, number=None)
    produce(world.bootstrap, world.topic, some_events(1_000, 100, now_us(), seed=2))
    until(lambda: world.taken() == 2_000, "all taken", alive=[new])
    ended(new)
    assert folded(world.log()) == world.members() == settled_members(world)


def test_who_only_hears_that_another_has_ended() -> None:
    """Another engine has all the shards, but this process has not written since."""
    fenced = Fenced("taken over")

    def error(processes: int, fatal: Exception | None, again: str | None) -> Exception | None:
        return _error(cast(Engine, SimpleNamespace(
            fatal=fatal, again=again, placement=Placement(4, 1, 0, processes), shut_out=lambda: fenced,
        )))  # fmt: skip

    lost, serious = StartAgain("the flow broke off"), TidegateError("wrong definitions")
    assert error(2, lost, None) is fenced and error(2, None, "another process ends") is fenced
    assert error(1, lost, None) is lost and error(1, None, "more partitions") is None
    assert error(2, serious, None) is serious and error(2, None, None) is None


def test_tokens_of_a_cluster() -> None:
    engine = SimpleNamespace(
        takeovers={0: SimpleNamespace(token=3)}, again=None, started=threading.Event(),
        fail=lambda error: failed.append(error),
    )  # fmt: skip
    failed: list[Exception] = []
    watch = Renewal(cast(Engine, engine))

    def seen(*tokens: int) -> bool:
        return watch({shard: Progress({}, None, token) for shard, token in enumerate(tokens)})

    assert not seen(3, 1) and not seen(3, 2), "the others take their shards over before the flow begins"
    engine.started.set()
    assert not seen(3, 3), "this may have been read before it began"
    assert not seen(3, 4) and not seen(3, 4)
    assert seen(3, 5) and getattr(failed[0], "passing", False)
    assert Renewal(cast(Engine, engine))({0: Progress({}, None, 4)}) and isinstance(failed[1], Fenced)
    assert Renewal(cast(Engine, engine))({}) and isinstance(failed[2], Fenced), "there are no shards any more"
    engine.again = "a version of the definitions is to be switched to"
    assert Renewal(cast(Engine, engine))({0: Progress({}, None, 4)}) and len(failed) == 3, "that is the switch"


def test_the_others_never_come(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: queue.SimpleQueue[int] = queue.SimpleQueue()
    monkeypatch.setattr(signals, "_end_now", codes.put)
    monkeypatch.setattr(signals, "JOIN_SECONDS", 0.01)
    ending = signals.Ending(threading.Event(), threading.Event())
    ending.joining()
    assert codes.get(timeout=60) == 75


@pytest.mark.kafka
def test_new_partitions_are_read_from_their_beginning(
    make_world: Make, apache_kafka: str, start: Callable[..., Running]
) -> None:
    """What came in them before anybody looked is counted: late where the watermark was further, repeats once."""
    world = make_world(apache_kafka, partitions=2, lateness=60)
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, [event("a", "a1", now_us() - HOUR, amount=1)])
    until(lambda: world.taken() == 1, "taken", alive=[engine])
    until(lambda: world.watermark() > now_us() - 70_000_000, "the watermark follows the clock", alive=[engine])
    passed = world.watermark()
    grow(world, 4)
    late = event("late", "l1", passed - HOUR // 2, amount=10)
    produce(world.bootstrap, world.topic, [late, late, ("x", b"{oops")], partition=3)
    now = now_us()
    produce(world.bootstrap, world.topic, [event("new", "n1", now, amount=10)], partition=2)
    until(lambda: world.taken() == 5, "all taken, in all partitions", alive=[engine])
    engine.end()
    effective = dict(world.query("SELECT user_id, (extract(epoch FROM effective_at) * 1e6)::bigint FROM "
                                 "segment_transitions WHERE segment = 'buyers' AND entered"))  # fmt: skip
    assert effective.keys() == {"late", "new"}
    assert effective["late"] >= passed, "late: it counts from when it became known"
    assert effective["new"] == now, "on time: it counts from its own"
    assert world.query("SELECT reason FROM tidegate.dead_letters") == [("not_json",)]
    assert world.query("SELECT count(*) FROM tidegate.steps") == [(0,)]


@pytest.mark.kafka
def test_new_partitions_of_profiles_are_read_from_their_beginning(
    make_world: Make, apache_kafka: str, start: Callable[..., Running]
) -> None:
    """A tombstone in one that nobody has looked at erases its user; lag is shown for all."""
    world = make_world(apache_kafka, partitions=1)
    topic = world.values["profiles_topic"]
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, [event("gone", 1, now_us(), amount=10), event("stays", 2, now_us())])
    until(lambda: ("buyers", "gone") in world.members(), "he is in", alive=[engine])
    grow(world, 4, topic)
    produce(world.bootstrap, topic, [("gone", None)], partition=3)
    until(lambda: world.query("SELECT user_id FROM tidegate.users") == [("stays",)], "he is erased", alive=[engine])
    lags = metrics.values
    until(lambda: ({"partition": "profiles-3"}, 0.0) in lags("tidegate_lag_messages"), "no lag", alive=[engine])
    engine.end()
    offsets = world.query(f"SELECT DISTINCT offsets ->> '{PROFILES + 3}' FROM tidegate.shards")
    assert offsets == [("1",)], "every shard has read it"


@pytest.mark.kafka
@pytest.mark.parametrize("which", ["events_topic", "profiles_topic"])
def test_processes_of_several_hosts_end_when_partitions_come(
    make_world: Make, tidegate: Tidegate, apache_kafka: str, which: str
) -> None:
    world = make_world(apache_kafka, partitions=2)
    topic = world.values[which]
    produce(world.bootstrap, world.topic, some_events(1_000, 100, now_us(), seed=1))
    addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(2))
    processes = [tidegate(world.environment(), "-i", str(n), "-a", addresses) for n in range(2)]
    until(lambda: world.taken() == 1_000, "taken", alive=processes)
    grow(world, 3, topic)
    said = [ended(process, code=75, number=None) for process in processes]
    assert f"topic {topic} has 3 partitions now and had 2" in said[0], said[0]
    assert f"another process of the cluster ends: topic {topic} has 3 partitions now" in said[1], said[1]
    assert world.query("SELECT count(*) FROM tidegate.steps") == [(0,)], "they ended in order"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
