"""Sending messages to the topic of events, for `send`, `replay` and the demo."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from flows import kafka
from segmentation.errors import TidegateError
from storage.settings import Settings

Placed = Callable[[int, int], None]
TooLarge = Callable[[str], None]

_TOO_LARGE = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)


class Sender:
    """Sends to `topic` (default: the settings' topic of events); the topic must be there.

    Keyed by user id with Java's partitioner, in order per partition, acknowledged by all in-sync
    replicas. A delivery failure ends with a TidegateError at the next `send` or at `finish`.
    """

    def __init__(
        self, settings: Settings, timeout: float, topic: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self.topic = topic or settings.events_topic
        self._address, self._timeout = settings.kafka, timeout
        self.partitions = kafka.partition_count(settings, self.topic, timeout)
        if not self.partitions:
            raise TidegateError(
                f"Kafka at {settings.kafka} has no topic {self.topic!r}. `tidegate run` creates it, "
                "or kafka-topics.sh --create; or name another one."
            )
        self._producer = kafka.producer(settings, **{"delivery.timeout.ms": round(timeout * 1_000), **(options or {})})
        self._error: KafkaError | None = None
        self.delivered = self.failed = 0

    def send(
        self,
        key: str | bytes | None,
        value: bytes | None,
        placed: Placed | None = None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        too_large: TooLarge | None = None,
        partition: int | None = None,
        stamp: int | None = None,
    ) -> None:
        """Queues one message; blocks while the queue is full.

        placed(partition, offset) once delivered; the offset is negative where Kafka does not say.
        too_large(words) instead of an error where Kafka takes no message of this size. partition, stamp (its Kafka
        timestamp, µs): instead of the key's, and of the present one.
        """

        def report(error: KafkaError | None, message: Any) -> None:
            if error is not None:
                self.failed += 1
                if too_large is not None and error.code() in _TOO_LARGE:
                    too_large(error.str())
                    return
                self._error = self._error or error
                return
            self.delivered += 1
            if placed is not None:
                placed(message.partition(), message.offset())

        self._raise()
        raw_key = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
        place: dict[str, Any] = {} if partition is None else {"partition": partition}
        if stamp is not None:
            place["timestamp"] = stamp // 1_000
        while True:
            try:
                self._producer.produce(
                    self.topic, value, raw_key, headers=list(headers) or None, on_delivery=report, **place
                )
                break
            except BufferError:
                self._producer.poll(0.1)
                self._raise()
            except KafkaException as error:
                if too_large is not None and error.args[0].code() in _TOO_LARGE:
                    too_large(error.args[0].str())
                    break
                raise self._failure(error.args[0]) from None
        self._producer.poll(0)

    def poll(self, seconds: float) -> None:
        """Handles acknowledgements for so long."""
        self._producer.poll(seconds)
        self._raise()

    def finish(self) -> None:
        """Waits until everything is acknowledged, or has failed, which is an error."""
        # librdkafka itself gives up on a message after delivery.timeout.ms, so this ends.
        while self._producer.flush(1.0):
            if self._error is not None:
                self._producer.purge()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._failure(self._error)

    def _failure(self, error: KafkaError) -> TidegateError:
        return TidegateError(
            f"Kafka at {self._address}, topic {self.topic}: {error.str()}. "
            f"{self.delivered:,} messages were delivered before."
        )
