"""Partitions read up to a given place, without the flow: for what is done before an engine starts."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from flows import kafka
from flows.engine import Engine
from flows.items import RawPoll
from flows.partitions import in_topic
from flows.source import KafkaPartition
from segmentation.errors import TidegateError

#: A partition that goes on no further than this long, although its end is not the one wanted, s.
PATIENCE_SECONDS = 30.0


def read_to(engine: Engine, ends: Mapping[int, int]) -> Iterator[list[RawPoll]]:
    """Reads of the partitions in `ends`, from engine.starts to their end there; a partition's are in order.

    What lies beyond an end is cut off. With `until_end` a partition also ends where the topic does;
    otherwise a topic that ends too early is a TidegateError. kafka.Stopped when told to stop.
    """
    readers = {partition: KafkaPartition(engine, partition) for partition in ends}
    moved = time.monotonic()
    try:
        while readers:
            found: list[RawPoll] = []
            for partition, reader in list(readers.items()):
                try:
                    items = list(reader.next_batch())
                except StopIteration:
                    readers.pop(partition).close()
                    continue
                if engine.fatal is not None:
                    raise engine.fatal
                for item in items:
                    if isinstance(item, RawPoll) and item.next_offset > item.first_offset:
                        found.append(_cut(item, ends[partition]))
                        if item.next_offset >= ends[partition]:
                            readers.pop(partition).close()
                            break
            if found:
                yield found
                moved = time.monotonic()
            elif time.monotonic() - moved > PATIENCE_SECONDS and all(reader.at_end for reader in readers.values()):
                raise _too_short(engine, {partition: ends[partition] for partition in readers})
            if engine.stop.wait(0 if found else 0.002):
                raise kafka.Stopped
    finally:
        for reader in readers.values():
            reader.close()


def _cut(read: RawPoll, end: int) -> RawPoll:
    if read.next_offset <= end:
        return read
    messages = [message for message in read.messages if (offset := message.offset()) is not None and offset < end]
    return replace(read, next_offset=end, messages=messages)


def _too_short(engine: Engine, wanted: Mapping[int, int]) -> TidegateError:
    number, end = next(iter(wanted.items()))
    place = in_topic(engine.settings, number)
    return TidegateError(
        f"partition {place.partition} of topic {place.topic} at {engine.settings.kafka} ends before offset "
        f"{end}, up to which it has been counted: it is another topic, or messages were deleted. Check `kafka`, "
        "`events_topic` and `profiles_topic`, or start with `tidegate run --rebuild`."
    )
