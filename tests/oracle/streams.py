"""From Python events to what the engine takes: polls of columns, the same polls for every shard."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from segmentation.evaluate.versions import version_id
from segmentation.events.rows import PROFILES, Poll, Profiles, Rows, TextColumn, ValueColumn
from segmentation.reference import Event, Version
from segmentation.shards import shard_of
from segmentation.types import NEVER, Kind, Type
from tests.oracle.grammar import USER_COLUMNS
from tests.oracle.strategies import Read, Tombstone

#: Whether to begin a new poll before event i of read r: how a test splits batches.
Split = Callable[[int, int], bool]


def rows_of(events: Sequence[Event], columns: Mapping[str, Type], first_offset: int = 0) -> Rows:
    """Columns for these events, which follow each other in one partition and are one whole poll."""
    users = {user_id: code for code, user_id in enumerate(dict.fromkeys(event.user_id for event in events))}
    times = np.array([event.time for event in events], np.int64)
    return Rows(
        offset=np.arange(first_offset, first_offset + len(events), dtype=np.int64),
        user=np.array([users[event.user_id] for event in events], np.int32),
        user_ids=list(users),
        time=times,
        high=np.maximum.accumulate(times),
        event_id=np.array([event.event_id for event in events], np.object_),
        columns={name: _column([event.values.get(name) for event in events], columns[name]) for name in columns},
    )


def profiles_of(records: Sequence[Tombstone | Version], first_offset: int = 0) -> Profiles:
    """These records, which are one whole poll; a gap after each."""
    times = np.array([time_of(record) for record in records], np.int64)
    values = [record.values if isinstance(record, Version) else {} for record in records]
    return Profiles(
        first_offset + 2 * np.arange(len(records), dtype=np.int64), [user_of(record) for record in records], times,
        np.maximum.accumulate(times), np.array([not isinstance(record, Version) for record in records], np.bool_),
        {name: _column([each.get(name) for each in values], type_) for name, type_ in USER_COLUMNS.items()},
    )


def user_of(record: Tombstone | Version) -> str:
    return record.user_id if isinstance(record, Version) else record[0]


def time_of(record: Tombstone | Version) -> int:
    return record.time if isinstance(record, Version) else record[1]


def numbered(reads: Sequence[Read]) -> list[Read]:
    """With the ids that their offsets give to versions."""
    offsets: defaultdict[int, int] = defaultdict(int)
    out = []
    for read in reads:
        records: list[Tombstone | Version] = []
        for record in read.records:
            if isinstance(record, Version):
                record = replace(record, event_id=version_id(read.partition, offsets[read.partition]))
            records.append(record)
            offsets[read.partition] += 2
        out.append(replace(read, records=records))
    return out


def polls_of(
    reads: Sequence[Read], columns: Mapping[str, Type], shards: int, split: Split = lambda _read, _event: False
) -> list[list[Poll]]:
    """Per shard, in order: every poll reaches every shard with the rows, or the tombstones, of that shard's users.

    Two reads of three have the dictionaries of all events, as where they were decoded together, the third its own."""
    offsets: defaultdict[int, int] = defaultdict(int)
    before = [0, *accumulate(len(read.events) for read in reads)]
    together = rows_of([event for read in reads for event in read.events], columns)
    out: list[list[Poll]] = [[] for _ in range(shards)]
    for number, read in enumerate(reads):
        size = len(read.events) + len(read.records)
        step = 2 if read.partition >= PROFILES else 1  # a compacted topic has gaps
        cuts = [0, *(i for i in range(1, size) if split(number, i)), size]
        for start, end in pairwise(cuts):
            offset, offsets[read.partition] = offsets[read.partition], offsets[read.partition] + step * (end - start)
            times = [event.time for event in read.events[start:end]] + list(map(time_of, read.records[start:end]))
            watermark = read.watermark if end == size else None
            empty = Poll(read.partition, offsets[read.partition], read.clock, max(times, default=NEVER), watermark)
            events, records = read.events[start:end], read.records[start:end]
            rows = rows_of(events, columns, offset)
            if number % 3:
                own, rows = rows, together.part(before[number] + start, before[number] + end)
                rows.offset, rows.high = own.offset, own.high
            shared = _shared(empty, events, rows, records, offset, shards)
            for polls, poll in zip(out, shared):
                polls.append(poll)
    return out


def _shared(
    poll: Poll, events: Sequence[Event], rows: Rows, records: Sequence[Tombstone | Version], offset: int, shards: int
) -> list[Poll]:
    """The poll as each shard sees it."""
    users = [event.user_id for event in events] + list(map(user_of, records))
    owner = np.array([shard_of(user_id, shards) for user_id in users])
    mine = [np.flatnonzero(owner == shard) for shard in range(shards)]
    if events:
        return [replace(poll, rows=rows.take(places)) for places in mine]
    if records:
        profiles = profiles_of(records, offset)
        return [replace(poll, profiles=profiles.take(places)) for places in mine]
    return [replace(poll) for _ in mine]


def _column(values: Sequence[Any], type_: Type) -> TextColumn | ValueColumn:
    if type_.kind is Kind.TEXT:
        codes = {value: code for code, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
        return TextColumn(np.array([codes.get(value, -1) for value in values], np.int32), [str(v) for v in codes])
    valid = np.array([value is not None for value in values], np.bool_)
    dtype = {Kind.DOUBLE: np.float64, Kind.BOOLEAN: np.bool_}.get(type_.kind, np.int64)
    scale = 10**type_.scale
    stored = [0 if value is None else int(value * scale) if type_.kind is Kind.NUMERIC else value for value in values]
    return ValueColumn(np.array(stored, dtype), None if valid.all() else valid)
