"""Running the recorded steps of a restarted shard again, silently, from messages read again.

The reads come in other portions than they did the first time. A part of the record says which
messages one read took, with its clock and the watermark after it; here reads are held until a
part's messages are complete, cut where the part ended, and run under the part's clock. What is
left when the record ends is handed back as new input. The topic `profiles` is compacted: the record says how
many of its records were taken, and a run that finds fewer is refused.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from heapq import merge
from typing import Protocol

from flows.items import ShardPoll
from segmentation.errors import TidegateError
from segmentation.evaluate.step import Part, Step
from segmentation.events.rows import Poll, partition_name
from segmentation.types import NEVER

#: Polls of one call of the shard; each call has a fixed cost.
POLLS_AT_ONCE = 64


class Runs(Protocol):
    def run(self, polls: Sequence[Poll]) -> Step: ...


class CatchUp:
    """positions: per partition the first offset not taken yet (absent: nothing taken); kept up to date here."""

    def __init__(self, shard: Runs, parts: Iterable[Part], positions: dict[int, int]) -> None:
        self._shard = shard
        self._parts = deque(parts)
        self._positions = positions
        self._ends = {part.partition: part.next_offset for part in self._parts}
        self._held: dict[int, deque[tuple[int, ShardPoll]]] = {}
        self._arrivals = 0

    @property
    def done(self) -> bool:
        return not self._parts

    def take(self, items: Iterable[ShardPoll]) -> list[ShardPoll]:
        """Reads in order of arrival; once the record has been run, gives back the new ones in that order.

        What is given back still holds messages that were taken; `trimmed` cuts them off.
        """
        for item in items:
            assert item.poll is not None
            if item.poll.next_offset <= self._ends.get(item.poll.partition, NEVER):
                item.rejects = []  # stored long ago; they are not to fill the memory until other partitions are here
            self._held.setdefault(item.poll.partition, deque()).append((self._arrivals, item))
            self._arrivals += 1
        polls: list[Poll] = []
        while self._parts and self._complete(self._parts[0]):
            polls += self._polls_of(self._parts.popleft())
            if len(polls) >= POLLS_AT_ONCE:
                self._shard.run(polls)
                polls = []
        if polls:
            self._shard.run(polls)
        if self._parts:
            return []
        rest = [item for _, item in merge(*self._held.values(), key=lambda held: held[0])]
        self._held.clear()
        return rest

    def _complete(self, part: Part) -> bool:
        held = self._held.get(part.partition)
        reach = self._positions.get(part.partition, NEVER)
        if held:
            last = held[-1][1].poll
            assert last is not None
            reach = max(reach, last.next_offset)
        return reach >= part.next_offset

    def _polls_of(self, part: Part) -> list[Poll]:
        """The part as polls: complete reads, then perhaps the beginning of one; the last has the watermark."""
        partition, end = part.partition, part.next_offset
        held = self._held.get(partition, deque())
        polls: list[Poll] = []
        found = 0
        while self._positions.get(partition, NEVER) < end:
            poll = held[0][1].poll
            assert poll is not None
            whole = poll.next_offset <= end
            if whole:
                held.popleft()
            polls.append(_cut(poll, self._positions.get(partition, NEVER), end, part.clock))
            self._positions[partition] = min(poll.next_offset, end)
            profiles = polls[-1].profiles
            found += 0 if profiles is None else len(profiles)
        if found < (part.records or 0):
            raise TidegateError(
                f"Partition {partition_name(partition)} has been compacted: of {part.records} records that a shard had "
                f"counted since its last saved state, {found} are left, so it cannot be brought back to where it was. "
                "Start with --rebuild. Set `min.compaction.lag.ms` of the topic to longer than an engine may be down."
            )
        if not polls:
            polls.append(Poll(partition, end, part.clock))
        polls[-1].watermark = part.watermark
        polls[-1].front = None if part.front_at is None else (part.front_at, part.front_rank)
        return polls


def _cut(poll: Poll, start: int, end: int, clock: int) -> Poll:
    """The poll's messages from start up to end, read at `clock`.

    Where the end cuts the poll, the other shards' largest time is not known; this part's watermark is.
    """
    cut = poll.between(start, end)
    cut.clock, cut.watermark = clock, None
    return cut


def trimmed(item: ShardPoll, position: int | None) -> ShardPoll | None:
    """The read without messages below `position`; None if nothing of it is new."""
    poll = item.poll
    if poll is None or position is None or item.first_offset >= position:
        return item
    if poll.next_offset <= position:
        return None
    rows, stamps = poll.rows, item.stamps
    if rows is not None and len(rows) and rows.offset[0] < position:
        stamps = stamps[rows.offset >= position]
    return replace(
        item,
        first_offset=position,
        poll=poll.between(position, poll.next_offset),
        stamps=stamps,
        rejects=[reject for reject in item.rejects if reject.offset >= position],
    )
