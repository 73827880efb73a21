"""Dead letters for events that a shard found too old; their messages are read once more.

Such messages come in crowds (a replay of old data), one after the other in their partition. So a
partition is read forward from its first one, and jumps only over gaps that cost more to read.
"""

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from flows import kafka
from flows.engine import Engine
from flows.steps import headers_of, stamp_of
from segmentation.events.rejects import Reason
from storage.commits import DeadLetter

#: Messages of one read, and the largest gap that is read instead of jumped over.
READ, GAP = 1_000, 1_000
UNASSIGNED = -GAP - 1
#: Longest wait for the broker after a stop.
STOP_SECONDS = 4.0
DELETED = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}


def late_letters(engine: Engine, found: Sequence[tuple[int, int, str]]) -> list[DeadLetter]:
    """found: (partition, offset, user id). A message that is gone by now leaves a letter without a value.

    Waits for a broker that is away; KafkaUnreachable when the flow is to end meanwhile.
    """
    topic, horizon = engine.settings.events_topic, engine.settings.dedupe_horizon
    detail = f"event_time: more than {horizon:g} s (dedupe_horizon) behind what the engine has seen"
    wanted: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for partition, offset, user_id in found:
        wanted[partition][offset] = user_id
    client = kafka.consumer(
        engine.settings,
        **{"auto.offset.reset": "error", "enable.partition.eof": True, "isolation.level": "read_committed",
           "fetch.wait.max.ms": 20, "queued.max.messages.kbytes": 16_384},
    )  # fmt: skip
    letters = []
    try:
        for partition, offsets in sorted(wanted.items()):
            messages = {message.offset(): message for message in _messages(engine, client, partition, sorted(offsets))}
            for offset in sorted(offsets):
                message = messages.get(offset)
                key, value = (None, None) if message is None else (message.key(), message.value())
                headers = [] if message is None else headers_of(message)
                stamp = None if message is None else stamp_of(message)
                reason, whose = str(Reason.EVENT_TOO_LATE), offsets[offset]
                letters.append(DeadLetter(topic, partition, offset, key, value, headers, reason, detail, whose, stamp))
    finally:
        client.close()
    return letters


def _messages(engine: Engine, client: Consumer, partition: int, offsets: Sequence[int]) -> Iterator[Message]:
    """The messages at these offsets (ascending) that are still there."""
    where = TopicPartition(engine.settings.events_topic, partition)
    wanted, left, position = set(offsets), deque(offsets), UNASSIGNED
    last = time.monotonic()
    while left:
        if not position <= left[0] <= position + GAP:
            position = where.offset = left[0]
            client.assign([where])
        before = position
        for message in client.consume(READ, 0.1):
            error, offset = message.error(), message.offset()
            if error is None and offset is not None:
                position = offset + 1
                if offset in wanted:
                    yield message
            elif error is not None and error.code() == KafkaError._PARTITION_EOF:
                return
            elif error is not None and error.code() in DELETED:
                _forget_deleted(client, where, left)
                position = UNASSIGNED
                break
        while left and left[0] < position:
            left.popleft()
        if position not in (before, UNASSIGNED):
            last = time.monotonic()
        elif engine.ending and time.monotonic() - last > STOP_SECONDS:
            raise kafka.KafkaUnreachable(
                f"Kafka at {engine.settings.kafka} does not answer; events that came too late are dead-lettered "
                "at the next start."
            )


def _forget_deleted(client: Consumer, where: TopicPartition, left: deque[int]) -> None:
    """Takes the offsets away that the partition does not have any more, unless the broker does not answer."""
    try:
        first, end = client.get_watermark_offsets(where, 5)
    except KafkaException:
        return
    if left[0] > end:  # the topic is another one
        left.clear()
    while left and left[0] < first:
        left.popleft()
