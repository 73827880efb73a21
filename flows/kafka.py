"""Kafka clients made from the settings, and the few questions asked of a cluster.

Every error that leaves this module is a `TidegateError` that names the address. Waiting for a
cluster that does not answer goes on, with a line in the log that says which address, until it
answers, the caller's time is up or the caller's `stop` is set.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from segmentation.errors import TidegateError
from storage.settings import Settings

log = logging.getLogger("tidegate.kafka")
_UNHEARD = logging.Logger("librdkafka")
_UNHEARD.addHandler(logging.NullHandler())

REQUEST_SECONDS = 5.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0
T = TypeVar("T")


class KafkaUnreachable(TidegateError):
    """No broker answered in the time that the caller gave."""

    passing = True


class Stopped(Exception):
    """The caller's `stop` was set while waiting; nobody needs to read this."""


#: Waiting does not help against these: the settings are wrong.
HOPELESS = {
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError._INVALID_ARG,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
}


#: Of a consumer: the exactness of the engine hangs on these.
NOT_FOR_SETTINGS = ("enable.partition.eof", "auto.offset.reset", "isolation.level", "error_cb")


class Complaints:
    """librdkafka's error callback: one line in the log per kind and 10 s, never a flood."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._last: dict[int, float] = {}
        self.hopeless: KafkaError | None = None

    def __call__(self, error: KafkaError) -> None:
        if error.code() in HOPELESS:
            self.hopeless = error
        now = time.monotonic()
        if now - self._last.get(error.code(), -1e9) < 10:
            return
        self._last[error.code()] = now
        log.warning("Kafka at %s: %s; still trying", self._address, error.str())


def client_options(settings: Settings, **more: Any) -> dict[str, Any]:
    """What every client needs: address, TLS and SASL from `kafka_options`, and no chatter on stderr.

    `kafka_options` win over what the engine prefers, except where the engine's exactness depends on it
    (those are given by the caller after this call).
    """
    options: dict[str, Any] = {
        "bootstrap.servers": settings.kafka,
        "client.id": "tidegate",
        "log_level": 0,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 2000,
        "socket.connection.setup.timeout.ms": 5000,
        "error_cb": Complaints(settings.kafka),
    }
    options.update(more)
    options.update(settings.kafka_options)
    return options


def admin(settings: Settings, **more: Any) -> AdminClient:
    return _made(settings, lambda: AdminClient(client_options(settings, **more)))


def consumer(settings: Settings, **more: Any) -> Consumer:
    """A consumer that never commits and never joins a group; the caller assigns partitions by offset."""
    options = client_options(settings, **more)
    options.update({name: more[name] for name in NOT_FOR_SETTINGS if name in more})
    options.update(
        {
            "group.id": "tidegate",  # librdkafka wants one; it is never joined
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "max.poll.interval.ms": 86_400_000,
        }
    )
    return _made(settings, lambda: Consumer(options))


def producer(settings: Settings, transactional_id: str | None = None, /, **more: Any) -> Producer:
    """Idempotent, keyed as Java's clients do it, so that a user's events are in one partition whoever sends them."""
    options = client_options(settings, **{"linger.ms": 5, **more})
    options.update({"enable.idempotence": True, "partitioner": "murmur2_random"})
    if transactional_id is not None:
        # Being fenced is nothing that librdkafka need cry out on stderr: the caller is told.
        options.update({"transactional.id": transactional_id, "logger": _UNHEARD})
    return _made(settings, lambda: Producer(options))


def _made(settings: Settings, make: Callable[[], T]) -> T:
    try:
        return make()
    except (KafkaException, TypeError, ValueError) as error:
        raise TidegateError(
            f"Kafka at {settings.kafka}: {words(error)}. Check `kafka` and `kafka_options`."
        ) from error


def wait_until_reachable(
    settings: Settings, timeout_s: float | None = None, stop: threading.Event | None = None
) -> None:
    """Return when some broker answers. KafkaUnreachable after timeout_s; Stopped when `stop` is set."""
    _patiently(settings, lambda client: client.list_topics(timeout=REQUEST_SECONDS), timeout_s, stop)


def partition_count(
    settings: Settings, topic: str, timeout_s: float | None = None, stop: threading.Event | None = None
) -> int:
    """Number of the topic's partitions; 0 if there is no such topic."""

    def ask(client: AdminClient) -> int:
        # All topics are asked for, not this one: asking for one by name creates it on some brokers.
        found = client.list_topics(timeout=REQUEST_SECONDS).topics.get(topic)
        if found is None or (found.error is not None and found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART):
            return 0
        if found.error is not None:
            raise KafkaException(found.error)
        return len(found.partitions)

    return _patiently(settings, ask, timeout_s, stop)


def ensure_topics(
    settings: Settings,
    topics: Mapping[str, int],
    config: Mapping[str, str] | None = None,
    timeout_s: float | None = None,
    stop: threading.Event | None = None,
) -> list[str]:
    """Create those topics (name -> partitions) that are missing, with that configuration; the names created.

    TidegateError where the broker does not permit it, with the command that an administrator needs.
    """

    def ask(client: AdminClient) -> list[str]:
        there = client.list_topics(timeout=REQUEST_SECONDS).topics
        missing = [name for name in topics if name not in there]
        if not missing:
            return []
        # -1: the broker's own default; brokers that do not know it get 1.
        for replication in (-1, 1):
            futures = client.create_topics(
                [NewTopic(name, topics[name], replication, config=dict(config or {})) for name in missing],
                request_timeout=REQUEST_SECONDS,
            )
            errors = {name: _error_of(future) for name, future in futures.items()}
            missing = [name for name in missing if _refused(errors[name])]
            if not missing:
                return [name for name in topics if name not in there]
        name = missing[0]
        options = "".join(f" --config {key}={value}" for key, value in (config or {}).items())
        raise TidegateError(
            f"topic {name} does not exist and Kafka at {settings.kafka} does not let us create it "
            f"({words(errors[name])}). Have it created: kafka-topics.sh --create --topic {name} "
            f"--partitions {topics[name]}{options} --bootstrap-server {settings.kafka}"
        )

    return _patiently(settings, ask, timeout_s, stop)


def offsets(
    settings: Settings,
    topic: str,
    partitions: int,
    timeout_s: float | None = None,
    stop: threading.Event | None = None,
) -> list[tuple[int, int]]:
    """(earliest, end) of every partition; `end` may be short of the true end on the embedded broker."""
    client = consumer(settings)
    try:

        def ask(_: AdminClient) -> list[tuple[int, int]]:
            return [
                client.get_watermark_offsets(TopicPartition(topic, partition), timeout=REQUEST_SECONDS)
                for partition in range(partitions)
            ]

        return _patiently(settings, ask, timeout_s, stop)
    finally:
        client.close()


def _patiently(
    settings: Settings, ask: Callable[[AdminClient], T], timeout_s: float | None, stop: threading.Event | None
) -> T:
    complaints = Complaints(settings.kafka)
    client = admin(settings, error_cb=complaints)
    began, wait, told = time.monotonic(), FIRST_WAIT_SECONDS, -1e9
    while True:
        try:
            return ask(client)
        except KafkaException as error:
            # What the connection complained of tells more than that the question was not answered.
            client.poll(0)
            reason = complaints.hopeless or (error.args[0] if error.args[0].code() in HOPELESS else None)
            if reason is not None:
                raise TidegateError(
                    f"Kafka at {settings.kafka} refuses us: {reason.str()}. Check `kafka_options`."
                ) from error
            now = time.monotonic()
            if timeout_s is not None and now - began + wait > timeout_s:
                raise KafkaUnreachable(
                    f"cannot reach Kafka at {settings.kafka}: {words(error)}. "
                    "Start the broker, or set `kafka` (TIDEGATE_KAFKA) to its address."
                ) from error
            if now - told > 10:
                told = now
                log.warning("cannot reach Kafka at %s: %s; trying again", settings.kafka, words(error))
        if (stop or _NEVER).wait(wait):
            raise Stopped
        wait = min(wait * 2, LONGEST_WAIT_SECONDS)


_NEVER = threading.Event()


def _error_of(future: "Future[None]") -> KafkaException | None:
    try:
        future.result(2 * REQUEST_SECONDS)
    except KafkaException as error:
        return error
    return None


def _refused(error: KafkaException | None) -> bool:
    return error is not None and error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS


def words(error: BaseException | None) -> str:
    """What librdkafka says, without its codes."""
    first = error.args[0] if error is not None and error.args else error
    return first.str() if isinstance(first, KafkaError) else str(first)
