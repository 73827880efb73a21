"""The partitions that an engine reads, by its own numbers: of events, and from PROFILES on of profiles."""

import logging
import threading
from collections.abc import Iterable

from confluent_kafka import TopicPartition

from flows import kafka
from segmentation.events.rows import PROFILES
from storage.settings import Settings

log = logging.getLogger("tidegate.engine")

#: Partitions of the topics where we have to create them ourselves.
NEW_EVENTS, NEW_PROFILES = 4, 2
#: A shard that is restarted reads again what came since its saved state: a record that was overwritten in the
#: meantime must still be there, so compaction waits for a day.
PROFILES_CONFIG = {"cleanup.policy": "compact", "min.compaction.lag.ms": str(24 * 3_600_000)}


def topic_of(settings: Settings, partition: int) -> str:
    return settings.profiles_topic if partition >= PROFILES else settings.events_topic


def in_topic(settings: Settings, partition: int, offset: int | None = None) -> TopicPartition:
    """Kafka's own name of it."""
    number = partition - PROFILES if partition >= PROFILES else partition
    topic = topic_of(settings, partition)
    return TopicPartition(topic, number) if offset is None else TopicPartition(topic, number, offset)


def create_topics(settings: Settings, stop: threading.Event | None = None) -> None:
    """Those that are missing."""
    for topic, count, config in (
        (settings.events_topic, NEW_EVENTS, {}), (settings.profiles_topic, NEW_PROFILES, PROFILES_CONFIG),
    ):  # fmt: skip
        for name in kafka.ensure_topics(settings, {topic: count}, config, stop=stop):
            log.info("created topic %s at %s with %d partitions", name, settings.kafka, count)


def there_are(settings: Settings, stop: threading.Event | None = None) -> list[int]:
    """The numbers of all partitions; none of a topic that is not there."""
    events = kafka.partition_count(settings, settings.events_topic, stop=stop)
    profiles = kafka.partition_count(settings, settings.profiles_topic, stop=stop)
    return [*range(events), *range(PROFILES, PROFILES + profiles)]


def events_of(partitions: Iterable[int]) -> int:
    """How many of them are of events."""
    return sum(partition < PROFILES for partition in partitions)


def profiles_of(partitions: Iterable[int]) -> int:
    """How many of them are of profiles."""
    return sum(partition >= PROFILES for partition in partitions)


def bounds(
    settings: Settings, partitions: Iterable[int], stop: threading.Event | None = None
) -> dict[int, tuple[int, int]]:
    """(earliest offset, end) of each; see kafka.offsets."""
    numbers = list(partitions)
    events = kafka.offsets(settings, settings.events_topic, events_of(numbers), stop=stop)
    profiles = kafka.offsets(settings, settings.profiles_topic, profiles_of(numbers), stop=stop)
    return dict(zip(numbers, [*events, *profiles], strict=True))
