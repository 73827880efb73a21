"""`tidegate run --workers N`: real processes of the engine under their supervisor."""

import random
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime

import psutil
import pytest

from flows.clock import now_us
from tests.fix_kafka import produce
from tests.flows.conftest import World, ended, until, write_definitions
from tests.flows.oracle import folded, members_by_events, settled_members
from tests.flows.test_flow import some_events
from tests.flows.traffic import Stream, grow

Make = Callable[..., World]
Tidegate = Callable[..., "subprocess.Popen[str]"]
MESSAGES, USERS = 20_000, 1_000


def test_lost_processes_come_back_by_themselves(make_world: Make, tidegate: Tidegate, embedded_broker: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    draw = random.Random(seed)
    world = make_world(embedded_broker, partitions=5, poll_rows=500, checkpoint_every=0.5)
    end = now_us()
    stream = Stream(world, some_events(MESSAGES, USERS, end), parts=4)
    run = tidegate(world.environment(), "--workers", "2")
    taken = 0
    members: list[psutil.Process] = []
    for _ in range(2):
        members = until(lambda: _renewed(run, members), "two other processes", alive=[run])  # noqa: B023
        taken = until(lambda: (n := world.taken()) > taken + 1_000 and n, "some taken", alive=[run])  # noqa: B023
        draw.choice(members).kill()
        stream.go_on()
    # Their supervisor too: what it started ends with it, and another one goes on.
    members = until(lambda: _renewed(run, members), "two other processes", alive=[run])
    run.kill()
    psutil.wait_procs(members, timeout=60)
    assert not any(member.is_running() for member in members)
    run = tidegate(world.environment(), "--workers", "2")
    stream.finish()
    _until_counted(world, run, end, MESSAGES)
    said = ended(run)
    assert "Traceback" not in said, said
    assert folded(world.log()) == world.members() == settled_members(world)
    _check_saved(world)


def test_a_setting_that_changed(make_world: Make, tidegate: Tidegate, embedded_broker: str) -> None:
    """Refused by the processes, told once by the supervisor; a rebuild is done before the cluster starts."""
    world = make_world(embedded_broker, clock="event")
    at = 1_767_225_600_000_000
    produce(world.bootstrap, world.topic, some_events(3_000, 200, at))
    to_the_end = ("--until-end", "--at", datetime.fromtimestamp(at / 1e6, UTC).isoformat())
    ended(tidegate(world.environment(), *to_the_end), number=None)
    said = ended(tidegate(world.environment(lateness=9), "--workers", "2"), code=2, number=None)
    assert said.count("lateness was 0.25, now 9") == 1 and "Traceback" not in said, said
    write_definitions(
        world.folder / "definitions",
        {"buyers": "SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id HAVING sum(amount) >= 30"},
    )
    ended(tidegate(world.environment(), "--workers", "2", *to_the_end, "--rebuild"), number=None)
    assert world.members() == members_by_events(world, at) == folded(world.log())


@pytest.mark.kafka
def test_rescaled_and_grown_under_traffic(make_world: Make, tidegate: Tidegate, apache_kafka: str) -> None:
    """1, 2, 4 processes and back to 1 over one stream, while the topic gets more partitions twice."""
    world = make_world(apache_kafka, partitions=2, poll_rows=500, checkpoint_every=0.5)
    end = now_us()
    stream = Stream(world, some_events(MESSAGES, USERS, end), parts=8)
    for workers, partitions, last in ((1, 4, False), (2, 6, False), (4, 6, False), (1, 6, True)):
        taken = world.taken()
        stream.go_on()
        run = tidegate(world.environment(), "--workers", str(workers))
        until(lambda: world.taken() > taken + 500, "some taken", alive=[run])  # noqa: B023
        if partitions > world.partitions:
            grow(world, partitions)
            stream.go_on()
            until(lambda: _partitions_taken(world) == partitions, "the new ones are read", alive=[run])  # noqa: B023
        if last:
            stream.finish()
            _until_counted(world, run, end, MESSAGES)
        said = ended(run)
        assert "Traceback" not in said and "panicked" not in said, said
        if last:
            assert folded(world.log()) == world.members() == settled_members(world)
        _check_saved(world)


def _renewed(run: "subprocess.Popen[str]", before: list[psutil.Process]) -> list[psutil.Process]:
    """Its two processes, if they are others than before."""
    found = psutil.Process(run.pid).children()
    return found if len(found) == 2 and not set(found) & set(before) else []


def _until_counted(world: World, run: "subprocess.Popen[str]", end: int, messages: int) -> None:
    until(lambda: world.taken() == messages, "all taken", alive=[run])
    until(lambda: world.watermark() > end, "the watermark is past the last event", alive=[run])


def _check_saved(world: World) -> None:
    """There is nothing that the next start would have to run again."""
    assert world.query("SELECT count(*) FROM tidegate.steps") == [(0,)]
    assert all(step == saved for step, saved in world.query(
        "SELECT step, coalesce((checkpoint ->> 'step')::bigint, 0) FROM tidegate.shards"
    ))  # fmt: skip


def _partitions_taken(world: World) -> int:
    """Those of which every shard has a message, or the end, behind it."""
    rows = world.query("SELECT min((SELECT count(*) FROM jsonb_object_keys(offsets))) FROM tidegate.shards")
    return int(rows[0][0])
