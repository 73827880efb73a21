"""Which refused profiles a later record of their key has replaced in the topic: to send those again would put an old
profile, or one of an erased user, behind a newer one, which compaction would then forget."""

import time
from collections import defaultdict
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, TopicPartition

from flows import kafka
from flows.steps import headers_of
from segmentation.errors import TidegateError
from segmentation.events.origin import Origin
from storage.dead_letters import Letter
from storage.settings import Settings

#: Without a message for so long, the topic is not there or does not answer, s.
PATIENCE_SECONDS = 60.0


def superseded(settings: Settings, letters: Sequence[Letter]) -> set[Origin]:
    """letters: of the topic of profiles. Each one's partition is read from behind the first of them to its end."""
    by_partition: defaultdict[int, list[Letter]] = defaultdict(list)
    for letter in letters:
        by_partition[letter.origin.partition].append(letter)
    found: set[Origin] = set()
    for partition, some in by_partition.items():
        last = _last_of(settings, partition, {letter.key for letter in some}, min(x.origin.offset for x in some))
        for letter in some:
            offset, of = last.get(letter.key, (-1, None))
            # One that was sent again before is no later one, but the same.
            same = letter.origin, Origin.among(letter.headers) or letter.origin
            if offset > letter.origin.offset and of not in same:
                found.add(letter.origin)
    return found


def _last_of(
    settings: Settings, partition: int, keys: set[bytes | None], after: int
) -> dict[bytes | None, tuple[int, Origin | None]]:
    """Of each of these keys the last record behind the offset `after`: its offset, and what it was sent again for."""
    where = TopicPartition(settings.profiles_topic, partition, after + 1)
    last: dict[bytes | None, tuple[int, Origin | None]] = {}
    client = kafka.consumer(
        settings, **{"auto.offset.reset": "earliest", "enable.partition.eof": True, "isolation.level": "read_committed"}
    )
    try:
        client.assign([where])
        heard = time.monotonic()
        while time.monotonic() - heard < PATIENCE_SECONDS:
            for message in client.consume(1_000, 0.2):
                heard = time.monotonic()
                if _is_end(settings, message):
                    return last
                if message.key() in keys:
                    last[message.key()] = message.offset() or 0, Origin.among(headers_of(message))
    finally:
        client.close()
    raise TidegateError(f"Kafka at {settings.kafka} does not show partition {partition} of {settings.profiles_topic}.")


def _is_end(settings: Settings, message: Message) -> bool:
    error = message.error()
    if error is None or error.code() == KafkaError._PARTITION_EOF:
        return error is not None
    raise TidegateError(f"Kafka at {settings.kafka}, topic {settings.profiles_topic}: {error.str()}.")
