"""The flow, end to end in this process: members, log, dead letters, restarts, silent expiry."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from flows.clock import now_us
from segmentation.errors import TidegateError
from storage import postgres
from storage.queries import check
from storage.reader import fetch
from tests.fix_kafka import consume_all, produce
from tests.flows.conftest import Running, World, event, until, write_definitions
from tests.flows.oracle import folded, members_by_events

Make = Callable[..., World]
Start = Callable[..., Running]
HOUR = 3_600_000_000


def some_events(count: int, users: int, end_us: int, seed: int = 1) -> list[tuple[str | bytes | None, bytes | None]]:
    """In order of time, up to end_us, over about three hours."""
    step = 3 * HOUR // count
    return [
        event(
            f"u{(i * 7919 + seed) % users}", f"{seed}-{i}", end_us - (count - i) * step,
            "buy" if i % 3 else "view", i % 5,
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("threads", [1, 2])
def test_members_of_old_events_to_the_end(make_world: Make, embedded_broker: str, threads: int) -> None:
    world = make_world(embedded_broker, clock="event")
    at = 1_767_225_600_000_000
    produce(world.bootstrap, world.topic, some_events(3_000, 200, at))
    from flows.run import run

    run(world.settings(), threads=threads, until_end=True, finish_at=at)
    assert world.members() == members_by_events(world, at)
    assert folded(world.log()) == world.members()
    # A second run finds nothing new and changes nothing.
    log = world.log()
    run(world.settings(), until_end=True, finish_at=at)
    assert world.log() == log
    # Transitions have gone out, one message per user and step.
    sent = [json.loads(m.value() or b"") for m in consume_all(world.bootstrap, world.values["transitions_topic"], 4)]
    assert {(m["user_id"], m["seq"]) for m in sent} == {(row[0], row[1]) for row in log}
    # From one band into the next is one of them, with both sides.
    moves = [m for m in sent if "hour/3-5" in m["entered"]]
    assert moves and all(("hour/0-2" in m["left"]) != ("hour/6+" in m["left"]) for m in moves)
    assert world.query("SELECT count(*) FROM tidegate.outbox") == [(0,)]


def test_no_answer_claims_the_instant_that_late_events_count_from(make_world: Make, embedded_broker: str) -> None:
    """They take effect at the watermark, and at it the answers of before are not complete."""
    from flows.run import run

    at = 1_767_225_600_000_000
    world = make_world(embedded_broker, clock="event", partitions=1, shards=1)
    produce(world.bootstrap, world.topic, [event("late", 1, at - HOUR, amount=1), event("a", 2, at)])
    run(world.settings(), until_end=True)
    with closing(postgres.connect(world.url, autocommit=True)) as connection:
        [before] = fetch(connection, check([("late", "buyers")]))
    produce(world.bootstrap, world.topic, [event("late", 3, at - HOUR // 2, amount=10)])
    run(world.settings(), until_end=True)
    [(entered,)] = world.query("SELECT (extract(epoch FROM effective_at) * 1000000)::bigint FROM segment_transitions "
                               "WHERE user_id = 'late' AND segment = 'buyers'")  # fmt: skip
    assert not before.member and before.as_of == world.watermark() - 1 and entered == before.as_of + 1


def test_bad_messages_go_to_the_dead_letters(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker, partitions=1)
    now = now_us()
    produce(
        world.bootstrap, world.topic,
        [event("a", 1, now, amount=10), ("k", b"{oops"), ("k", None), event("f", 2, now + HOUR),
         event("b", 3, now, amount=10)],
        headers={"trace": b"\x00\xff"},
    )  # fmt: skip
    engine = start(world.settings())
    until(lambda: world.taken() == 5, "all messages taken", alive=[engine])
    assert {("buyers", "a"), ("buyers", "b")} <= world.members()
    rows = world.query('SELECT "offset", key, value, reason FROM tidegate.dead_letters ORDER BY 1')
    assert [(row[0], row[3]) for row in rows] == [(1, "not_json"), (2, "no_value"), (3, "event_time_in_future")]
    assert rows[0][1:3] == (b"k", b"{oops")
    dead = until(lambda: consume_all(world.bootstrap, world.values["dead_letter_topic"], 1), "dead letters sent")
    headers = dict(dead[0].headers())
    assert headers["trace"] == b"\x00\xff" and headers["tidegate-reason"] == b"not_json"
    assert headers["tidegate-offset"] == b"1"
    engine.end()


def test_too_late_events_get_a_letter_with_their_message(
    make_world: Make, embedded_broker: str, start: Start
) -> None:
    world = make_world(embedded_broker, partitions=1, dedupe_horizon=60)
    now = now_us()
    produce(world.bootstrap, world.topic, [event("a", 1, now)])
    engine = start(world.settings())
    until(lambda: world.taken() == 1, "the first taken", alive=[engine])
    produce(world.bootstrap, world.topic, [event("late", 2, now - HOUR)])
    letters = until(lambda: world.query("SELECT key, value, reason FROM tidegate.dead_letters"), "the letter")
    assert letters == [(b"late", event("late", 2, now - HOUR)[1], "event_too_late")]
    engine.end()


@pytest.mark.parametrize("broker", ["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def test_a_window_expires_in_silence(
    make_world: Make, start: Start, broker: str, request: pytest.FixtureRequest
) -> None:
    world = make_world(request.getfixturevalue(broker))
    write_definitions(
        world.folder / "definitions",
        {"fresh": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '2 seconds' GROUP BY user_id"},
    )
    engine = start(world.settings())
    until(lambda: world.query("SELECT 1 FROM tidegate.engine"), "the engine has begun", alive=[engine])
    at = now_us()
    produce(world.bootstrap, world.topic, [event("a", 1, at)])
    until(lambda: ("fresh", "a") in world.members(), "a is in", alive=[engine])
    until(lambda: ("fresh", "a") not in world.members(), "a is out", alive=[engine])
    late_s = (now_us() - at) / 1e6 - 2
    assert late_s < 3, f"{late_s:.3f} s late"  # the machine may be busy; the product's promise is 1 s
    [(delay,)] = world.query(
        "SELECT extract(epoch FROM recorded_at - effective_at)::float8 FROM segment_transitions WHERE NOT entered"
    )
    print(f"{broker}: expiry stored {delay:.3f} s after its instant")
    assert -0.001 < delay < 3
    engine.end()


def test_changed_definitions_count_when_they_are_rebuilt(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker, clock="event")
    at = 1_767_225_600_000_000
    produce(world.bootstrap, world.topic, some_events(1_000, 50, at))
    from flows.run import run

    run(world.settings(), until_end=True, finish_at=at)
    before = world.log()
    (world.folder / "definitions" / "buyers.sql").write_text(
        "SELECT user_id FROM events WHERE event_type = 'view' GROUP BY user_id HAVING count(*) >= 7"
    )
    run(world.settings(), until_end=True, finish_at=at)
    assert world.log() == before, "the folder is not what is deployed"
    run(world.settings(), until_end=True, finish_at=at, rebuild=True)
    assert world.members() == members_by_events(world, at)
    after = world.log()
    assert folded(after) == world.members()
    assert {row[2] for row in after if row not in before} == {"buyers"}, "only differences are written"
    # And it goes on from there.
    produce(world.bootstrap, world.topic, [event("u1", f"n{i}", at + HOUR + i, "view") for i in range(9)])
    run(world.settings(), until_end=True, finish_at=at + 2 * HOUR)
    assert world.members() == members_by_events(world, at + 2 * HOUR)
    assert folded(world.log()) == world.members()


def test_an_engine_that_was_replaced_ends(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker)
    first = start(world.settings())
    produce(world.bootstrap, world.topic, [event("a", 1, now_us(), amount=10)])
    until(lambda: world.taken() == 1, "taken", alive=[first])
    second = start(world.settings())
    until(lambda: not first.alive, "the first has ended")
    assert isinstance(first.error, TidegateError) and "taken over" in str(first.error)
    produce(world.bootstrap, world.topic, [event("a", 2, now_us())])
    until(lambda: world.taken() == 2, "the second goes on", alive=[second])
    second.end()


def test_stop_and_start_again(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker)
    base = now_us()
    for round_ in range(3):
        engine = start(world.settings())
        produce(world.bootstrap, world.topic, some_events(500, 30, base - 1_000_000 + round_, seed=round_))
        until(lambda: world.taken() == 500 * (round_ + 1), "taken", alive=[engine])  # noqa: B023
        began = time.monotonic()
        engine.end()
        assert time.monotonic() - began < 20
        steps: list[Any] = world.query("SELECT step, (checkpoint ->> 'step')::bigint FROM tidegate.shards")
        assert all(step == saved for step, saved in steps), "the state is saved at the end"
    assert folded(world.log()) == world.members()
