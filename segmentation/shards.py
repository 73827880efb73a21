"""Which shard a user belongs to: the same answer in every process, forever."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from segmentation import native


def shard_of(user_id: str, shards: int) -> int:
    """0 <= shard < shards; XXH3 (64 bit) of the UTF-8 id. Independent of the Kafka partitioner."""
    return xxh3_64_intdigest(user_id.encode()) % shards


def shards_of(user_ids: Sequence[str], shards: int) -> NDArray[np.int64]:
    """`shard_of` of many."""
    if native.ENABLED:
        found: NDArray[np.int64] = native.code.shards_of_users(list(user_ids), shards)
        for place in np.flatnonzero(found < 0).tolist():  # a long id, or one that is not ASCII: C leaves it
            found[place] = shard_of(user_ids[place], shards)
        return found
    digests = np.array([xxh3_64_intdigest(user_id.encode()) for user_id in user_ids], np.uint64)
    return (digests % np.uint64(shards)).astype(np.int64)
