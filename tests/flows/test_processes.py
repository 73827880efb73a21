"""The flow in processes of their own: killed in mid-stream, stopped by signals, and as a cluster of two."""

import signal
import socket
import subprocess
import time
from collections.abc import Callable

import pytest

from flows.clock import now_us
from tests.fix_kafka import produce
from tests.flows.conftest import World, until
from tests.flows.oracle import folded, settled_members
from tests.flows.test_flow import some_events
from tests.flows.traffic import Stream

Make = Callable[..., World]
Spawn = Callable[..., "subprocess.Popen[str]"]
MESSAGES, USERS = 30_000, 2_000


def stop(process: "subprocess.Popen[str]", number: signal.Signals = signal.SIGTERM) -> str:
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("broker", ["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def test_killed_in_mid_stream(make_world: Make, spawn: Spawn, broker: str, request: pytest.FixtureRequest) -> None:
    world = make_world(request.getfixturevalue(broker), checkpoint_every=0.5, poll_rows=500)
    end = now_us()
    stream = Stream(world, some_events(MESSAGES, USERS, end), parts=4)
    taken = 0
    for _ in range(3):
        process = spawn(world.environment())
        taken = until(lambda: (n := world.taken()) > taken + 2_000 and n, "some taken", alive=[process])  # noqa: B023
        process.kill()
        process.wait()
        stream.go_on()
    stream.finish()
    process = spawn(world.environment())
    until(lambda: world.taken() == MESSAGES, "all taken", alive=[process])
    until(lambda: world.watermark() > end, "the watermark is past the last event", alive=[process])
    stop(process)
    assert folded(world.log()) == world.members()
    assert world.members() == settled_members(world)
    assert world.query("SELECT count(*) FROM tidegate.users") == [(USERS,)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(make_world: Make, spawn: Spawn, embedded_broker: str, number: signal.Signals) -> None:
    world = make_world(embedded_broker)
    produce(world.bootstrap, world.topic, some_events(100, 10, now_us()))
    process = spawn(world.environment())
    until(lambda: world.taken() == 100, "taken", alive=[process])
    said = stop(process, number)
    assert "Traceback" not in said and "panicked" not in said, said
    assert all(step == saved for step, saved in world.query(
        "SELECT step, (checkpoint ->> 'step')::bigint FROM tidegate.shards"
    ))  # fmt: skip


def test_two_processes_are_as_one(make_world: Make, spawn: Spawn, embedded_broker: str) -> None:
    world = make_world(embedded_broker, partitions=5, poll_rows=500)
    end = now_us()
    stream = Stream(world, some_events(MESSAGES, USERS, end))
    processes = cluster(world, spawn)
    until(lambda: world.taken() > 3_000, "some taken", alive=processes)
    # One is killed; the other ends or is ended, and both are started again.
    processes[1].kill()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
    processes = cluster(world, spawn)
    stream.finish()
    until(lambda: world.taken() == MESSAGES, "all taken", alive=processes)
    until(lambda: world.watermark() > end, "the watermark is past the last event", alive=processes)
    writers = world.query(
        "SELECT count(DISTINCT pid) FROM pg_stat_activity WHERE application_name = 'tidegate engine' "
        "AND datname = current_database()"
    )
    assert writers[0][0] >= 2, "both processes write"
    # A signal to one ends all.
    said = stop(processes[0])
    other, _ = processes[1].communicate(timeout=60)
    assert processes[1].returncode == 75, other  # it was not told itself: its own service manager starts it again
    assert "panicked" not in said + other, said + other
    assert folded(world.log()) == world.members()
    assert world.members() == settled_members(world)


@pytest.mark.parametrize("number", [0, 1])
def test_a_stop_while_the_others_are_waited_for(
    make_world: Make, spawn: Spawn, embedded_broker: str, number: int
) -> None:
    world = make_world(embedded_broker)
    addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(2))
    process = spawn(world.environment(), "-i", str(number), "-a", addresses)
    until(
        lambda: (2,) in world.query("SELECT token FROM tidegate.shards"), "the shards are taken over", alive=[process]
    )
    began = time.monotonic()
    stop(process)
    assert time.monotonic() - began < 15, "a flow that never began has nothing to drain"


def cluster(world: World, spawn: Spawn) -> "list[subprocess.Popen[str]]":
    addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(2))
    return [spawn(world.environment(), "-i", str(number), "-a", addresses) for number in range(2)]


def test_an_error_is_one_line_and_a_code(make_world: Make, spawn: Spawn, embedded_broker: str) -> None:
    world = make_world(embedded_broker)
    process = spawn(world.environment(definitions="/nowhere"))
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert said.strip().splitlines()[-1].startswith("error: /nowhere") and "Traceback" not in said, said


def test_a_replaced_engine_ends_with_2(make_world: Make, spawn: Spawn, embedded_broker: str) -> None:
    world = make_world(embedded_broker)
    produce(world.bootstrap, world.topic, some_events(100, 10, now_us()))
    first = spawn(world.environment())
    until(lambda: world.taken() == 100, "taken", alive=[first])
    second = spawn(world.environment())
    said, _ = first.communicate(timeout=60)
    assert first.returncode == 2 and "taken over by another engine" in said.splitlines()[-1], said
    stop(second)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


