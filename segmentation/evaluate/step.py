"""What a shard gives back for a list of polls: transitions and the record that can repeat them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.distinct import heads
from segmentation.evaluate.steps import Steps
from segmentation.events.rows import Int32, Int64
from segmentation.state.users import Users


@dataclass(frozen=True, slots=True)
class Part:
    """The record of one poll: enough, with the messages, to run it again with the same outcome.

    Messages of `partition` before `next_offset` have been taken; `clock` is that poll's;
    `watermark` is the partition's (not the shard's) after it. µs. records: of a partition of profiles,
    how many of them the shard took, since a compacted topic may have fewer when it is read again; else None.
    front_at, front_rank: of the shard after the step (segmentation.evaluate.slices); None: up to its watermark.
    """

    partition: int
    next_offset: int
    clock: int
    watermark: int
    records: int | None = None
    front_at: int | None = None
    front_rank: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a shard is; only shards with the same one can exchange users.

    next_offset, watermarks: per partition. applied_to: expiries strictly below have been applied. µs. front: (µs,
    rank), see segmentation.evaluate.slices; None: nothing is left below the watermark.
    """

    next_offset: dict[int, int]
    watermarks: dict[int, int]
    watermark: int
    clock: int
    applied_to: int
    front: tuple[int, int] | None = None


@dataclass(slots=True)
class Transitions:
    """m messages, one per user and step in which something flipped; a user's are in order of seq.

    user_id list[m]; seq int64[m], from 1, without gaps per user; effective_at int64[m] µs;
    by_event bool[m]: False where only time passed; first int64[m+1]: flips of message i are
    first[i]:first[i+1] of segment int32 (index into the plan's segments) and entered bool.
    """

    user_id: list[str]
    seq: Int64
    effective_at: Int64
    by_event: NDArray[np.bool_]
    first: Int64
    segment: Int32
    entered: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.user_id)

    @staticmethod
    def none() -> "Transitions":
        empty = np.zeros(0, np.int64)
        return Transitions(
            [], empty, empty, np.zeros(0, np.bool_), np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.bool_)
        )


@dataclass(slots=True)
class Step:
    """The outcome of `Shard.run`.

    watermark: the shard's `expired_to` after it, µs. new_users: ids seen for the first time.
    too_late: (partition, offset, user id) of events older than the dedupe horizon: to the dead letter.
    erased: (user id, T µs) of users of whom everything up to T is gone; transitions and new_users are of
    those who came after, perhaps under the same id. repeated, late, accepted: numbers of events; dropped:
    of events that are not after their user's erasure. changes: how many logged events passed an edge.
    """

    parts: list[Part]
    watermark: int
    transitions: Transitions
    new_users: list[str] = field(default_factory=list)
    too_late: list[tuple[int, int, str]] = field(default_factory=list)
    erased: list[tuple[str, int]] = field(default_factory=list)
    accepted: int = 0
    repeated: int = 0
    late: int = 0
    dropped: int = 0
    changes: int = 0


def transitions_of(flips: Any, steps: Steps, users: Users, seq: Int64) -> Transitions:
    """The flips as messages. seq int64[users]: each one's last number, which goes on here."""
    if not len(flips):
        return Transitions.none()
    signal, at, holds = flips.signal, flips.step, flips.holds
    later, same = at[1:] > at[:-1], at[1:] == at[:-1]
    if not (later | (same & (signal[1:] >= signal[:-1]))).all():
        order = np.lexsort((signal, at))
        signal, at, holds = signal[order], at[order], holds[order]
    first = heads(at)
    message = at[first]
    user = steps.user[message]
    # Steps are ordered by user, so a user's messages are consecutive: number them from the last seq.
    head = heads(user)
    size = np.diff(head, append=len(user))
    who = user[head]
    last = seq[who]
    numbers = np.arange(1, len(user) + 1) + (last - head).repeat(size)
    seq[who] = last + size
    return Transitions(
        users.names(user), numbers, steps.instant[message], steps.by_event[message],
        np.concatenate((first, [len(at)])), signal.astype(np.int32), holds,
    )  # fmt: skip
