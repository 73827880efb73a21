"""What travels through the flow: one item per read of a Kafka partition, never one per event."""

from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Message

from segmentation.evaluate.step import Transitions
from segmentation.events.rows import Int64, Poll, Profiles, Rows
from storage.commits import Commit, DeadLetter


@dataclass(slots=True)
class RawPoll:
    """One read of one partition. It stays in the process and thread that read it.

    Messages have offsets first_offset <= offset < next_offset. clock: wall time of the read, µs;
    watermark: see segmentation.events.rows.Poll. at_end: the partition's end was seen. size: of the
    messages' values, bytes.
    """

    partition: int
    first_offset: int
    next_offset: int
    clock: int
    messages: list[Message] = field(default_factory=list)
    watermark: int | None = None
    at_end: bool = False
    size: int = 0


@dataclass(slots=True)
class Control:
    """Not a read: `open` wakes every shard at the start, otherwise every process is told to end, and why."""

    open: bool
    why: str = ""


@dataclass(slots=True)
class DecodedReads:
    """Reads as columns: of events, whose texts then have dictionaries in common, or one of profiles.

    first int64[reads + 1]: rows of read i are first[i]:first[i+1]. stamps int64[n]: the Kafka timestamps of `rows`,
    µs. rejects: of each read.
    """

    raws: list[RawPoll]
    rows: Rows | None
    first: Int64
    stamps: Int64
    rejects: list[list[DeadLetter]]
    profiles: Profiles | None = None


@dataclass(slots=True)
class ShardPoll:
    """The same read as one shard sees it; pickled where the shard lives in another process.

    poll None: nothing was read, the shard is only to be opened. rejects: those that this shard
    is to store. size: bytes of the whole read. shard -1: for a worker, which is to end; why says why.
    """

    shard: int
    first_offset: int = 0
    poll: Poll | None = None
    stamps: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    rejects: list[DeadLetter] = field(default_factory=list)
    at_end: bool = False
    size: int = 0
    why: str = ""


@dataclass(slots=True)
class Work:
    """What the sink does with one step: save the state, look up late messages, commit.

    state: Shard.dump() after this step, to be saved before the commit; offsets: what it holds. beside: it may be saved
    beside the commits, and no commit names it yet (flows.storing).
    files: what that state needs of the reservoir (Shard.files). stamps: Kafka timestamps of the accepted
    events, µs. size: bytes of the reads.
    """

    commit: Commit
    token: int
    too_late: list[tuple[int, int, str]]
    state: bytes | None
    offsets: dict[int, int]
    stamps: Int64
    files: tuple[int, frozenset[str]] = (0, frozenset())
    size: int = 0
    beside: bool = False

    @property
    def transitions(self) -> Transitions:
        return self.commit.transitions

    @property
    def rows(self) -> int:
        """Of messages and of entries and exits: what it costs the database, about."""
        return len(self.transitions) + len(self.transitions.segment)

    @property
    def letter_bytes(self) -> int:
        """Of its dead letters, at most."""
        return self.size if self.too_late else sum(len(letter.value or b"") for letter in self.commit.dead_letters)
