"""Events that were refused, replayed into a running engine: each counts once, however often it is sent."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from flows.clock import now_us
from flows.run import run
from segmentation.events.origin import HEADER
from tests.console.run_command import Done, tidegate
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, event, make_world, start, until, write_definitions

__all__ = ["make_world", "start"]

pytestmark = pytest.mark.postgres

DEFINITIONS = {
    "once": "SELECT user_id FROM events GROUP BY user_id HAVING count(*) >= 1",
    "twice": "SELECT user_id FROM events GROUP BY user_id HAVING count(*) >= 2",
    "thrice": "SELECT user_id FROM events GROUP BY user_id HAVING count(*) >= 3",
}


def dead_letter(world: World, *arguments: str) -> Done:
    return tidegate("dead-letter", *arguments, env=world.environment())


def outcomes(world: World) -> list[str]:
    found: list[dict[str, Any]] = json.loads(dead_letter(world, "list", "--all", "--json").out)
    return sorted(letter["replayed"]["outcome"] if letter["replayed"] else "none" for letter in found)


@pytest.mark.parametrize("generated", [False, True])
def test_what_is_sent_twice_counts_once(
    make_world: Callable[..., World], start: Callable[..., Running], embedded_broker: str, generated: bool
) -> None:
    world = make_world(embedded_broker, partitions=2, max_skew=0.5)
    folder = write_definitions(world.folder / "definitions", DEFINITIONS)
    for left_over in folder.glob("*.sql"):
        if left_over.stem not in DEFINITIONS:
            left_over.unlink()
    if generated:
        (folder / "schema.yml").write_text("events:\n  event_id: {generated: true}\n")
    engine = start(world.settings())
    at, users = now_us(), ["u0", "u1"]
    # By their Kafka timestamps, these come from the future.
    early = [at // 1_000 - 3_600_000] * len(users)
    produce(world.bootstrap, world.topic, [event(user, user, at) for user in users], timestamps_ms=early)
    until(lambda: world.taken() == 2, "taken", alive=[engine])
    # Sent again too soon, they are refused once more; from then on there are two letters of each.
    for letter in json.loads(dead_letter(world, "list", "--json").out):
        again = event(letter["key"], letter["key"], at)
        produce(world.bootstrap, world.topic, [again], timestamps_ms=early, headers={HEADER: letter["origin"].encode()})
    until(lambda: outcomes(world) == ["none"] * 4, "refused again", alive=[engine])
    assert dead_letter(world, "replay", "--dry-run").code == 0
    assert dead_letter(world, "replay", "--all").code == 0
    assert dead_letter(world, "replay", "--all").code == 0
    until(lambda: outcomes(world) == ["taken"] * 4, "taken", alive=[engine])
    assert world.members() == {("once", user) for user in users}
    # Another message, at the same instant, is another event where the messages have no ids of their own.
    produce(world.bootstrap, world.topic, [event(user, user, at) for user in users])
    until(lambda: world.taken() == 14, "taken", alive=[engine])
    both = {("once", user) for user in users} | {("twice", user) for user in users}
    assert world.members() == (both if generated else {("once", user) for user in users})
    engine.end()
    if generated:  # and so it stays when everything is read again
        run(world.settings(), rebuild=True, until_end=True)
        assert world.members() == both
