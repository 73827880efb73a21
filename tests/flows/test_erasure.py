"""A user is erased from all there is, by one record of the topic of profiles; nothing brings him back."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows import relay
from flows.clock import now_us
from segmentation.evaluate.erasure import digest_of
from segmentation.state import log
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, until
from tests.flows.erased import in_database, in_files
from tests.flows.oracle import folded

Make = Callable[..., World]
Start = Callable[..., Running]
Message = tuple[str | bytes | None, bytes | None]
BROKERS = ["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)]
SCHEMA = """
events:
  user_id: {path: who.id}
  amount: {type: bigint}
  city: {type: text}
  note: {type: text}
users:
  tier: {type: bigint}
  town: {type: text}
"""
DEFINITIONS = {
    "buyers": "SELECT user_id FROM events GROUP BY user_id HAVING sum(amount) >= 2",
    "cities": "SELECT user_id FROM events GROUP BY user_id HAVING count(DISTINCT city) >= 2",
    "last_city": "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(city, event_time) = 'Pune'",
    "locals": "SELECT user_id FROM users WHERE town LIKE 'canary%' AND tier = 1",
    "recent": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '1 hour' GROUP BY user_id",
}
ERASED, SOON, OTHER = "erase-me", "soon-again", "stays"
SECOND = 1_000_000


def canary(user: str) -> str:
    """What only this user's events hold, besides the id."""
    return "canary-" + user[::-1].upper()


def event(user: str, number: int | str, time_us: int, city: str = "Pune", note: str = "") -> Message:
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_us // SECOND)) + f".{time_us % SECOND:06d}Z"
    value = {"who": {"id": user}, "event_id": f"{user}/{number}", "event_type": "buy", "event_time": at, "amount": 1,
             "city": city, "note": note}  # fmt: skip
    return user, json.dumps(value).encode()


def refused(user: str) -> list[Message]:
    """By the key, by the mapped path, by that of what is no JSON, and by an id without key or field."""
    whose = json.dumps({"who": {"id": user}, "note": canary(user)}).encode()
    return [
        (user, b"not json: " + canary(user).encode()), ("17", whose), (None, whose), (None, whose[:-1]),
        (b"\xff\xfe", b'{"who": {"id" : "' + user.encode() + b'", "note": "' + canary(user).encode()),
        (None, f'"{user}", {canary(user)}'.encode()),
    ]  # fmt: skip


def make(make_world: Make, bootstrap: str, **more: Any) -> World:
    """Small chunks of events, so that the user is in files too; profiles in a compacted topic where Kafka can."""
    world = make_world(
        bootstrap, partitions=1, **{"shards": 2, "lateness": 0.1, "checkpoint_every": 0.5, **more}
    )
    folder = world.folder / "definitions"
    for path in folder.glob("*.sql"):
        path.unlink()
    for name, text in DEFINITIONS.items():
        (folder / f"{name}.sql").write_text(text)
    (folder / "schema.yml").write_text(SCHEMA)
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    config = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    topic = world.values["profiles_topic"]
    admin.create_topics([NewTopic(topic, 2, 1, config=config)])[topic].result(30)
    return world


@pytest.fixture(autouse=True)
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        for name, rows in (("CHUNK_ROWS", 20), ("LATE_ROWS", 5), ("LONG_ROWS", 80)):
            patched.setattr(log, name, rows)
        yield


def history(now: int, *users: str, count: int = 60) -> list[Message]:
    """Of each in turn over the last second; every fifth comes late."""
    some = [
        event(user, n, now - (count - n) * SECOND // 50, f"{user}-city-{n % 3}", canary(user))
        for n in range(count) for user in users
    ]  # fmt: skip
    return [message for n, message in enumerate(some) if n % 5] + some[::5]


def erase(world: World, *users: str, stamp_ms: int | None = None) -> None:
    produce(world.bootstrap, world.values["profiles_topic"], [(user, None) for user in users],
            timestamps_ms=None if stamp_ms is None else [stamp_ms] * len(users))  # fmt: skip


def erased_until(world: World, user: str) -> int:
    found = world.query(f"SELECT until FROM tidegate.erasures WHERE digest = '\\x{digest_of(user).hex()}'")
    return int(found[0][0]) if found else 0


def take_all(world: World, engine: Running, count: int) -> None:
    until(lambda: world.taken() >= count, f"{count} messages are taken", alive=[engine])


@pytest.mark.parametrize("broker", BROKERS)
def test_nothing_is_left_anywhere(
    make_world: Make, start: Start, broker: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each step is saved with its commit: the last one before the erasure has him, and nothing follows it.
    world = make(make_world, request.getfixturevalue(broker), checkpoint_every=0.001)
    now = now_us()
    before = [*history(now, ERASED, OTHER), *refused(ERASED), *refused(OTHER)]
    produce(world.bootstrap, world.topic, before)
    produce(world.bootstrap, world.values["profiles_topic"], [
        (user, profile.encode()) for user in (ERASED, OTHER)
        for profile in ('{"tier": "wrong"}', json.dumps({"tier": 1, "town": canary(user)}))
    ])  # fmt: skip
    monkeypatch.setattr(relay, "relay_forever", lambda _, end: end.wait())  # so that the outbox holds him too
    engine = start(world.settings())
    take_all(world, engine, len(before))
    words = [ERASED, canary(ERASED)]
    storage = world.folder / "storage"
    tables = ("members", "transitions", "users", "dead_letters", "outbox")
    until(lambda: len({f.split(".")[0] for f in in_database(world.url, words)}) == len(tables), "he is everywhere")
    kinds = {"parquet", "state"}
    until(lambda: kinds <= {place.split(":")[0].split(".")[-1] for place in in_files(storage, words)}, "and in files")
    until(lambda: ("locals", ERASED) in world.members(), "by the profile, too", alive=[engine])
    stay = {row for row in world.log() if row[0] != ERASED}

    erase(world, ERASED)
    until(lambda: erased_until(world, ERASED), "erased", alive=[engine])
    # The message to the readers of transitions.
    assert in_database(world.url, words) == [f"outbox.key: {ERASED}"]
    until(lambda: in_files(storage, words) == [], "the files are clean", alive=[engine])
    engine.end()
    monkeypatch.undo()
    engine = start(world.settings())
    until(lambda: world.query("SELECT count(*) FROM tidegate.outbox") == [(0,)], "all is sent", alive=[engine])
    assert in_database(world.url, words) == in_files(storage, words) == []
    assert world.query("SELECT count(*) FROM tidegate.dead_letters WHERE key IS NULL") == [(3,)], "those of others"
    assert in_files(storage, [OTHER]) and stay <= set(world.log())

    # What came before does not bring him back, not what was refused either, if it is the same message.
    produce(world.bootstrap, world.topic, history(now, ERASED))
    take_all(world, engine, len(before) + 60)
    assert in_database(world.url, words) == []
    # What comes after does, as somebody new.
    later = now_us()
    produce(world.bootstrap, world.topic, [event(ERASED, f"new-{n}", later + n) for n in range(2)])
    take_all(world, engine, len(before) + 62)
    mine = [row for row in world.log() if row[0] == ERASED]
    assert {row[1:4] for row in mine if row[2] == "buyers"} == {(2, "buyers", True)}
    assert min(row[1] for row in mine) == 1
    assert min(row[4].timestamp() * 1e6 for row in mine) >= later - 1
    engine.end()
    assert folded(world.log()) == world.members()


def test_who_comes_back_from_the_future(make_world: Make, start: Start, embedded_broker: str) -> None:
    """An event ahead of the clock is after the tombstone: it waits on, and begins a new user when its time has come."""
    world = make(make_world, embedded_broker)
    now = now_us()
    ahead = now + 6 * SECOND
    produce(world.bootstrap, world.topic, [*history(now, SOON), event(SOON, "ahead", ahead, "Oslo")])
    engine = start(world.settings())
    take_all(world, engine, 61)
    until(lambda: world.query("SELECT seq FROM tidegate.users_now WHERE seq > 1"), "he has a log", alive=[engine])
    erase(world, SOON)
    until(lambda: erased_until(world, SOON), "erased", alive=[engine])
    assert erased_until(world, SOON) < ahead
    until(lambda: in_files(world.folder / "storage", [f"{SOON}/1", canary(SOON)]) == [], "the files are clean")
    until(lambda: world.log(), "he is new", alive=[engine])
    engine.end()
    assert [(row[1], row[2], round(row[4].timestamp() * 1e6)) for row in world.log()] == [(1, "recent", ahead)]


def test_files_of_a_quiet_shard_are_cleaned_too(make_world: Make, start: Start, embedded_broker: str) -> None:
    """With the clock of the events, where nothing wakes a shard but what arrives."""
    world = make(make_world, embedded_broker, clock="event")
    now = now_us()
    produce(world.bootstrap, world.topic, history(now - 10 * SECOND, ERASED, OTHER))
    engine = start(world.settings())
    take_all(world, engine, 120)
    storage = world.folder / "storage"
    until(lambda: any(".parquet" in place for place in in_files(storage, [ERASED])), "he is in files")
    erase(world, ERASED)
    until(lambda: erased_until(world, ERASED), "erased", alive=[engine])
    until(lambda: in_files(storage, [ERASED]) == [], "the files are clean", alive=[engine])
    engine.end()


def test_refused_messages_that_are_read_after_the_tombstone(
    make_world: Make, start: Start, embedded_broker: str
) -> None:
    """The topics are not in order with each other: what Kafka has stamped before the tombstone is not stored."""
    world = make(make_world, embedded_broker)
    stamp = now_us() // 1_000
    erase(world, ERASED, stamp_ms=stamp)
    engine = start(world.settings())
    until(lambda: erased_until(world, ERASED), "erased", alive=[engine])
    produce(world.bootstrap, world.topic, refused(ERASED), timestamps_ms=[stamp] * 6)
    take_all(world, engine, 6)
    # Only of the last one nothing tells whose it is.
    assert world.query("SELECT value FROM tidegate.dead_letters") == [(refused(ERASED)[-1][1],)]
    produce(world.bootstrap, world.topic, refused(ERASED)[:2], timestamps_ms=[stamp + 1] * 2)
    take_all(world, engine, 8)
    assert world.query("SELECT count(*) FROM tidegate.dead_letters") == [(3,)]
    engine.end()
