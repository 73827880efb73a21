"""The watermark that each arrival meets, whatever reads it comes in."""

from collections.abc import Mapping

import numpy as np

from segmentation.events.rows import Int64
from segmentation.types import NEVER


def at_arrivals(
    high: Int64, clock: int | None, lateness: int, partition: int, partitions: Mapping[int, int], watermark: int
) -> Int64:
    """The shard's at each arrival in this partition. high: the partition's largest time up to it; clock: None where
    nothing follows the wall clock; partitions: each one's watermark before; watermark: the shard's before. µs."""
    behind = (high if clock is None else np.minimum(high, clock)) - lateness
    own = np.maximum(np.where(high > NEVER, behind, NEVER), partitions[partition])
    others = min((at for number, at in partitions.items() if number != partition), default=None)
    if others is not None:
        own = np.minimum(own, others)
    return np.maximum(own, watermark)
