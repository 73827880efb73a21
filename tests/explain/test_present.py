"""Explanations and forecasts beside a running engine that saves nothing for long: exact as of its last commit."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from flows.present import Present
from segmentation.explain.explaining import Explanation
from storage import postgres
from storage.looking_ahead import look_ahead
from storage.one_user import deployed, explained
from storage.queries import check
from storage.reader import fetch
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, event, until

Make = Callable[..., World]
USERS = [f"u{number}" for number in range(12)]
#: His transitions leave the log, so it does not say what he was.
ERASED = "u3"
MICROS = "(extract(epoch FROM effective_at) * 1000000)::bigint"


@contextmanager
def traffic(world: World) -> Iterator[None]:
    """Events of now, some of them late, each at an instant of its own, and now and then somebody is erased."""
    stop, chance = threading.Event(), random.Random(5)

    def send() -> None:
        number = 0
        while not stop.wait(0.01):
            now, some = time.time_ns() // 1_000, []
            for _ in range(20):
                number += 1
                at = now + number % 20 - chance.choice([0, 0, 0, 2_000_000, 3_600_000_000, 7_150_000_000])
                some.append(event(chance.choice(USERS), number, at, chance.choice(["buy", "see"])))
            produce(world.bootstrap, world.topic, some)
            if number % 200 == 0:
                produce(world.bootstrap, world.values["profiles_topic"], [(ERASED, None)])

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_it_is_what_is_answered_then(make_world: Make, embedded_broker: str, start: Callable[..., Running]) -> None:
    world = make_world(embedded_broker, 3, shards=2, checkpoint_every=3_600)
    settings = world.settings()
    engine = start(settings)
    told: list[Explanation] = []
    with traffic(world):
        until(lambda: world.taken() > 200, "the engine runs", alive=[engine])
        few = "SELECT 1 FROM tidegate.shards WHERE (checkpoint ->> 'step')::bigint + 20 > step"
        until(lambda: world.query(few) == [], "there are steps to run again", alive=[engine])
        chance = random.Random(1)
        what = deployed(world.url)
        with closing(postgres.connect(world.url, autocommit=True)) as connection:
            while len(told) < 16:
                user, definition = chance.choice(USERS), chance.choice(what.plan.segments)
                [before] = fetch(connection, check([(user, definition.name)]))
                one = explained(world.url, settings.storage_url, what, definition, user, None, 3, Present(settings))
                [after] = fetch(connection, check([(user, definition.name)]))
                assert not one.behind and one.as_of == one.at
                # His last event may be known as of the watermark itself, before which all is applied.
                assert (before.as_of or 0) <= one.at <= (after.as_of or 0) + 1, "no older than what is answered"
                told.append(one)
    engine.end()
    flips: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for user, name, at, entered in world.query(f"SELECT user_id, segment, {MICROS}, entered FROM segment_transitions "
                                               "ORDER BY user_id, seq"):  # fmt: skip
        mine = flips.setdefault((user, name), [])
        if mine and mine[-1][0] == at:
            mine.pop()  # what cancels at one instant was never so
        else:
            mine.append((at, entered))
    for one in told:
        before_it = [flip for flip in flips.get((one.user_id, one.segment), ()) if flip[0] <= one.at]
        if one.user_id != ERASED:
            assert (one.since, one.member) == (before_it[-1] if before_it else (None, False))
    assert sum(one.member for one in told) > 2 and any(one.user_id != ERASED and not one.member for one in told)


def test_a_forecast_is_as_of_now(make_world: Make, embedded_broker: str, start: Callable[..., Running]) -> None:
    world = make_world(embedded_broker, 2, shards=2, checkpoint_every=3_600)
    settings = world.settings()
    engine = start(settings)
    now = time.time_ns() // 1_000
    produce(world.bootstrap, world.topic, [event("first", 1, now - 7_000_000_000)])
    until(lambda: world.query("SELECT 1 FROM tidegate.users"), "it is taken", alive=[engine])
    produce(world.bootstrap, world.topic, [event("second", 2, now - 7_100_000_000), event("third", 3, now)])
    until(lambda: len(world.query("SELECT 1 FROM tidegate.users")) == 3, "they are taken", alive=[engine])
    until(lambda: world.watermark() > now, "the watermark has passed it", alive=[engine])
    what = deployed(world.url)

    def ahead(segment: str, replay: Present | None) -> tuple[list[tuple[int, str, bool]], str]:
        told = look_ahead(world.url, settings.storage_url, what, segment, 7_300_000_000, 10, replay)
        return [(one.at, one.user_id, one.enters) for one in told.first], told.behind

    times = {"second": now + 100_000_000, "first": now + 200_000_000, "third": now + 7_200_000_000}
    enters = [(at, user, True) for user, at in times.items()]
    assert ahead("gone", Present(settings)) == (enters, "")
    leaves = ahead("hour/0-2", Present(settings))
    assert leaves == ([(now + 3_600_000_000, "third", False)], "")
    found, why = ahead("gone", None)
    assert len(found) < 3 and "was not asked for" in why
    buyers = what.plan.segments[0]
    for name, value, said in [
        ("kafka", "127.0.0.1:1", "127.0.0.1:1"), ("lateness", 7.5, "these settings are not the engine's: lateness"),
    ]:  # fmt: skip
        replay = Present(world.settings(**{name: value}))
        one = explained(world.url, settings.storage_url, what, buyers, "third", None, 3, replay)
        assert said in one.behind
    engine.end()
