"""A user whose events come in two partitions is counted and named, until he is erased."""

import json
import threading
from collections.abc import Callable
from typing import Any

from flows import metrics
from flows.clock import now_us
from flows.reshard import reshard
from tests.console.run_command import tidegate
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, event, until


def told(world: World) -> tuple[int, list[str]]:
    done = tidegate("status", "--json", env={"TIDEGATE_DATABASE_URL": world.url})
    said: dict[str, Any] = json.loads(done.out)
    return said["scattered_users"], said["scattered_names"]


def test_status_tells(make_world: Callable[..., World], start: Callable[..., Running], embedded_broker: str) -> None:
    world = make_world(embedded_broker, partitions=2, shards=2)
    engine = start(world.settings())
    for partition in (0, 1):
        users = ["one", "two", f"only-{partition}"]
        messages = [event(user, f"{partition}", now_us()) for user in users]
        produce(world.bootstrap, world.topic, messages, partition=partition)
    until(lambda: told(world) == (2, ["one", "two"]), "they are told", alive=[engine])
    assert sum(value for _, value in metrics.values("tidegate_scattered_users")) == 2
    text = tidegate("status", env={"TIDEGATE_DATABASE_URL": world.url}).out
    assert "Events of 2 users came in more than one partition (one, two)" in text
    engine.end()
    assert reshard(world.settings(), 3, threading.Event()).changed
    engine = start(world.settings(shards=3))
    produce(world.bootstrap, world.topic, [event("only-0", "again", now_us())], partition=1)
    until(lambda: told(world) == (3, ["one", "only-0", "two"]), "one more", alive=[engine])
    produce(world.bootstrap, world.values["profiles_topic"], [("one", None)])
    until(lambda: told(world) == (2, ["only-0", "two"]), "erased", alive=[engine])
    engine.end()
