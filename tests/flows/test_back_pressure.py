"""A database that stands still: what the engine has in memory stays bounded, and afterwards it catches up."""

import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import psutil
import pytest

from flows import backlog, metrics, sink, source
from flows import engine as engine_module
from flows.clock import now_us
from flows.items import Work
from flows.pace import Pace
from segmentation.evaluate.step import Transitions
from storage import postgres
from storage.commits import Commit, DeadLetter
from storage.writer import ShardWriter, Written
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, until
from tests.flows.counting import read, runner
from tests.flows.oracle import folded, settled_members
from tests.flows.test_flow import some_events
from tests.grpc.proxy import Proxy

Make = Callable[..., World]
Start = Callable[..., Running]
Spawn = Callable[..., "subprocess.Popen[str]"]

WAITING = 200_000
#: What the engine may grow by while they wait, and until they are counted, which they are remembered for.
STALLED_MB, COUNTED_MB = 40, 100


def test_the_memory_does_not_follow_what_waits(make_world: Make, spawn: Spawn, embedded_broker: str) -> None:
    world = make_world(embedded_broker, poll_rows=1_000)
    produce(world.bootstrap, world.topic, some_events(1_000, 2_000, now_us() - 10_000_000, seed=2))
    with Proxy(world.url) as proxy:
        options = '{"queued.max.messages.kbytes": "1024"}'
        process = spawn(world.environment(database_url=proxy.url, kafka_options=options))
        until(lambda: world.taken() == 1_000, "the first taken", alive=[process])
        memory = psutil.Process(process.pid).memory_info
        before, grown = memory().rss, 0

        def grow() -> bool:
            nonlocal grown
            before_that, grown = grown, max(grown, memory().rss - before)
            return grown > before_that

        proxy.freeze()
        end = now_us()
        produce(world.bootstrap, world.topic, some_events(WAITING, 2_000, end))
        still = 0
        while still < 20:  # two seconds without growing
            threading.Event().wait(0.1)
            still = 0 if grow() else still + 1
        assert process.poll() is None and world.taken() == 1_000
        stalled = grown
        proxy.thaw()
        until(lambda: (grow(), world.taken() == WAITING + 1_000)[1], "all counted", 180, alive=[process])
        print(f"grown by {stalled >> 20} MB while {WAITING:,} events waited, by {grown >> 20} MB when all were counted")
        assert stalled < STALLED_MB << 20 and grown < COUNTED_MB << 20
        until(lambda: world.watermark() > end, "time goes on", alive=[process])
        process.terminate()
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert folded(world.log()) == world.members() == settled_members(world)


def test_reads_without_messages_do_not_pile_up(
    make_world: Make, embedded_broker: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one worker waits for the database, another one's idle partitions would go on sending it the time."""
    ticks = 0
    may_tick = Pace.may_tick

    def counting(pace: Pace) -> bool:
        nonlocal ticks
        ticks += (may := may_tick(pace))
        return may

    monkeypatch.setattr(Pace, "may_tick", counting)
    monkeypatch.setattr(engine_module, "TICKS_IN_FLIGHT", 15)
    monkeypatch.setattr(sink, "WAITING_STEPS", 1)
    world = make_world(embedded_broker, partitions=4)
    produce(world.bootstrap, world.topic, some_events(100, 20, now_us()))
    engine = start(world.settings(), threads=2)
    until(lambda: world.taken() == 100, "taken", alive=[engine])
    with closing(postgres.connect(world.url)) as connection, connection.transaction():
        connection.execute("LOCK TABLE tidegate.shards IN ACCESS EXCLUSIVE MODE")
        stalled, seen = now_us(), -1
        while seen != (seen := ticks):
            threading.Event().wait(0.5)
        assert ticks > 0, "there were some"
    until(lambda: world.watermark() > stalled, "time goes on", alive=[engine])
    engine.end()


def test_what_waits_for_kafka_is_counted(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker)
    end = threading.Event()
    watch = threading.Thread(target=backlog.watch_outbox, args=(world.settings(), end))
    world.execute(
        "INSERT INTO tidegate.outbox (shard, kind, key) SELECT 0, 'transition', 'u' FROM generate_series(1, 1234)"
    )
    watch.start()
    try:
        until(lambda: ({}, 1234.0) in metrics.values("tidegate_outbox_messages"), "they are counted")
    finally:
        end.set()
        watch.join()


def test_ticks_wait_for_the_slowest_shard() -> None:
    pace = Pace([0, 1], 10, 1_000, ticks_in_flight=3)
    pace.reached(0, {}, 5)
    pace.reached(1, {}, 7)
    assert [pace.may_tick() for _ in range(5)] == [True] * 3 + [False] * 2
    pace.reached(0, {}, 6)
    pace.reached(1, {}, 7)  # seen before
    assert not pace.may_tick()
    pace.reached(1, {}, 8)
    assert [pace.may_tick() for _ in range(4)] == [True] * 3 + [False]


class Value:
    """As much of a Kafka message as is looked at."""

    def __init__(self, offset: int, size: int) -> None:
        self._offset, self._size = offset, size

    def offset(self) -> int:
        return self._offset

    def __len__(self) -> int:
        return self._size


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([], [[]]), ([5], [[5]]), ([50], [[50]]), ([4, 4, 4], [[4, 4], [4]]), ([50, 1, 50], [[50], [1], [50]]),
     ([0, 0, 10, 0], [[0, 0, 10, 0]])],
)  # fmt: skip
def test_a_read_of_large_messages_becomes_several(
    sizes: list[int], expected: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "POLL_BYTES", 10)
    messages: Any = [Value(offset, size) for offset, size in enumerate(sizes)]
    found = list(source._portions(messages))
    assert [[len(message) for message in some] for some, _, _ in found] == expected
    assert [size for _, size, _ in found] == [sum(some) for some in expected]
    assert [last for _, _, last in found] == [False] * (len(expected) - 1) + [True]


def test_no_item_of_a_read_is_left_out_or_told_twice(
    make_world: Make, embedded_broker: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "POLL_BYTES", 1_000)
    pieces: list[Any] = []
    portions = source._portions

    def counting(messages: Any) -> Any:
        found = list(portions(messages))
        pieces.extend(found)
        return found

    monkeypatch.setattr(source, "_portions", counting)
    world = make_world(embedded_broker, partitions=2)
    produce(world.bootstrap, world.topic, some_events(2_000, 50, now_us()))
    engine = start(world.settings())
    until(lambda: world.taken() == 2_000, "taken", alive=[engine])
    engine.end()
    assert len(pieces) > 200
    assert folded(world.log()) == world.members() == settled_members(world)


def test_steps_are_cut_by_bytes_too() -> None:
    shard = runner()
    reads = [read(offset, size=12 << 20) for offset in range(7)]
    works = shard.take(reads, 0)
    assert [len(work.commit.parts) for work in works] == [3, 3, 1]
    assert [work.size >> 20 for work in works] == [36, 36, 12]


def letter(offset: int, size: int) -> DeadLetter:
    return DeadLetter("events", 0, offset, b"k", b"x" * size, [], "not_json", "")


def test_dead_letters_are_committed_in_portions(
    make_world: Make, embedded_broker: str, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink, "COMMIT_BYTES", 100_000)
    monkeypatch.setattr(source, "POLL_BYTES", 50_000)
    monkeypatch.setattr("flows.shard_runner.STEP_BYTES", 50_000)
    monkeypatch.setattr("storage.letters.LETTER_BYTES", 20_000)
    world = make_world(embedded_broker, partitions=1)
    bad = [(f"u{number}", b"{" + b"x" * 10_000) for number in range(100)]
    produce(world.bootstrap, world.topic, bad)
    sizes: list[int] = []
    write = ShardWriter.write

    def counting(writer: ShardWriter, commits: Sequence[Commit]) -> Written:
        sizes.append(sum(len(each.value or b"") for commit in commits for each in commit.dead_letters))
        return write(writer, commits)

    monkeypatch.setattr(ShardWriter, "write", counting)
    engine = start(world.settings())
    until(lambda: world.taken() == 100, "taken", alive=[engine])
    engine.end()
    assert max(sizes) < 200_000 and sum(sizes) == sum(len(value) for _, value in bad)
    stored = world.query('SELECT count(*), sum(octet_length(value)), max("offset") FROM tidegate.dead_letters')
    assert stored == [(100, sum(sizes), 99)]


def test_what_a_step_weighs() -> None:
    letters = [letter(1, 10), letter(2, 20)]
    transitions = Transitions(
        ["a", "b"], np.array([1, 1]), np.array([1, 1]), np.array([True, True]), np.array([0, 1, 3]),
        np.array([0, 1, 2], np.int32), np.array([True, True, True]),
    )  # fmt: skip
    commit = Commit(0, 1, [], 0, transitions, (), letters)
    assert Work(commit, 1, [], None, {}, np.zeros(0, np.int64), size=1_000).letter_bytes == 30
    late = Work(commit, 1, [(0, 5, "a")], None, {}, np.zeros(0, np.int64), size=1_000)
    assert (late.letter_bytes, late.rows) == (1_000, 5)


def test_reads_are_further_apart_while_evaluations_take_long() -> None:
    pace = Pace([0], 1_000, 1_000)
    ticks = source.Ticks(pace, workers=2)
    assert ticks.after(0, 16_100, 8_000) == 24_000
    assert ticks.after(0, 16_200, 8_000) == 24_000, "all that were due together will be"
    for due, took, then in ((100_000, 2_000, 104_000), (200_000, 12_000, 224_000), (300_000, 80_000, 336_000)):
        pace.took(took)
        assert (ticks.after(due, due + 100, 8_000), pace.spent()) == (then, 0)
