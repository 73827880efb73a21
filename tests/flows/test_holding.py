"""Producers fall silent: answers stay as they were, through a restart, until the events are back or until a word."""

from collections.abc import Callable
from typing import Any

from console.status_view import problems
from flows.clock import now_us
from storage.deployments import deployed
from storage.releasing import held, release
from storage.status import read_status
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, event, until
from tests.flows.test_deploying import changed, check

Make = Callable[..., World]
Start = Callable[..., Running]
USERS = [f"u{number}" for number in range(30)]
RECENT = "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '6 seconds' GROUP BY user_id"
HELD = {
    "recent": f"/* guard: 20 */ {RECENT}",
    "buyers": "SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id",
    "lost": "SELECT user_id FROM segments.buyers EXCEPT SELECT user_id FROM segments.recent",
    "anybody": f"/* guard: 0 */ {RECENT}",
}  # fmt: skip


def some(number: int) -> list[tuple[str | bytes | None, bytes | None]]:
    return [event(user, f"{number}-{user}", now_us(), "buy", 1) for user in USERS]


def names(world: World) -> set[str]:
    return {name for (name,) in world.query("SELECT name FROM tidegate.definitions WHERE held_since IS NOT NULL")}


def answers(world: World) -> set[tuple[Any, ...]]:
    return {one for one in world.members() if one[0] in ("recent", "lost")}


def test_an_outage_of_input(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker, guard=10, guard_outage=0.5, shards=2)
    changed(world, HELD)
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, some(0))
    until(lambda: len(answers(world)) == len(USERS), "everybody is there", alive=[engine])
    until(lambda: names(world) == {"recent", "lost"}, "both are held", alive=[engine])
    before = answers(world)
    until(lambda: not [one for one in world.members() if one[0] == "anybody"], "that is not guarded", alive=[engine])
    assert answers(world) == before and len(before) > 0.8 * len(USERS)
    told = problems(read_status(world.url))
    assert told[0].startswith("No events come on partition") and any("recent is HELD" in one for one in told)
    # The next engine knows nothing of it but what is stored.
    engine.end()
    engine = start(world.settings())
    steps = world.query("SELECT sum(step) FROM tidegate.shards")
    until(lambda: world.query("SELECT sum(step) FROM tidegate.shards") > steps, "it goes on", alive=[engine])
    assert answers(world) == before and names(world) == {"recent", "lost"}
    # The events are back, and with them everybody: nothing has happened.
    turns = iter(range(1, 1_000))

    def back() -> bool:
        produce(world.bootstrap, world.topic, some(next(turns)))
        return not names(world)

    log = [one for one in world.log() if one[2] in ("recent", "lost")]
    until(back, "released by itself", alive=[engine])
    assert [one for one in world.log() if one[2] in ("recent", "lost")][: len(log)] == log
    # Silence again, and somebody's word.
    until(lambda: names(world) == {"recent", "lost"}, "held again", alive=[engine])
    until(lambda: not [one for one in world.members() if one[0] == "anybody"], "windows are empty", alive=[engine])
    until(lambda: _waiting(world) >= len(USERS), "all of them would flip", alive=[engine])
    assert set(held(world.url)) == {"recent", "lost"}
    outcome = release(world.url, ["recent", "lost"], "ann")
    assert outcome["recent"][1] == outcome["lost"][0] > 0.8 * len(USERS)
    assert answers(world) == {("lost", user) for user in USERS} and not names(world)
    engine.end()
    check(world, world.watermark())
    causes = dict(world.query("SELECT cause, count(*) FROM segment_transitions GROUP BY cause"))
    assert causes["release"] >= outcome["recent"][1] + outcome["lost"][0]
    # Numbers go on without a gap.
    engine = start(world.settings(guard=0, guard_outage=0))
    taken = world.taken()
    produce(world.bootstrap, world.topic, some(1_000))
    until(lambda: world.taken() == taken + len(USERS), "taken", alive=[engine])
    engine.end()
    check(world, world.watermark())
    assert deployed(world.url) is not None


def _waiting(world: World) -> int:
    return int(world.query("SELECT count(*) FROM tidegate.held_flips")[0][0])
