"""What the relay does with messages that Kafka refuses, and with brokers that are not up to transactions."""

import logging
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from confluent_kafka import KafkaError
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType

from flows import kafka, metrics, relay
from flows.relay_sending import Last
from flows.relay_transactions import Transactions, Unfit, topic_of_records
from segmentation.errors import TidegateError
from storage import postgres
from storage.commits import DeadLetter
from storage.messages import DEAD_LETTER, ERASED, TRANSITION, dead_letter_headers, pack_headers
from storage.outbox import Batch
from storage.status import read_status
from tests.fix_kafka import consume_all
from tests.flows.conftest import World, send_all, until

Make = Callable[..., World]
BROKERS = ["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)]


def put(world: World, key: str, value: str | None, kind: str = TRANSITION, headers: bytes | None = None) -> None:
    with closing(postgres.connect(world.url, autocommit=True)) as connection:
        connection.execute(
            "INSERT INTO tidegate.outbox (shard, kind, key, value, headers) VALUES (0, %s, %s, %s, %s::jsonb)",
            [kind, key.encode(), None if value is None else value.encode(), headers and headers.decode()],
        )


def read(world: World, topic: str | None = None) -> list[tuple[str, str | None]]:
    topic = topic or world.settings().transitions_topic
    found = consume_all(world.bootstrap, topic, 1 if "dead" in topic else 4)
    return [((m.key() or b"").decode(), None if m.value() is None else (m.value() or b"").decode()) for m in found]


def of(world: World, key: str) -> list[str | None]:
    return [value for each, value in read(world) if each == key]


@pytest.fixture
def running(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[World], None]]:
    """Starts relays that end with the test."""
    stop = threading.Event()
    started: list[threading.Thread] = []

    def start(world: World) -> None:
        started.append(threading.Thread(target=relay.relay_forever, args=(world.settings(), stop)))
        started[-1].start()

    yield start
    stop.set()
    for thread in started:
        thread.join(60)


@pytest.mark.parametrize("broker", BROKERS)
def test_every_kind_goes_to_its_topic(make_world: Make, broker: str, request: pytest.FixtureRequest) -> None:
    world = make_world(request.getfixturevalue(broker))
    letter = DeadLetter("events", 3, 17, b"a", b"{oops", [("trace", b"\x00\xff"), ("none", None)], "not_json", "line 1")
    put(world, "a", "1")
    put(world, "a", None, ERASED)
    put(world, "a", "{oops", DEAD_LETTER, pack_headers(dead_letter_headers(letter)))
    put(world, "a", "1 again")
    send_all(world.settings())
    assert read(world) == [("a", "1"), ("a", None), ("a", "1 again")]
    message = consume_all(world.bootstrap, world.settings().dead_letter_topic, 1)[0]
    headers = dict(message.headers() or [])
    assert (message.key(), message.value()) == (b"a", b"{oops")
    assert headers["trace"] == b"\x00\xff" and headers["none"] is None and headers["tidegate-offset"] == b"17"


@pytest.mark.parametrize("broker", BROKERS)
def test_a_user_is_where_other_producers_would_put_him(
    make_world: Make, broker: str, request: pytest.FixtureRequest
) -> None:
    """Java's murmur2, known values of which are from its own tests."""
    world = make_world(request.getfixturevalue(broker))
    known = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536}
    for key in known:
        put(world, key, "1")
    send_all(world.settings())
    found = {m.key(): m.partition() for m in consume_all(world.bootstrap, world.settings().transitions_topic, 4)}
    assert found == {key.encode(): (value & 0x7FFFFFFF) % 4 for key, value in known.items()}


def test_the_embedded_broker_gets_messages_at_least_once(
    make_world: Make, embedded_broker: str, caplog: pytest.LogCaptureFixture, running: Callable[[World], None]
) -> None:
    world = make_world(embedded_broker)
    with pytest.raises(TidegateError, match=r"cannot be sent by transactions\. Use Apache Kafka, or set `relay` to"):
        relay.Relay(world.settings(relay="transactions"), threading.Event()).turn()
    with caplog.at_level(logging.WARNING):
        running(world)
        put(world, "a", "1")
        until(lambda: of(world, "a") == ["1"], "sent")
    assert "the broker shows readers what was aborted, so messages cannot be sent by transactions" in caplog.text
    assert "they are sent at least once, and readers must drop repeats" in caplog.text


def test_looking_after_what_is_held_costs_no_turn(
    make_world: Make, embedded_broker: str, running: Callable[[World], None], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was sent is settled first, once."""
    monkeypatch.setattr(relay, "HELD_SECONDS", 0.0)
    world = make_world(embedded_broker)
    put(world, "first", "1")
    running(world)
    until(lambda: world.query("SELECT count(*) FROM tidegate.outbox") == [(0,)], "all is sent")
    put(world, "second", "2")
    until(lambda: of(world, "second") == ["2"], "the second, too")
    until(lambda: world.query("SELECT count(*) FROM tidegate.outbox") == [(0,)], "all is sent")
    assert of(world, "first") == ["1"] and "taken over" not in caplog.text


@pytest.mark.kafka
def test_apache_kafka_is_fit(make_world: Make, apache_kafka: str, caplog: pytest.LogCaptureFixture) -> None:
    world = make_world(apache_kafka)
    put(world, "a", "1")
    send_all(world.settings())
    assert "at least once" not in caplog.text
    # The record of what was tried out, and of the batch; what was aborted is not shown.
    assert len(consume_all(world.bootstrap, topic_of_records(world.settings()), 1)) == 2


@pytest.mark.kafka
def test_the_last_record_is_found_however_far_back_it_is(make_world: Make, apache_kafka: str) -> None:
    settings = make_world(apache_kafka).settings()
    relay.ensure_topics(settings)
    kafka.ensure_topics(settings, {topic_of_records(settings): 1})
    mine, other = (Transactions(settings, name, {}, Last(threading.Event(), 1)) for name in ("mine", "other"))
    with closing(mine), closing(other):
        mine.open()
        other.open()
        assert mine.sent() is None
        mine.publish(Batch(1, "the last of mine", []))
        for number in range(100):
            other.publish(Batch(number, f"other {number}", []))
        assert mine.sent() == "the last of mine" and other.sent() == "other 99"


def set_limit(world: World, topic: str, size: int) -> None:
    entry = ConfigEntry("max.message.bytes", str(size), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": world.bootstrap, "log_level": 0})
    admin.incremental_alter_configs([resource])[resource].result(30)


@pytest.mark.kafka
@pytest.mark.parametrize("mode", ["transactions", "at_least_once"])
def test_messages_that_are_too_large_hold_up_nobody_else(
    make_world: Make, apache_kafka: str, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    running: Callable[[World], None],
) -> None:
    monkeypatch.setattr(relay, "HELD_SECONDS", 3.0)
    world = make_world(apache_kafka, relay=mode)
    settings = world.settings()
    relay.ensure_topics(settings)
    for topic in (settings.transitions_topic, settings.dead_letter_topic):
        set_limit(world, topic, 2_000)
    large = "".join(f"{number:x}" for number in range(2_000))
    for number in range(50):
        put(world, f"u{number % 10}", f"{number}")
    put(world, "u3", f"large {large}")
    put(world, "u3", "after it")
    put(world, "u4", "goes on")
    for number in range(3):
        put(world, "key", f"letter {number} {large}", DEAD_LETTER)
    put(world, "key", "small letter", DEAD_LETTER)
    put(world, "u5", f"larger {large}{large}")
    put(world, "u5", "waits too")
    put(world, "u6", "the end")
    running(world)
    until(lambda: read_status(world.url).outbox == 5 + 2, "what can be sent is sent")
    put(world, "u3", "later")
    put(world, "u6", f"larger still {large}{large}")
    put(world, "u7", "nobody waits")
    until(lambda: of(world, "u7")[-1:] == ["nobody waits"], "others go on")
    until(lambda: read_status(world.url).held == 6, "all of them are held")
    until(lambda: read_status(world.url).outbox == 6 + 3, "what was sent is deleted, too")
    assert "too large" in (read_status(world.url).held_reason or "")
    assert of(world, "u4")[-1] == "goes on" and of(world, "u6")[-1] == "the end"
    assert {value for _, value in read(world, settings.dead_letter_topic)} == {"small letter"}
    assert settings.transitions_topic in caplog.text and settings.dead_letter_topic in caplog.text
    if mode == "transactions":
        assert of(world, "u3") == ["3", "13", "23", "33", "43"]
    # Once the limits are raised, all comes, in order.
    for topic in (settings.transitions_topic, settings.dead_letter_topic):
        set_limit(world, topic, 100_000)
    until(lambda: world.query("SELECT count(*) FROM tidegate.outbox") == [(0,)], "nothing is held")
    if mode == "transactions":
        assert of(world, "u3")[5:] == [f"large {large}", "after it", "later"]
        assert of(world, "u5")[5:] == [f"larger {large}{large}", "waits too"]
        assert of(world, "u6")[5:] == ["the end", f"larger still {large}{large}"]
    letters = {value for _, value in read(world, settings.dead_letter_topic)}
    assert letters == {"small letter", *(f"letter {number} {large}" for number in range(3))}
    until(lambda: metrics.held._value.get() == 0, "the metric says so")


@pytest.mark.kafka
def test_requests_that_are_too_large_become_smaller(
    make_world: Make, apache_kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Messages that are each small enough are held by nobody, whatever the topic's limit is."""
    world = make_world(apache_kafka)
    relay.ensure_topics(world.settings())
    set_limit(world, world.settings().transitions_topic, 300_000)
    draw = random.Random(1)
    values = [draw.randbytes(500).hex() for _ in range(1_500)]
    with closing(postgres.connect(world.url, autocommit=True)) as connection:
        connection.execute(
            "INSERT INTO tidegate.outbox (shard, kind, key, value) SELECT 0, 'transition', 'a', v::bytea "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS f(v, place) ORDER BY place",
            [values],
        )
    send_all(world.settings())
    assert of(world, "a") == values and "refuses" not in caplog.text


def test_a_broker_without_transactions(monkeypatch: pytest.MonkeyPatch, make_world: Make, embedded_broker: str) -> None:
    """As librdkafka says it of old brokers."""

    def refuse(self: Transactions) -> None:
        raise self._translated(KafkaError(KafkaError._UNSUPPORTED_FEATURE, "Transactions not supported by any broker"))

    monkeypatch.setattr(Transactions, "open", refuse)
    world = make_world(embedded_broker)
    put(world, "a", "1")
    send_all(world.settings())
    assert of(world, "a") == ["1"]


def test_what_needs_rights_is_named(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker)
    transactions = Transactions(world.settings(), "db", {}, Last(threading.Event(), 1))
    with closing(transactions):
        error = transactions._translated(KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED))
    assert f"transactional id tidegate-relay-db-{world.settings().transitions_topic}" in str(error)
    assert f"topic {topic_of_records(world.settings())}" in str(error) and not isinstance(error, Unfit)
