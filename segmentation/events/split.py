"""A poll's rows, by shard."""

import numpy as np
from xxhash import xxh3_64_intdigest

from segmentation.events.rows import Rows


def split(rows: Rows, shards: int) -> list[Rows]:
    """One Rows for each of the shards, each in order of arrival; where a user belongs is `shards.shard_of`.

    They share `user_ids` with `rows`, so an id in it may have no row. A single shard gets `rows` itself.
    """
    if shards == 1:
        return [rows]
    digests = np.array([xxh3_64_intdigest(user_id.encode()) for user_id in rows.user_ids], np.uint64)
    shard = (digests % np.uint64(shards)).astype(np.int64)[rows.user]
    order = np.argsort(shard, kind="stable")
    ends = np.cumsum(np.bincount(shard, minlength=shards))
    return [rows.take(part) for part in np.split(order, ends[:-1])]
