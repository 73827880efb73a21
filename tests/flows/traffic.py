"""Events sent bit by bit, so that whatever happens to the engine finds it in mid-stream."""

import threading
from collections.abc import Sequence

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.flows.conftest import World, until

BATCH = 500


class Stream:
    """A thread that sends slowly until `finish`: of `parts` equal parts the first, another one at each `go_on`."""

    def __init__(
        self, world: World, events: Sequence[tuple[str | bytes | None, bytes | None]], parts: int = 1
    ) -> None:
        self._events = events
        self._world = world
        self._part = -(-len(events) // parts)
        self._may = threading.Semaphore(1)
        self._go = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def _send(self) -> None:
        producer = Producer(
            {"bootstrap.servers": self._world.bootstrap, "linger.ms": 5, "partitioner": "murmur2_random",
             # New partitions are used long before the engine looks for them.
             "topic.metadata.refresh.interval.ms": 100}
        )  # fmt: skip
        for number, (key, value) in enumerate(self._events):
            if number % BATCH == 0:
                producer.flush()
                self._go.wait(0.05)
            if number % self._part == 0:
                self._may.acquire()
            producer.produce(self._world.topic, value, key)
        producer.flush()

    def go_on(self) -> None:
        self._may.release()

    def finish(self) -> None:
        """Returns when everything is sent."""
        self._go.set()
        self._may.release(len(self._events))
        self._thread.join()


def grow(world: World, partitions: int, topic: str | None = None) -> None:
    """The topic (of events) has more partitions when this returns, and says so. Not on the embedded broker."""
    name = topic or world.topic
    admin = AdminClient({"bootstrap.servers": world.bootstrap, "log_level": 0})
    admin.create_partitions([NewPartitions(name, partitions)])[name].result(30)
    until(lambda: len(admin.list_topics(timeout=10).topics[name].partitions) == partitions, "they are there")
    if name == world.topic:
        world.partitions = partitions
