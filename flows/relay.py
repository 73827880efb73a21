"""The relay: what was committed with the membership goes to its Kafka topics.

At least once and, per user, in order: messages are deleted from the outbox when Kafka has
acknowledged them. Whoever holds the outbox's lock is the relay; others wait for their turn.
"""

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import closing

from confluent_kafka import KafkaError, Producer
from confluent_kafka import Message as KafkaMessage

from flows import kafka
from segmentation.errors import TidegateError
from storage import postgres
from storage.outbox import TRANSITION, Message, Outbox
from storage.settings import Settings

log = logging.getLogger("tidegate.relay")

BATCH = 5_000
#: Between looks into an empty outbox, s.
PAUSE_SECONDS = 0.02
TURN_SECONDS = 1.0
FLUSH_SECONDS = 30.0
#: After a stop: how long what is there is still sent, s.
DRAIN_SECONDS = 3.0
PARTITIONS = {"transitions": 4, "dead_letters": 1}


def relay_forever(settings: Settings, stop: threading.Event) -> None:
    """Returns when `stop` is set and what was in the outbox then is sent, or cannot be sent in time."""
    pause = 0.1
    while not stop.is_set():
        try:
            _relay(settings, stop)
            pause = 0.1
        except kafka.Stopped:
            return
        except (TidegateError, BufferError) as error:
            log.warning("announcing transitions: %s Trying again in %.1f s; nothing is lost.", error, pause)
            stop.wait(pause)
            pause = min(pause * 2, 10.0)
        except Exception:
            log.exception("announcing transitions failed; trying again in %.1f s, nothing is lost", pause)
            stop.wait(pause)
            pause = min(pause * 2, 10.0)


def relay_once(settings: Settings, limit: int = BATCH) -> int:
    """Send what is there, at most `limit`; how many. 0 also where another relay is at work."""
    url = settings.database_url.get_secret_value()
    ensure_topics(settings)
    with closing(postgres.connect(url, application="tidegate relay", autocommit=True)) as connection:
        outbox = Outbox(connection)
        return _send(settings, outbox, _producer(settings), limit) if outbox.acquire() else 0


def ensure_topics(settings: Settings, stop: threading.Event | None = None) -> None:
    wanted = {
        settings.transitions_topic: PARTITIONS["transitions"],
        settings.dead_letter_topic: PARTITIONS["dead_letters"],
    }
    for name in kafka.ensure_topics(settings, wanted, stop=stop):
        log.info("created topic %s at %s", name, settings.kafka)


def _relay(settings: Settings, stop: threading.Event) -> None:
    url = settings.database_url.get_secret_value()
    ensure_topics(settings, stop)
    with closing(
        postgres.connect(url, application="tidegate relay", wait=None, stop=stop, autocommit=True)
    ) as connection:
        outbox = Outbox(connection)
        while not outbox.acquire():
            if stop.wait(TURN_SECONDS):
                return
        producer = _producer(settings)
        while not stop.is_set():
            if not _send(settings, outbox, producer, BATCH):
                stop.wait(PAUSE_SECONDS)
        deadline = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < deadline and _send(settings, outbox, producer, BATCH, DRAIN_SECONDS):
            pass


def _producer(settings: Settings) -> Producer:
    return kafka.producer(settings, **{"linger.ms": 2, "compression.type": "lz4", "delivery.timeout.ms": 30_000})


def _send(
    settings: Settings, outbox: Outbox, producer: Producer, limit: int, timeout_s: float = FLUSH_SECONDS
) -> int:
    """One batch; raises TidegateError where Kafka refused some of it, which then stays in the outbox."""
    batch = outbox.claim(limit)
    if not batch:
        return 0
    sent = _Sent(batch)
    for place, message in enumerate(batch):
        topic = settings.transitions_topic if message.kind == TRANSITION else settings.dead_letter_topic
        _produce(producer, topic, message, sent.callback(place))
    left = producer.flush(timeout_s)
    outbox.delete(sent.acknowledged())
    if sent.error is not None or left:
        # What is still under way must not be overtaken by its repetition.
        producer.purge()
        producer.flush(1)
        words = sent.error.str() if sent.error is not None else f"no answer to {left} messages"
        raise TidegateError(f"Kafka at {settings.kafka}: {words}.")
    return len(batch)


def _produce(producer: Producer, topic: str, message: Message, callback: "_Callback") -> None:
    while True:
        try:
            producer.produce(
                topic, message.value, message.key, headers=list(message.headers) or None, on_delivery=callback
            )
            return
        except BufferError:
            producer.poll(0.05)


class _Sent:
    """Which messages of a batch Kafka has acknowledged."""

    def __init__(self, batch: Sequence[Message]) -> None:
        self._batch = batch
        self._done: list[bool] = [False] * len(batch)
        self.error: KafkaError | None = None

    def callback(self, place: int) -> "_Callback":
        return _Callback(self, place)

    def settle(self, place: int, error: KafkaError | None) -> None:
        if error is None:
            self._done[place] = True
        else:
            self.error = error

    def acknowledged(self) -> list[int]:
        """Ids, up to the first of each key that was not acknowledged: a user's later ones wait for it."""
        ids, held = [], set()
        for message, done in zip(self._batch, self._done):
            if not done:
                held.add(message.key)
            elif message.key not in held:
                ids.append(message.id)
        return ids


class _Callback:
    def __init__(self, sent: _Sent, place: int) -> None:
        self._sent, self._place = sent, place

    def __call__(self, error: KafkaError | None, message: KafkaMessage) -> None:
        self._sent.settle(self._place, error)
