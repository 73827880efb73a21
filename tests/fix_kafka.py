"""Fixtures: a broker for the session, and topics of a test's own.

`embedded_broker` is always there. `apache_kafka` is a real node: that of KAFKA_BOOTSTRAP_SERVERS, or
one started from Maven's artifacts; where neither can be had, its tests skip with the reason, and
with CI set they fail.

Use: `from tests.fix_kafka import apache_kafka, embedded_broker` in a conftest.py.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from flows.embedded_broker import EmbeddedBroker
from tests.kafka_node.node import KafkaNode, Unavailable

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def embedded_broker() -> Iterator[str]:
    """Bootstrap address of the embedded broker."""
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[str]:
    """Bootstrap address of Apache Kafka. Mark the test with `kafka`."""
    given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if given:
        yield given
        return
    node = apache_kafka_node()
    yield node.bootstrap
    node.__exit__(None, None, None)


def apache_kafka_node() -> KafkaNode:
    """A node of the caller's own, started; skips where there can be none."""
    node = KafkaNode()
    try:
        return node.start()
    except Unavailable as reason:
        node.__exit__(None, None, None)
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the tests on Apache Kafka: {reason}")
        pytest.skip(f"no Apache Kafka: {reason}")


def new_topic(bootstrap: str, name: str, partitions: int) -> str:
    """A new topic whose name begins with `name`."""
    topic = f"{name}-{os.getpid()}-{next(_numbers)}"
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    return topic


def produce(
    bootstrap: str,
    topic: str,
    messages: Sequence[tuple[str | bytes | None, bytes | None]],
    *,
    partition: int | None = None,
    timestamps_ms: Sequence[int] | None = None,
    headers: Mapping[str, bytes] | None = None,
) -> None:
    """(key, value) of each; acknowledged when this returns."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "log_level": 0, "linger.ms": 5, "partitioner": "murmur2_random",
         "enable.idempotence": True, "queue.buffering.max.messages": 2_000_000}
    )  # fmt: skip
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            failed.append(error)

    for place, (key, value) in enumerate(messages):
        more: dict[str, Any] = {} if partition is None else {"partition": partition}
        if timestamps_ms is not None:
            more["timestamp"] = timestamps_ms[place]
        producer.produce(topic, value, key, headers=dict(headers or {}), on_delivery=delivered, **more)
        if place % 1000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0
    assert not failed, failed[0]


def consume_all(bootstrap: str, topic: str, partitions: int) -> list[Message]:
    """Every message of the topic up to its present end, partition after partition."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "tests", "enable.auto.commit": False, "log_level": 0,
         "enable.partition.eof": True, "fetch.wait.max.ms": 20}
    )  # fmt: skip
    found: list[Message] = []
    try:
        for partition in range(partitions):
            consumer.assign([TopicPartition(topic, partition, 0)])
            while (message := consumer.poll(30)) is not None:
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    break
                found.append(message)
    finally:
        consumer.close()
    return found
