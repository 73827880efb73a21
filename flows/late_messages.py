"""Dead letters for events that a shard found too old; their messages are fetched once more."""

import time
from collections.abc import Sequence

from confluent_kafka import Consumer, Message, TopicPartition

from flows import kafka
from flows.engine import Engine
from flows.steps import headers_of
from segmentation.events.rejects import Reason
from storage.commits import DeadLetter

SECONDS_EACH = 10.0


def late_letters(engine: Engine, found: Sequence[tuple[int, int]]) -> list[DeadLetter]:
    """found: (partition, offset). A message that is gone by now leaves a letter without a value."""
    topic, horizon = engine.settings.events_topic, engine.settings.dedupe_horizon
    detail = f"event_time: more than {horizon:g} s (dedupe_horizon) behind what the engine has seen"
    client = kafka.consumer(
        engine.settings, **{"auto.offset.reset": "latest", "enable.partition.eof": True, "fetch.wait.max.ms": 20}
    )
    letters = []
    try:
        for partition, offset in sorted(found):
            message = _message(client, topic, partition, offset)
            key, value = (None, None) if message is None else (message.key(), message.value())
            headers = [] if message is None else headers_of(message)
            letters.append(
                DeadLetter(topic, partition, offset, key, value, headers, str(Reason.EVENT_TOO_LATE), detail)
            )
    finally:
        client.close()
    return letters


def _message(client: Consumer, topic: str, partition: int, offset: int) -> Message | None:
    client.assign([TopicPartition(topic, partition, offset)])
    deadline = time.monotonic() + SECONDS_EACH
    while time.monotonic() < deadline:
        message = client.poll(0.1)
        if message is None:
            continue
        if message.error() is not None or (message.offset() or 0) > offset:
            return None
        if message.offset() == offset:
            return message
    return None
