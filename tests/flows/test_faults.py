"""Brokers and databases that are away or slow: waiting, bounded, with a message that names the address."""

import logging
import socket
import threading
import urllib.request
from collections.abc import Callable
from contextlib import closing

import pytest

from flows import kafka, metrics
from flows.clock import now_us
from flows.engine import POLLS_IN_FLIGHT
from flows.pace import Pace
from segmentation.errors import TidegateError
from storage import postgres
from storage.settings import load
from tests.fix_kafka import apache_kafka_node, produce
from tests.flows.conftest import Running, World, event, until
from tests.flows.oracle import folded, settled_members
from tests.flows.test_flow import some_events

Make = Callable[..., World]
Start = Callable[..., Running]


def test_unreachable_broker_is_named(
    caplog: pytest.LogCaptureFixture, start: Start, make_world: Make, embedded_broker: str
) -> None:
    settings = load(kafka="127.0.0.1:9")
    with pytest.raises(kafka.KafkaUnreachable, match=r"cannot reach Kafka at 127\.0\.0\.1:9"):
        kafka.wait_until_reachable(settings, timeout_s=0.3)
    world = make_world(embedded_broker)
    with caplog.at_level(logging.WARNING):
        engine = start(world.settings(kafka="127.0.0.1:9"))
        until(lambda: "127.0.0.1:9" in caplog.text, "the log names the address", alive=[engine])
    engine.end()


def test_settings_that_librdkafka_does_not_know() -> None:
    with pytest.raises(TidegateError, match=r"Kafka at broker:9092: .*no\.such\.option.*Check"):
        kafka.admin(load(kafka="broker:9092", kafka_options={"no.such.option": "1"}))


def test_a_slow_database_bounds_what_is_read(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker, partitions=2, poll_rows=200)
    produce(world.bootstrap, world.topic, some_events(100, 20, now_us() - 1_000_000, seed=1))
    engine = start(world.settings())
    until(lambda: world.taken() == 100, "the first taken", alive=[engine])
    before = metrics.events._value.get()
    with closing(postgres.connect(world.url)) as connection:
        connection.execute("LOCK TABLE tidegate.shards IN EXCLUSIVE MODE")
        produce(world.bootstrap, world.topic, some_events(20_000, 20, now_us() - 1_000_000, seed=2))
        seen = -1.0
        while seen != (seen := metrics.events._value.get() - before):
            threading.Event().wait(0.5)
        # Per partition what may be under way, and the read that passed the bound.
        assert 0 < seen <= 2 * (POLLS_IN_FLIGHT + 1) * 200
        connection.rollback()
    until(lambda: world.taken() == 20_100, "all taken", alive=[engine])
    engine.end()
    assert folded(world.log()) == world.members()


def test_lost_connections(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker, poll_rows=200)
    end = now_us()
    engine = start(world.settings())
    for seed in range(5):
        produce(world.bootstrap, world.topic, some_events(2_000, 300, end, seed=seed))
        world.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    until(lambda: world.taken() == 10_000, "all taken", alive=[engine])
    until(lambda: world.watermark() > end, "time goes on", alive=[engine])
    engine.end()
    assert folded(world.log()) == world.members() == settled_members(world)


@pytest.mark.kafka
def test_the_broker_is_killed_and_comes_back(make_world: Make, start: Start) -> None:
    node = apache_kafka_node()
    try:
        world = make_world(node.bootstrap, lateness=0.1)
        engine = start(world.settings())
        produce(world.bootstrap, world.topic, [event("a", 1, now_us(), amount=10)])
        until(lambda: ("buyers", "a") in world.members(), "a is in", alive=[engine])
        node.kill()
        node.start()
        produce(world.bootstrap, world.topic, [event("b", 2, now_us(), amount=10)])
        until(lambda: ("buyers", "b") in world.members(), "b is in", alive=[engine])
        engine.end()
    finally:
        node.__exit__(None, None, None)


def test_metrics(make_world: Make, embedded_broker: str, start: Start) -> None:
    port = _free_port()
    world = make_world(embedded_broker, engine_metrics_port=port)
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, [event("a", 1, now_us(), amount=10), ("x", b"no")])
    until(lambda: world.taken() == 2, "taken", alive=[engine])

    def scraped() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    text = until(lambda: (t := scraped()) and "tidegate_lag_messages{" in t and t, "lag is shown")
    for name in (
        "tidegate_events_total", 'tidegate_events_rejected_total{reason="not_json"}',
        'tidegate_transitions_total{direction="entered",segment="buyers"}', 'tidegate_lag_messages{partition="0"}',
        'tidegate_watermark_age_seconds{shard="0"}', "tidegate_batch_rows_count", "tidegate_evaluation_seconds_count",
        'tidegate_event_to_commit_seconds_bucket{le="0.1"}',
    ):  # fmt: skip
        assert name in text, name
    # What waits for the database lags, although it has been read.
    with closing(postgres.connect(world.url)) as connection, connection.transaction():
        connection.execute("LOCK TABLE tidegate.shards IN ACCESS EXCLUSIVE MODE")
        produce(world.bootstrap, world.topic, [event(f"u{i}", f"m{i}", now_us()) for i in range(500)])
        until(lambda: _lag(scraped()) > 400, "lag", alive=[engine])
    until(lambda: _lag(scraped()) == 0, "no lag", alive=[engine])
    engine.end()
    with pytest.raises(OSError):
        scraped()


def _lag(text: str) -> float:
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith("tidegate_lag_messages{"))


def test_pace() -> None:
    pace = Pace([0, 1], rows_in_flight=10, bytes_in_flight=1_000)
    assert pace.may_read(0, 0)
    pace.emitted(0, 8, 100)
    assert pace.may_read(0, 8)
    pace.emitted(0, 16, 100)
    assert not pace.may_read(0, 16) and pace.may_read(1, 0)
    pace.reached(0, {0: 16}, 1)
    assert not pace.may_read(0, 16), "the other shard has not"
    pace.reached(1, {0: 8}, 1)
    assert pace.may_read(0, 16)
    pace.emitted(0, 17, 2_000)
    assert not pace.may_read(0, 17), "too many bytes"
    pace.reached(0, {0: 17}, 1)
    pace.reached(1, {0: 17}, 1)
    assert pace.may_read(0, 17)
    pace.emitted(0, 40, 100)
    pace.handed(0, {0: 40})
    pace.quiet(1, {0: 40})
    pace.quiet(0, {0: 41})
    assert pace.done(0) == 17 and not pace.may_read(0, 40), "the end of the input does not commit what came before"
    pace.reached(0, {0: 40}, 1)
    pace.quiet(0, {0: 41})
    assert pace.done(0) == 40 and pace.may_read(0, 40)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


