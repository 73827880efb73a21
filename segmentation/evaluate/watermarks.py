"""The watermark that each arrival meets, whatever reads it comes in."""

from collections.abc import Mapping

import numpy as np

from segmentation.events.rows import Int64
from segmentation.types import NEVER


def at_arrivals(
    high: Int64, before: int, clock: int | None, lateness: int, partition: int, partitions: Mapping[int, int],
    watermark: int,
) -> Int64:  # fmt: skip
    """The shard's at each arrival in this partition. high: the largest time of the poll up to it; before: that of the
    partition before the poll; clock: None where nothing follows the wall clock; partitions: each one's watermark
    before; watermark: the shard's before. µs."""
    others = min((at for number, at in partitions.items() if number != partition), default=None)
    if others is not None and others <= watermark:  # so it is for all but one of the partitions
        return np.full(len(high), watermark)
    high = np.maximum(high, before)
    behind = (high if clock is None else np.minimum(high, clock)) - lateness
    own = np.maximum(np.where(high > NEVER, behind, NEVER), partitions[partition])
    if others is not None:
        own = np.minimum(own, others)
    return np.maximum(own, watermark)
