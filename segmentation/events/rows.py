"""Events as columns: what travels from the decoder to a shard.

A poll is what one read of one Kafka partition gave. Every poll reaches every shard, with the rows
of that shard's users only (perhaps none), so that each shard knows how far each partition is.
"""

from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segmentation.types import NEVER

Int64 = NDArray[np.int64]
Int32 = NDArray[np.int32]
Bool = NDArray[np.bool_]

#: Partition p of the topic `profiles` is partition PROFILES + p; those of the topic of events are 0, 1, 2 ...
PROFILES = 1 << 20


def partition_name(partition: int) -> str:
    """For people: `3`, `profiles-0`."""
    return f"profiles-{partition - PROFILES}" if partition >= PROFILES else str(partition)


@dataclass(slots=True)
class TextColumn:
    """Text with a dictionary of its own: codes int32[n] into values, -1 is NULL."""

    codes: Int32
    values: list[str]

    def take(self, rows: NDArray[Any]) -> "TextColumn":
        return TextColumn(self.codes[rows], self.values)

    def part(self, start: int, end: int) -> "TextColumn":
        return TextColumn(self.codes[start:end], self.values)


@dataclass(slots=True)
class ValueColumn:
    """Any other type: data[n] in the dtype of its type (see segmentation.types); valid None: no NULL."""

    data: NDArray[Any]
    valid: Bool | None = None

    def take(self, rows: NDArray[Any]) -> "ValueColumn":
        return ValueColumn(self.data[rows], None if self.valid is None else self.valid[rows])

    def part(self, start: int, end: int) -> "ValueColumn":
        return ValueColumn(self.data[start:end], None if self.valid is None else self.valid[start:end])


@dataclass(slots=True)
class Rows:
    """n accepted events in order of arrival.

    offset int64[n], increasing; user int32[n] indexes user_ids (distinct ids; may hold ids of
    other shards); time int64[n] µs; high int64[n]: the largest event time in this poll up to and
    including this row, over the rows of all shards; event_id object[n] of str; columns: every
    declared column but user_id, event_id and event_time, by name (event_type included).
    """

    offset: Int64
    user: Int32
    user_ids: list[str]
    time: Int64
    high: Int64
    event_id: NDArray[np.object_]
    columns: dict[str, TextColumn | ValueColumn]

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, rows: NDArray[Any]) -> "Rows":
        return Rows(
            self.offset[rows], self.user[rows], self.user_ids, self.time[rows], self.high[rows], self.event_id[rows],
            {name: column.take(rows) for name, column in self.columns.items()},
        )

    def part(self, start: int, end: int) -> "Rows":
        """Rows start:end, as views."""
        some = slice(start, end)
        return Rows(
            self.offset[some], self.user[some], self.user_ids, self.time[some], self.high[some], self.event_id[some],
            {name: column.part(start, end) for name, column in self.columns.items()},
        )


@dataclass(slots=True)
class Profiles:
    """n records of the topic `profiles` in order of arrival.

    offset int64[n], increasing, with gaps; user_ids list[n]: the keys; time int64[n]: their own time,
    which is Kafka's timestamp, µs; high int64[n]: the largest one in this poll up to and including this
    record, over the records of all shards; erased bool[n]: tombstones; columns: every declared column of
    `users:`, by name, NULL where erased.
    """

    offset: Int64
    user_ids: list[str]
    time: Int64
    high: Int64
    erased: Bool
    columns: dict[str, TextColumn | ValueColumn]

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, records: NDArray[Any]) -> "Profiles":
        return Profiles(
            self.offset[records], [self.user_ids[record] for record in records.tolist()], self.time[records],
            self.high[records], self.erased[records],
            {name: column.take(records) for name, column in self.columns.items()},
        )


@dataclass(slots=True)
class Poll:
    """One read of one partition, as one shard sees it; of events (`rows`) or of profiles, by the partition's topic.

    next_offset: the first offset not read yet; clock: µs wall time of the read (ignored with
    clock "event"); high: largest event time over all rows of all shards, NEVER if there is none;
    watermark: set when the partition has been idle at its end (clock - lateness), or when a
    recorded step is run again: the partition's watermark after this poll, as it was then. front: (µs, rank) where a
    recorded step is run again that did not move everybody up to the watermark (segmentation.evaluate.slices).
    """

    partition: int
    next_offset: int
    clock: int
    high: int = NEVER
    watermark: int | None = None
    rows: Rows | None = field(default=None)
    profiles: Profiles | None = field(default=None)
    front: tuple[int, int] | None = None

    def between(self, start: int, end: int) -> "Poll":
        """The poll's messages with start <= offset < end, as if it had ended there. Where that cuts some off at
        the end, `high` is that of this shard's rows, for what the other shards' before it was is not known."""
        rows, profiles = _between(self.rows, start, end), _between(self.profiles, start, end)
        if self.next_offset <= end:
            return replace(self, rows=rows, profiles=profiles)
        found = rows if profiles is None else profiles
        high = int(found.high[-1]) if found is not None and len(found) else NEVER
        return replace(self, next_offset=end, high=high, rows=rows, profiles=profiles)


T = TypeVar("T", Rows, Profiles)


def _between(rows: T | None, start: int, end: int) -> T | None:
    if rows is None or not len(rows) or (rows.offset[0] >= start and rows.offset[-1] < end):
        return rows
    return rows.take(np.flatnonzero((rows.offset >= start) & (rows.offset < end)))
