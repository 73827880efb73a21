"""What both ways of sending a batch have in common: topics, what Kafka answered, and the errors.

A publisher's `publish` returns when the whole batch is sent; NotSent says what became of it
otherwise. Any other error leaves that open: who gets it begins anew, which finds out.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka import Message as KafkaMessage

from segmentation.errors import TidegateError
from storage.outbox import DEAD_LETTER, Batch, Message
from storage.settings import Settings

#: Of a producer.
Options = Mapping[str, str | int | bool]

#: Kafka has looked at the message and will not take it, however often it is offered.
REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.POLICY_VIOLATION,
    }
)
OPTIONS: Options = {
    "linger.ms": 1,
    "compression.type": "lz4",
    "delivery.timeout.ms": 30_000,
    # The broker decides what is too large. Above this it would not even answer (socket.request.max.bytes).
    "message.max.bytes": 100_000_000,
}
#: Stands for an id where a message is none of the outbox.
RECORD = 0
#: One message a request, so that it is known which of them was refused.
CAREFULLY: Options = {"batch.num.messages": 1}


class Last:
    """A stop, and how long after it what waits is still sent, `seconds`."""

    def __init__(self, stop: threading.Event, seconds: float) -> None:
        self.stop, self._seconds = stop, seconds
        self._end: float | None = None

    def over(self) -> bool:
        if not self.stop.is_set():
            return False
        self._end = self._end or time.monotonic() + self._seconds
        return time.monotonic() > self._end


class NotSent(TidegateError):
    """Not all of a batch was sent.

    sent: ids that Kafka has acknowledged and that nobody need send again; refused: ids and why, for which other
    messages of the same request may have been the reason. Its publisher must not be used any more.
    """

    def __init__(self, words: str, refused: Mapping[int, KafkaError], sent: Sequence[int] = ()) -> None:
        super().__init__(words)
        self.refused, self.sent = refused, sent


class Publisher(Protocol):
    def publish(self, batch: Batch) -> None: ...

    def close(self) -> None: ...


def topic_of(settings: Settings, message: Message) -> str:
    return settings.dead_letter_topic if message.kind == DEAD_LETTER else settings.transitions_topic


def _bytes(told: str | bytes | None) -> bytes:
    return told.encode() if isinstance(told, str) else told or b""


class Answers:
    """What Kafka answered to the messages of one batch.

    each: whether it is told of each message. If not, `acknowledged` is not to be asked, and of one that failed its
    content tells which it was: a callback of its own makes a message four times as dear (2.2 us instead of 0.5).
    """

    def __init__(self, batch: Batch, each: bool) -> None:
        self._batch, self._each = batch, each
        self._done: set[int] = set()
        self._by_content: dict[tuple[bytes, bytes], list[int]] | None = None
        self.errors: dict[int, KafkaError] = {}

    def produce(self, producer: Producer, settings: Settings) -> None:
        """Hand the batch to the client, in order; ends early where the client takes nothing any more."""
        for message in self._batch.messages:
            if not self.send(producer, topic_of(settings, message), message):
                return

    def send(self, producer: Producer, topic: str, message: Message, partition: int = -1) -> bool:
        answered = partial(self._answered, message.id) if self._each else self._failed
        headers: list[tuple[str, str | bytes | None]] | None = [*message.headers] if message.headers else None
        while True:
            try:
                producer.produce(topic, message.value, message.key, partition, answered, headers=headers)
                return True
            except BufferError:
                producer.poll(0.05)
            except KafkaException as error:
                self.errors[message.id] = error.args[0]
                return error.args[0].code() in REFUSALS

    def _answered(self, id: int, error: KafkaError | None, message: KafkaMessage) -> None:
        if error is None:
            self._done.add(id)
        else:
            self.errors[id] = error

    def _failed(self, error: KafkaError | None, message: KafkaMessage) -> None:
        """What is none of the batch is the record. Equal messages take turns: the same becomes of each."""
        if error is None:
            return
        if self._by_content is None:
            self._by_content = {}
            for one in reversed(self._batch.messages):
                self._by_content.setdefault((one.key or b"", one.value or b""), []).append(one.id)
        ids = self._by_content.get((_bytes(message.key()), _bytes(message.value())))
        self.errors[ids.pop() if ids else RECORD] = error

    def acknowledged(self) -> list[int]:
        """Ids, up to the first of each key that was not acknowledged: a user's later ones wait for it."""
        ids, held = [], set()
        for message in self._batch.messages:
            if message.id not in self._done:
                held.add(message.key)
            elif message.key not in held:
                ids.append(message.id)
        return ids

    def not_sent(self, settings: Settings, sent: Sequence[int] = ()) -> NotSent:
        refused = {id: error for id, error in self.errors.items() if error.code() in REFUSALS and id != RECORD}
        first = next(iter((refused or self.errors).values()), None)
        words = "no answer to all messages" if first is None else first.str()
        return NotSent(f"Kafka at {settings.kafka}: {words}.", refused, sent)
