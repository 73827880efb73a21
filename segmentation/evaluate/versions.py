"""Versions of profiles on their way into a shard: rows of its one log, beside the events.

A version is a row that has NULL in every column of events, event_type included, which no event has; its
event id, which no event can have either, puts those of one instant in the order of their offsets. So
it becomes known, waits, is erased, travels and is read back as events are, but no term of events counts it.
It is never too late: the topic is compacted, and what it still has may be of any age.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from segmentation.compile.plan import profile_column
from segmentation.events.rows import PROFILES, Bool, Int64, Profiles, Rows


def version_id(partition: int, offset: int) -> str:
    """The event id of a version; partition from PROFILES on."""
    return f"\0{offset:020}-{partition - PROFILES}"


def runs(profiles: Profiles) -> Iterator[Profiles]:
    """The records in order, tombstones and versions apart."""
    cuts = [0, *(np.flatnonzero(profiles.erased[1:] != profiles.erased[:-1]) + 1).tolist(), len(profiles)]
    for start, end in pairwise(cuts):
        yield profiles if end - start == len(profiles) else profiles.take(np.arange(start, end))


def rows_of(versions: Profiles, partition: int) -> Rows:
    """As rows, without the columns of events."""
    user_ids = list(dict.fromkeys(versions.user_ids))
    number = {user_id: place for place, user_id in enumerate(user_ids)}
    return Rows(
        versions.offset, np.array([number[user_id] for user_id in versions.user_ids], np.int32), user_ids,
        versions.time, versions.high,
        np.array([version_id(partition, offset) for offset in versions.offset.tolist()], np.object_),
        {profile_column(name): column for name, column in versions.columns.items()},
    )


def first_rows(user: Int64, chosen: Bool) -> Int64:
    """Of the chosen rows the first of each user. user int64[n], chosen bool[n]."""
    rows = chosen.nonzero()[0]
    return rows[np.unique(user[rows], return_index=True)[1]] if rows.size else rows
