"""Very many users leave at one instant: they do so in slices, and a kill between two of them changes nothing."""

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest

from flows.clock import now_us
from storage import postgres, queries
from storage.reader import fetch
from tests.fix_kafka import produce
from tests.flows.conftest import ROOT, World, ended, event, until, write_definitions
from tests.flows.oracle import folded, log_by_events, settled_members

SECOND = 1_000_000
USERS = 400
WAVE = (
    "SELECT user_id FROM events GROUP BY user_id "
    "HAVING count(*) FILTER (WHERE event_time > now() - INTERVAL '90 seconds') >= 1"
)


def run(world: World, number: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.flows.killed_wave", str(number)], cwd=ROOT, env=world.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.mark.timeout(240)
def test_a_kill_within_a_wave(make_world: Callable[..., World], embedded_broker: str) -> None:
    world = make_world(embedded_broker)
    write_definitions(world.folder / "definitions", {"wave": WAVE})
    for name in ("buyers", "recent", "gone", "hour", "away"):
        (world.folder / "definitions" / f"{name}.sql").unlink()
    at = now_us() - 100 * SECOND
    leaves = at + 90 * SECOND
    produce(world.bootstrap, world.topic, [event(f"u{n}", n, at) for n in range(USERS)])
    gone = 0
    for number in (3, 2):
        process = run(world, number)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
        assert process.returncode == -signal.SIGKILL
        inside = {user for _, user in world.members()}
        assert USERS > len(inside) > 0 and USERS - len(inside) > gone
        gone = USERS - len(inside)
        # Nothing is said of the instant itself before all have left, but of those who have.
        assert world.watermark() == leaves
        with closing(postgres.connect(world.url, autocommit=True)) as connection:
            for answer in fetch(connection, queries.check([(f"u{n}", "wave") for n in range(USERS)])):
                said = (True, leaves - 1) if answer.user_id in inside else (False, leaves)
                assert (answer.member, answer.as_of) == said
    # One who is still in and one who is not come again, while the engine is away.
    back = [min(inside), min({f"u{n}" for n in range(USERS)} - inside)]
    produce(world.bootstrap, world.topic, [event(user, f"again-{user}", now_us()) for user in back])
    process = run(world, 0)
    until(lambda: world.members() == {("wave", user) for user in back}, "all others have left", alive=[process])
    until(lambda: world.watermark() > leaves, "time goes on", alive=[process])
    ended(process)
    reached = world.watermark() - 1
    assert world.log() == log_by_events(world, max(reached, now_us()))
    assert folded(world.log()) == world.members() == settled_members(world)
    left = world.query(
        "SELECT count(*), min(effective_at) = max(effective_at) FROM segment_transitions WHERE NOT entered"
    )
    assert left == [(USERS, True)]
