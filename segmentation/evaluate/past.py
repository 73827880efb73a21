"""Events from before everything that a shard was fed: they are put under its log, and its values made anew.

What comes out is the shard as if it had read these events in time, before the others.
"""

from collections.abc import Callable, Sequence

import numpy as np

from segmentation.compile.explain import looks_back_for_ever
from segmentation.evaluate.building import build
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Int64
from segmentation.state.archive import Archive, ChunkRef
from segmentation.types import NEVER


def forgets(shard: Shard, first: int) -> int | None:
    """Why nothing can be put under this log: events from before the time returned (µs) have been forgotten, and one
    that comes now from `first` on could be one of them; or a definition needs them. None: it can be done."""
    dropped = shard._log.dropped_before
    if dropped > NEVER and (first < dropped or looks_back_for_ever(shard.plan)):
        return dropped
    return None


def with_past(
    shard: Shard, users: Sequence[str], chunks: Sequence[ChunkRef], newest: Int64, archive: Archive,
    retention_us: int, progress: Callable[[int], bool] = lambda rows: True,
) -> Shard:  # fmt: skip
    """shard: not used any more afterwards. users: those that it does not know, who get the next numbers; newest
    int64[users]: each one's latest event in the chunks, µs, NEVER for none; chunks: in `archive`, of events that the
    shard has not had, none later than its watermark."""
    shard._users.numbers(list(users))
    shard._make_room()
    n = len(newest)
    assert n == len(shard._users), "the chunks have other numbers"
    shard._newest[:n] = np.maximum(shard._newest[:n], newest)
    shard._applied[:n] = np.maximum(shard._applied[:n], newest)
    shard._had_event[:n] |= newest > NEVER
    assert shard._log.chunks is not None, "give the shard its archive"
    for ref in chunks:
        shard._log.chunks.receive(ref)
    return build(shard, shard.plan, archive, retention_us, progress=progress)
