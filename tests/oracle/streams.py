"""From Python events to what the engine takes: polls of columns, the same polls for every shard."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from segmentation.events.rows import Poll, Rows, TextColumn, ValueColumn
from segmentation.reference import Event
from segmentation.shards import shard_of
from segmentation.types import NEVER, Kind, Type
from tests.oracle.strategies import Read

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


def polls_of(
    reads: Sequence[Read], columns: Mapping[str, Type], shards: int, split: Split = lambda _read, _event: False
) -> list[list[Poll]]:
    """Per shard, in order: every poll reaches every shard with the rows of that shard's users."""
    offsets: defaultdict[int, int] = defaultdict(int)
    out: list[list[Poll]] = [[] for _ in range(shards)]
    for number, read in enumerate(reads):
        cuts = [0, *(i for i in range(1, len(read.events)) if split(number, i)), len(read.events)]
        for start, end in pairwise(cuts):
            events = read.events[start:end]
            offset, offsets[read.partition] = offsets[read.partition], offsets[read.partition] + len(events)
            rows = rows_of(events, columns, offset)
            high = max((event.time for event in events), default=NEVER)
            watermark = read.watermark if end == len(read.events) else None
            owner = np.array([shard_of(event.user_id, shards) for event in events], np.int64)
            for shard, polls in enumerate(out):
                mine = rows.take(np.flatnonzero(owner == shard)) if events else None
                polls.append(Poll(read.partition, offset + len(events), read.clock, high, watermark, mine))
    return out


def _column(values: Sequence[Any], type_: Type) -> TextColumn | ValueColumn:
    if type_.kind is Kind.TEXT:
        codes = {value: code for code, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
        return TextColumn(np.array([codes.get(value, -1) for value in values], np.int32), [str(v) for v in codes])
    valid = np.array([value is not None for value in values], np.bool_)
    dtype = {Kind.DOUBLE: np.float64, Kind.BOOLEAN: np.bool_}.get(type_.kind, np.int64)
    scale = 10**type_.scale
    stored = [0 if value is None else int(value * scale) if type_.kind is Kind.NUMERIC else value for value in values]
    return ValueColumn(np.array(stored, dtype), None if valid.all() else valid)
