"""Each message once: a batch and the record that it was sent are one Kafka transaction.

The record is the batch's token, written under the database's name into a topic of the relay's own;
the last one that was committed says which batch was sent last. Tokens are equal or they are not: a
database that was set back, a topic or a broker that is new give another one or none, and then the
batch is sent again rather than left out. (Committing the token as an offset of a consumer group would
spare the topic, but such offsets are forgotten when nobody commits for a week, and librdkafka's
send_offsets_to_transaction may wait for ever after a broker was restarted: librdkafka issue 5456.)

The transactional id belongs to the database. `open` fences an earlier relay with the same id, ends
the transaction that it left, and only then is the record read; so what it says does not change any
more. The order at a start: the database's lock, `open`, what the database has fixed, `sent`.

Readers with isolation.level=read_committed see nothing of a transaction before all of it, and
nothing of one that was aborted.
"""

import threading
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from flows import kafka
from flows.relay_sending import OPTIONS, RECORD, Answers, Last, Options
from segmentation.errors import TidegateError
from storage.outbox import Batch, Message
from storage.settings import Settings

T = TypeVar("T")

#: After that long the broker gives a transaction up, and readers no longer wait for its end. ms.
TRANSACTION_MS = 60_000
#: How long it is tried to open, and to read the record. s.
CALL_SECONDS = 60.0
#: One call's wait at a time, so that a stop is seen. s.
SLICE_SECONDS, PAUSE_SECONDS = 1.0, 0.05
#: So many of the last records are looked at first; then more.
FIRST_LOOK, NEXT_LOOK = 64, 16

#: Only the last record is ever read; small files, so that the older ones soon go.
TOPIC_CONFIG = {"cleanup.policy": "compact", "segment.bytes": str(16 << 20)}

_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}
_UNKNOWN = {KafkaError._UNSUPPORTED_FEATURE, KafkaError.UNSUPPORTED_VERSION}
_FORBIDDEN = {
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
_NOT_YET = {
    KafkaError._TRANSPORT,
    KafkaError._TIMED_OUT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
}


class Fenced(TidegateError):
    """Another relay has taken over, or the broker gave our transaction up."""


class Unfit(TidegateError):
    """The broker has no transactions, or they do not keep what they promise."""


def topic_of_records(settings: Settings) -> str:
    return f"{settings.transitions_topic}-relay"


class Transactions:
    """A producer of the relay's messages. `name`: the database's, the same for all of its relays."""

    def __init__(self, settings: Settings, name: str, options: Options, last: Last) -> None:
        self._settings, self._last = settings, last
        self._never = threading.Event()
        self._key, self._topic = name.encode(), topic_of_records(settings)
        # With the topic's name: a copy of the database that sends to other topics does not fence the original.
        self._id = f"tidegate-relay-{name}-{settings.transitions_topic}"
        more = {"transaction.timeout.ms": TRANSACTION_MS, "delivery.report.only.error": True}
        self._producer = kafka.producer(settings, self._id, **OPTIONS, **more, **options)
        reading = {"isolation.level": "read_committed", "enable.partition.eof": True, "auto.offset.reset": "earliest"}
        self._consumer = kafka.consumer(settings, **reading, **{"fetch.wait.max.ms": 20})

    def close(self) -> None:
        self._consumer.close()

    def open(self) -> None:
        """From here on no earlier relay of that name can send anything. Raises Unfit."""
        self._patiently(self._producer.init_transactions)

    def sent(self) -> str | None:
        """Token of the last batch that was sent whole; None if there is none, or it was forgotten."""
        look = FIRST_LOOK
        while True:
            low, high = self._bounds()
            found = self._read(max(low, high - look), high)
            if found or high - look <= low:
                return found[-1] if found else None
            look *= NEXT_LOOK

    def check(self) -> None:
        """Raises Unfit if readers are shown what was aborted.

        Two transactions with nothing but a record. What the record said before must be settled.
        """
        aborted, kept = str(uuid.uuid4()), str(uuid.uuid4())
        _, before = self._bounds()
        for token, end in ((aborted, self._abort), (kept, self._commit)):
            answers = Answers(Batch(0, token, []), each=False)
            self._call(self._producer.begin_transaction)
            self._record(token, answers)
            self._flush(answers)
            if answers.errors:
                raise answers.not_sent(self._settings)
            end()
        # A commit may be answered shortly before it can be read.
        found = self._read(before, None, kept)
        if aborted in found:
            raise Unfit("the broker shows readers what was aborted")

    def publish(self, batch: Batch) -> None:
        """Raises NotSent (and nothing of the batch can be read), Fenced, or TidegateError: all or nothing was sent."""
        answers = Answers(batch, each=False)
        self._call(self._producer.begin_transaction)
        self._call(lambda: answers.produce(self._producer, self._settings))
        self._record(batch.token, answers)
        self._flush(answers)
        if answers.errors:
            self._abort()
            raise answers.not_sent(self._settings)
        self._commit()

    def _record(self, token: str, answers: Answers) -> None:
        answers.send(self._producer, self._topic, Message(RECORD, "", self._key, token.encode(), []), partition=0)

    def _flush(self, answers: Answers) -> None:
        deadline = time.monotonic() + TRANSACTION_MS / 1_000
        # After an error the rest is not sent any more: nothing to wait for.
        while self._call(lambda: self._producer.flush(SLICE_SECONDS)) and not answers.errors:
            if time.monotonic() > deadline:
                raise TidegateError(f"Kafka at {self._settings.kafka}: no answer to all messages.")

    def _commit(self) -> None:
        # No time is given, so that librdkafka takes what the transaction has left; it warns of anything else.
        self._call(self._producer.commit_transaction)

    def _abort(self) -> None:
        self._call(self._producer.abort_transaction)

    def _call(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except KafkaException as failure:
            raise self._translated(failure.args[0]) from failure
        except SystemError as failure:
            # confluent_kafka goes on calling delivery callbacks after it has raised a fatal error.
            if isinstance(failure.__cause__, KafkaException):
                raise self._translated(failure.__cause__.args[0]) from failure
            raise

    def _bounds(self) -> tuple[int, int]:
        """(first, next) offset of the records."""
        place = TopicPartition(self._topic, 0)

        def ask(seconds: float) -> tuple[int, int]:
            found: tuple[int, int] | None = self._consumer.get_watermark_offsets(place, timeout=seconds)
            if found is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
            return found

        return self._patiently(ask)

    def _read(self, start: int, end: int | None, wanted: str | None = None) -> list[str]:
        """Our committed tokens from `start` on, up to `end` or until `wanted` has come."""
        self._consumer.assign([TopicPartition(self._topic, 0, start)])
        deadline = time.monotonic() + CALL_SECONDS
        found: list[str] = []
        try:
            while True:
                message = self._consumer.poll(SLICE_SECONDS)
                error = message.error() if message is not None else None
                if message is not None and error is None and message.key() == self._key:
                    found.append((message.value() or b"").decode())
                    if found[-1] == wanted:
                        return found
                elif message is not None and error is not None and error.code() == KafkaError._PARTITION_EOF:
                    if end is not None and (message.offset() or 0) >= end:
                        return found
                elif error is not None and error.code() not in _NOT_YET:
                    raise self._translated(error)
                if time.monotonic() > deadline:
                    raise TidegateError(f"Kafka at {self._settings.kafka}: topic {self._topic} cannot be read.")
                if self._last.over():
                    raise kafka.Stopped
        finally:
            self._consumer.unassign()

    def _patiently(self, call: Callable[[float], T]) -> T:
        """Again while it may help: init_transactions goes on where it timed out."""
        deadline = time.monotonic() + CALL_SECONDS
        while True:
            try:
                return call(SLICE_SECONDS)
            except KafkaException as failure:
                error = failure.args[0]
                again = error.retriable() or error.code() in _NOT_YET
                if not again or time.monotonic() > deadline:
                    raise self._translated(error) from failure
                if self._last.over():
                    raise kafka.Stopped from failure
                self._never.wait(PAUSE_SECONDS)

    def _translated(self, error: KafkaError) -> TidegateError:
        words = f"Kafka at {self._settings.kafka}: {error.str()}."
        if error.code() in _FENCED:
            return Fenced(words)
        if error.code() in _UNKNOWN:
            return Unfit(error.str())
        if error.code() in _FORBIDDEN:
            return TidegateError(
                f"{words} The relay needs Write and Describe on transactional id {self._id}, Read and Write on topic "
                f"{self._topic}, and Write on topics {self._settings.transitions_topic} and "
                f"{self._settings.dead_letter_topic}; or set `relay` to at_least_once."
            )
        return TidegateError(words)
