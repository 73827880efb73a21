"""A poll's rows and records, by shard; or those of several polls at once."""

from itertools import pairwise

import numpy as np

from segmentation.events.rows import Int64, Profiles, Rows
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


def split_reads(rows: Rows, stamps: Int64, first: Int64, shards: int) -> list[list[tuple[Rows | None, Int64]]]:
    """By shard, then by read: its rows, None where there is none, and their stamps (int64[n], of `rows`).

    first int64[reads + 1]: rows of read i are first[i]:first[i+1]. All share the dictionaries of `rows`.
    """
    reads = len(first) - 1
    read = np.repeat(np.arange(reads), np.diff(first))
    place = read if shards == 1 else shards_of(rows.user_ids, shards)[rows.user] * reads + read
    order = np.argsort(place.astype(np.min_scalar_type(shards * reads)), kind="stable")
    rows, stamps = rows.take(order), stamps[order]
    ends = np.cumsum(np.bincount(place, minlength=shards * reads)).tolist()
    parts = [
        (rows.part(start, end) if end > start else None, stamps[start:end]) for start, end in pairwise([0, *ends])
    ]
    return [parts[shard * reads : (shard + 1) * reads] for shard in range(shards)]


def split_profiles(profiles: Profiles, shards: int) -> list[Profiles]:
    """The same of profiles."""
    if shards == 1:
        return [profiles]
    shard = shards_of(profiles.user_ids, shards)
    return [profiles.take(np.flatnonzero(shard == number)) for number in range(shards)]
