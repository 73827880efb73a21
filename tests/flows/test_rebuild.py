"""A rebuild writes differences of the definitions, nothing else: what is new is counted event by event after it."""

from collections.abc import Callable
from typing import Any

import pytest

from flows import rebuild
from flows.run import run
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, event, until
from tests.flows.oracle import folded, members_by_events

Make = Callable[..., World]
AT = 1_767_225_600_000_000
MINUTE = 60_000_000


def minutes(first: int, last: int) -> list[tuple[str | bytes | None, bytes | None]]:
    """One event a minute and user; `buyers` take 10, so they enter one after the other."""
    return [event(f"u{i % 7}", i, AT + i * MINUTE, amount=1 + i % 3) for i in range(first, last)]


def by_events(world: World) -> list[tuple[Any, ...]]:
    return sorted(
        world.query(
            "SELECT user_id, seq, segment, entered, effective_at FROM segment_transitions WHERE cause <> 'definition'"
        )
    )


def test_messages_not_counted_before_are_counted_one_by_one(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event")
    produce(world.bootstrap, world.topic, minutes(0, 30))
    run(world.settings(), until_end=True)
    before = world.log()
    produce(world.bootstrap, world.topic, [*minutes(30, 120), ("bad", b"{oops")])
    run(world.settings(), until_end=True, finish_at=AT + 500 * MINUTE, rebuild=True)
    log = world.log()
    assert log[: len(before)] != log and set(before) <= set(log)
    assert by_events(world) == log, "the same definitions make no difference"
    assert len({row[4] for row in log if row[2] == "buyers"}) == 7, "each at its own instant"
    assert world.members() == members_by_events(world, AT + 500 * MINUTE) == folded(log)
    assert world.query("SELECT reason FROM tidegate.dead_letters") == [("not_json",)]


def test_beside_a_running_engine(
    make_world: Make, embedded_broker: str, start: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old engine counts after the rebuild has read, and before it is shut out, is read too."""
    world = make_world(embedded_broker, clock="event")
    produce(world.bootstrap, world.topic, minutes(0, 30))
    old = start(world.settings())
    until(lambda: world.taken() == 30, "the old engine counts", alive=[old])
    read = rebuild._read
    reads: list[int] = []

    def read_and_wait(*arguments: Any) -> None:
        read(*arguments)
        reads.append(len(reads))
        if len(reads) == 1:
            produce(world.bootstrap, world.topic, minutes(30, 120))
            until(lambda: world.taken() == 120, "the old engine goes on", alive=[old])

    monkeypatch.setattr(rebuild, "_read", read_and_wait)
    run(world.settings(), until_end=True, rebuild=True)
    assert len(reads) == 2
    produce(world.bootstrap, world.topic, minutes(120, 121))
    until(lambda: not old.alive, "the old engine has ended")
    log = world.log()
    assert by_events(world) == log, "the same definitions make no difference"
    instants: dict[str, Any] = {}
    for user, _, _, _, at in log:
        assert instants.setdefault(user, at) <= at, "instants never go back"
        instants[user] = at


def test_another_topic_is_read_to_its_end(make_world: Make, embedded_broker: str) -> None:
    """A user whom only the old one knew goes on with his sequence number when he comes again."""
    world, other = make_world(embedded_broker, clock="event"), make_world(embedded_broker, clock="event")
    end = AT + 500 * MINUTE
    produce(world.bootstrap, world.topic, [*minutes(0, 30), *(event("lost", f"l{i}", AT, amount=9) for i in range(2))])
    produce(other.bootstrap, other.topic, minutes(0, 120))
    run(world.settings(), until_end=True)
    run(world.settings(events_topic=other.topic), until_end=True, finish_at=end, rebuild=True)
    assert world.members() == members_by_events(other, end) == folded(world.log())
    produce(other.bootstrap, other.topic, [event("lost", "again", end + MINUTE, amount=20)])
    run(world.settings(events_topic=other.topic), until_end=True, finish_at=end + 2 * MINUTE)
    assert ("buyers", "lost") in world.members() == folded(world.log())
