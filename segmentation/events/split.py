"""A poll's rows and records, by shard."""

import numpy as np

from segmentation.events.rows import Profiles, Rows
from segmentation.shards import shards_of


def split(rows: Rows, shards: int) -> list[Rows]:
    """One Rows for each of the shards, each in order of arrival; where a user belongs is `shards.shard_of`.

    They share `user_ids` with `rows`, so an id in it may have no row. A single shard gets `rows` itself.
    """
    if shards == 1:
        return [rows]
    # in few bytes, for numpy sorts those by their digits
    shard = shards_of(rows.user_ids, shards).astype(np.min_scalar_type(shards))[rows.user]
    order = np.argsort(shard, kind="stable")
    ends = np.cumsum(np.bincount(shard, minlength=shards))
    return [rows.take(part) for part in np.split(order, ends[:-1])]


def split_profiles(profiles: Profiles, shards: int) -> list[Profiles]:
    """The same of profiles."""
    if shards == 1:
        return [profiles]
    shard = shards_of(profiles.user_ids, shards)
    return [profiles.take(np.flatnonzero(shard == number)) for number in range(shards)]
