"""More and fewer shards of an engine that was killed, in mid-stream: the log is that of the events alone."""

import itertools
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows import reading, sink
from flows.clock import now_us
from flows.items import Work
from flows.reshard import reshard
from flows.run import run
from segmentation.errors import TidegateError
from segmentation.shards import shard_of
from storage import postgres
from storage import reshard as storage
from storage.checkpoints import CheckpointStore
from storage.commits import Fenced
from storage.engine_state import ShardsChanged
from tests.fix_kafka import consume_all, produce
from tests.flows.conftest import ROOT, Running, World, event, send_all, until
from tests.flows.oracle import folded, log_by_events, members_by_events

Make = Callable[..., World]
Spawn = Callable[..., "subprocess.Popen[str]"]
Messages = list[tuple[str | bytes | None, bytes | None]]
AT = 1_767_225_600_000_000
MINUTE = 60_000_000
USERS = 97


def minutes(first: int, last: int) -> Messages:
    """In order of time, every 50th of them broken."""
    out: Messages = []
    for i in range(first, last):
        user = f"u{i * 7919 % USERS}"
        if i % 50 == 25:
            out.append((user, b"{broken"))
        out.append(event(user, i, AT + i * MINUTE, "buy" if i % 3 else "view", i % 5))
    return out


def to(world: World, shards: int) -> None:
    done = reshard(world.settings(shards=1), shards, threading.Event())
    assert done.changed and sum(done.users) >= len(world.query("SELECT 1 FROM tidegate.users"))
    check_layout(world, shards)


def check_layout(world: World, shards: int) -> None:
    assert world.query("SELECT shards FROM tidegate.engine") == [(shards,)]
    assert [shard for shard, in world.query("SELECT shard FROM tidegate.shards ORDER BY 1")] == list(range(shards))
    placed = world.query("SELECT user_id, shard FROM tidegate.users")
    assert all(shard == shard_of(user, shards) for user, shard in placed)
    assert len(world.query("SELECT DISTINCT offsets, watermark FROM tidegate.shards")) == 1, "all at the same place"
    files = {path.name for path in (world.folder / "storage" / "checkpoints").iterdir()}
    assert files == {file for file, in world.query("SELECT checkpoint ->> 'file' FROM tidegate.shards")}


def check_log(world: World, end: int, messages: Messages) -> None:
    log = world.log()
    assert log == log_by_events(world, end)
    assert world.members() == folded(log) == members_by_events(world, end)
    counted = {name: count for name, count in world.query("SELECT segment, members FROM segments") if count}
    assert counted == dict(Counter(segment for segment, _ in world.members()))
    assert len(world.query("SELECT shard, position FROM tidegate.transitions GROUP BY 1, 2")) == len(
        world.query("SELECT user_id, seq FROM tidegate.transitions GROUP BY 1, 2")
    )
    in_order = """
        SELECT bool_and(position > before) IS NOT FALSE FROM (
            SELECT position, lag(position) OVER (PARTITION BY user_id ORDER BY seq) AS before
            FROM (SELECT DISTINCT user_id, seq, position FROM tidegate.transitions) t
        ) t
    """
    assert world.query(in_order) == [(True,)], "positions of a user go up, whatever shard he is in"
    broken = sum(value == b"{broken" for _, value in messages)
    assert world.query("SELECT reason, count(*) FROM tidegate.dead_letters GROUP BY 1") == [("not_json", broken)]
    send_all(world.settings())
    told: dict[bytes | None, list[int]] = {}
    for message in consume_all(world.bootstrap, world.settings().transitions_topic, 4):
        told.setdefault(message.key(), []).append(json.loads(message.value() or b"")["seq"])
    for user, seqs in told.items():
        assert list(dict.fromkeys(seqs)) == list(range(1, max(seqs) + 1)), f"{user!r}: {seqs}"
    assert {(user.decode(), max(seqs)) for user, seqs in told.items() if user} == {
        (user, seq) for user, seq in world.query("SELECT user_id, seq FROM tidegate.users_now WHERE seq > 0")
    }
    # A relay that was killed may have sent some twice.
    letters = {str(letter.headers()) for letter in consume_all(world.bootstrap, world.settings().dead_letter_topic, 1)}
    assert len(letters) == broken


def test_killed_while_shards_are_apart(make_world: Make, spawn: Spawn, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event", poll_rows=100, shards=4, checkpoint_every=0.3)
    messages = minutes(0, 3_000)
    parts = [messages[start : start + 600] for start in range(0, len(messages), 600)]
    for now, then in ((4, 8), (8, 4)):
        produce(world.bootstrap, world.topic, parts.pop(0))
        sent = len(messages) - sum(map(len, parts))
        engine = spawn(world.environment(shards=now), "-w", "2")
        until(lambda: world.taken() == sent, "all taken", alive=[engine])  # noqa: B023
        with closing(postgres.connect(world.url)) as connection:
            # Half of the shards cannot commit, the others go on.
            connection.execute("SELECT FROM tidegate.shards WHERE shard % 2 = 0 FOR UPDATE")
            produce(world.bootstrap, world.topic, parts.pop(0))
            until(lambda: apart(world), "apart", alive=[engine])
            engine.kill()
            engine.wait()
        command = [sys.executable, "-m", "console.main", "reshard", str(then), "--json"]
        done = subprocess.run(command, cwd=ROOT, env=world.environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["before"], said["shards"], said["changed"], sum(said["users"])) == (now, then, True, USERS)
        check_layout(world, then)
    produce(world.bootstrap, world.topic, [message for part in parts for message in part])
    end = AT + 4_000 * MINUTE
    run(world.settings(shards=4), until_end=True, finish_at=end)
    check_log(world, end, messages)


def apart(world: World) -> bool:
    return len(world.query("SELECT DISTINCT offsets FROM tidegate.shards")) > 1


#: Right after which call of what the process is killed.
KILLS = [
    ("flows.engine:take_over", 1),
    ("storage.writer:ShardWriter.write", 1),
    ("storage.checkpoints:CheckpointStore.save", 6),
    ("storage.reshard:place_users", 1),
    ("storage.reshard:store", 1),
]


def test_killed_at_any_point(make_world: Make, embedded_broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the one transaction the old shards are whole, after it the new ones."""
    world = make_world(embedded_broker, clock="event", shards=2)
    messages = minutes(0, 100 * len(KILLS))
    for number, (place, calls) in enumerate(KILLS):
        produce(world.bootstrap, world.topic, messages[number * 102 : number * 102 + 60])
        run(world.settings(), until_end=True)
        produce(world.bootstrap, world.topic, messages[number * 102 + 60 : number * 102 + 102])
        with monkeypatch.context() as patched:
            patched.setattr(sink.Writer, "_write", only_odd_shards)
            run(world.settings(), until_end=True)
        assert apart(world)
        killed = subprocess.run(
            [sys.executable, "-m", "tests.flows.killed_reshard", "5", place, str(calls)],
            cwd=ROOT, env=world.environment(), capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        there = world.query("SELECT shards FROM tidegate.engine")[0][0]
        assert there == (5 if place == "storage.reshard:store" else 2)
    with pytest.raises(ShardsChanged, match=r"`shards` says 2\. Set `shards` to 5, or end .* `tidegate reshard 2`"):
        run(world.settings(), until_end=True)
    end = AT + 900 * MINUTE
    run(world.settings(shards=5), until_end=True, finish_at=end)
    check_log(world, end, messages)
    to(world, 1)
    run(world.settings(shards=1), until_end=True, finish_at=end + MINUTE)
    check_layout(world, 1)
    check_log(world, end + MINUTE, messages)


def only_odd_shards(writer: sink.Writer, works: list[Work], original: Callable[..., None] = sink.Writer._write) -> None:
    """As if the process had been killed before the others' commit."""
    original(writer, [work for work in works if work.commit.shard % 2])


def test_events_ahead_of_the_clock_still_wait(
    make_world: Make, start: Callable[..., Running], embedded_broker: str
) -> None:
    world = make_world(embedded_broker, shards=3)
    ahead = now_us() + 4_000_000
    produce(world.bootstrap, world.topic, [event("now", 1, now_us(), amount=10), event("soon", 2, ahead, amount=10)])
    engine = start(world.settings())
    until(lambda: ("buyers", "now") in world.members(), "now is in", alive=[engine])
    until(lambda: world.taken() == 2, "both taken", alive=[engine])
    to(world, 4)
    until(lambda: not engine.alive, "the engine that still ran is shut out")
    assert isinstance(engine.error, Fenced)
    engine = start(world.settings(shards=4))
    until(lambda: ("buyers", "soon") in world.members(), "soon is in", alive=[engine])
    engine.end()
    times = world.query("SELECT user_id, effective_at FROM segment_transitions WHERE segment = 'buyers' AND entered")
    assert {user: round(at.timestamp() * 1e6) for user, at in times}["soon"] == ahead


def test_a_commit_whose_answer_is_lost(
    make_world: Make, embedded_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be done: no file that is needed then is deleted."""
    world = make_world(embedded_broker, clock="event", shards=3)
    messages = minutes(0, 100)
    produce(world.bootstrap, world.topic, messages[:60])
    run(world.settings(), until_end=True)
    stored = storage.store

    def lost(*arguments: Any) -> int:
        stored(*arguments)
        raise postgres.DatabaseLost("The connection to the database is gone.")

    monkeypatch.setattr(storage, "store", lost)
    with pytest.raises(TidegateError, match=r"is gone\. Run `tidegate reshard 2` again"):
        reshard(world.settings(), 2, threading.Event())
    assert not reshard(world.settings(), 2, threading.Event()).changed
    produce(world.bootstrap, world.topic, messages[60:])
    end = AT + 200 * MINUTE
    run(world.settings(shards=2), until_end=True, finish_at=end)
    check_layout(world, 2)
    check_log(world, end, messages)


@pytest.mark.parametrize("error", [Fenced("an engine came in between"), KeyboardInterrupt()])
def test_what_was_saved_in_vain_is_deleted(
    make_world: Make, embedded_broker: str, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    world = make_world(embedded_broker, clock="event", shards=3)
    produce(world.bootstrap, world.topic, minutes(0, 50))
    run(world.settings(), until_end=True)
    before = files(world)

    def fails(*_: Any) -> Any:
        raise error

    save, saved = CheckpointStore.save, itertools.count(1)
    if isinstance(error, Fenced):
        monkeypatch.setattr(storage, "store", fails)
    else:
        monkeypatch.setattr(CheckpointStore, "save", lambda *all_: save(*all_) if next(saved) < 3 else fails())
    with pytest.raises(type(error)):
        reshard(world.settings(), 5, threading.Event())
    assert files(world) == before


def files(world: World) -> set[Path]:
    return {path for path in (world.folder / "storage").rglob("*") if path.is_file()}


def test_before_the_first_event(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event", shards=3)
    run(world.settings(), until_end=True)
    to(world, 5)
    messages = minutes(0, 100)
    produce(world.bootstrap, world.topic, messages)
    end = AT + 200 * MINUTE
    run(world.settings(shards=5), until_end=True, finish_at=end)
    check_log(world, end, messages)


def test_a_topic_that_ends_too_early_is_said(
    make_world: Make, embedded_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.3)
    world = make_world(embedded_broker, clock="event", shards=2)
    produce(world.bootstrap, world.topic, minutes(0, 50))
    run(world.settings(), until_end=True)
    with closing(postgres.connect(world.url, autocommit=True)) as connection:
        connection.execute("""UPDATE tidegate.shards SET offsets = offsets || '{"1": 5000}' WHERE shard = 1""")
    with pytest.raises(TidegateError, match=r"partition 1 of topic .* ends before offset 5000"):
        reshard(world.settings(), 4, threading.Event())
    assert world.query("SELECT shards, (SELECT count(*) FROM tidegate.shards) FROM tidegate.engine") == [(2, 2)]


def test_as_many_as_there_are(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event", shards=3)
    with pytest.raises(TidegateError, match="holds no membership yet"):
        reshard(world.settings(), 3, threading.Event())
    produce(world.bootstrap, world.topic, minutes(0, 20))
    run(world.settings(), until_end=True)
    before = world.query("SELECT * FROM tidegate.shards ORDER BY 1")
    done = reshard(world.settings(), 3, threading.Event())
    assert not done.changed and done.moved == 0 and sum(done.users) == 20
    assert world.query("SELECT * FROM tidegate.shards ORDER BY 1") == before
