"""Where a message was read for the first time: `TOPIC/PARTITION@OFFSET`.

A refused message that is sent again lands somewhere else, so it carries its origin in the header
`tidegate-origin`. Only where the engine makes the event ids itself (`event_id: {generated: true}`)
does the header mean anything: the id is then that of the origin, and so a message that is sent
again, even twice, counts as the one message that it was.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmentation import native

HEADER = "tidegate-origin"
#: Kafka's own limits; what is beyond them is no origin.
_PATTERN = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,10})@([0-9]{1,19})")
_PARTITION_MAX, _OFFSET_MAX = 2**31 - 1, 2**63 - 1


@dataclass(frozen=True, slots=True, order=True)
class Origin:
    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}@{self.offset}"

    @staticmethod
    def parse(text: str) -> "Origin | None":
        """None for what is not `TOPIC/PARTITION@OFFSET`."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            return None
        partition, offset = int(match[2]), int(match[3])
        return Origin(match[1], partition, offset) if partition <= _PARTITION_MAX and offset <= _OFFSET_MAX else None

    @staticmethod
    def among(headers: Iterable[tuple[str, bytes | None]]) -> "Origin | None":
        """The first that the headers hold."""
        for name, value in headers:
            if name == HEADER and value and (found := Origin.parse(value.decode("ascii", "replace"))) is not None:
                return found
        return None

    def event_id(self, topic: str) -> str:
        """The generated id of the message, as a reader of `topic` makes it."""
        return generated_id(self.partition, self.offset) if self.topic == topic else str(self)


def generated_id(partition: int, offset: int) -> str:
    """The event id of a message that has none, read from the topic of events."""
    return f"{partition}-{offset}"


def generated_ids(partition: int, offsets: NDArray[np.int64]) -> list[str]:
    """`generated_id` of many."""
    if native.ENABLED and len(offsets) and offsets.min() >= 0:
        found: list[str] = native.code.numbered_texts(generated_id(partition, 0)[:-1], np.ascontiguousarray(offsets))
        return found
    return [generated_id(partition, offset) for offset in offsets.tolist()]
