"""Which partitions of the events say nothing, told from what a shard's steps record.

A partition's watermark follows the clock while the partition is idle at its end; so its watermark plus the lateness is
the instant up to which its silence lets windows run. A partition is silent while that is `after_us` or more past the
clock of the last read that brought a message. A broker that does not answer is no silence: no watermark moves then. Nor
is a partition that never had a message: nobody's events are missing.

What was heard is committed with the steps, so an engine that was away goes on where it was: if nothing came meanwhile,
its first step is silent.
"""

from collections.abc import Iterable, Mapping, Sequence

from flows.items import ShardPoll
from segmentation.evaluate.step import Part
from segmentation.events.rows import PROFILES


class Silence:
    """after_us: 0: nobody wants to know; lateness_us: of the watermarks; heard, silent: as last committed."""

    def __init__(self, after_us: int, lateness_us: int, heard: Mapping[int, int], silent: Sequence[int]) -> None:
        self._after, self._lateness = after_us, lateness_us
        self._heard = dict(heard) if after_us else {}
        self._silent = set(silent) if after_us else set()
        self._committed = dict(heard), sorted(silent)

    @property
    def any(self) -> bool:
        """Was a partition silent at the last step?"""
        return bool(self._silent)

    def step(self, reads: Iterable[tuple[ShardPoll, Part]]) -> set[int]:
        """One step's reads with the parts that it recorded; partitions that were silent at any of them."""
        if not self._after:
            return set()
        during = set()
        for item, part in reads:
            partition = part.partition
            if partition >= PROFILES:
                continue
            if part.next_offset > item.first_offset:
                self._heard[partition] = part.clock
            since = self._heard.get(partition)
            if since is not None and part.watermark + self._lateness - since >= self._after:
                self._silent.add(partition)
                during.add(partition)
            else:
                self._silent.discard(partition)
        return during | self._silent

    def news(self) -> tuple[dict[int, int] | None, list[int] | None]:
        """(heard, silent) for the next commit; None: as in the last one."""
        heard, silent = dict(self._heard), sorted(self._silent)
        before = self._committed
        self._committed = heard, silent
        return heard if heard != before[0] else None, silent if silent != before[1] else None
