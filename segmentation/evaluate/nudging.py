"""Late events take effect at the watermark, which may stand at one instant for many steps, while a shard catches up
say. Answers were given about that instant after each of them. So before a step that brings late events the watermark is
moved on by 1 µs: what was told up to an instant stays true.

Only with the clock of the world, whose watermarks depend on when things were read anyway; what moved them is recorded
with the step, as reads without messages, and is the same when the step is run again.
"""

from collections.abc import Mapping, Sequence

from segmentation.events.rows import Poll
from segmentation.types import FOREVER, NEVER


def nudges(
    polls: Sequence[Poll], told: int, most: int, clock: int, reached: Mapping[int, int], offsets: Mapping[int, int]
) -> list[Poll]:
    """What is to be run right before these polls. told: the shard's watermark; most: what it may be at this clock;
    reached, offsets: by partition, its watermark and the first offset not read. µs."""
    if told == NEVER or told >= most or not any(_begins(poll) <= told for poll in polls) or NEVER in reached.values():
        return []
    return [
        Poll(partition, offsets.get(partition, 0), clock, NEVER, told + 1)
        for partition, at in reached.items() if at <= told
    ]  # fmt: skip


def _begins(poll: Poll) -> int:
    """The least time of what the poll brings this shard, µs."""
    times = [found.time for found in (poll.rows, poll.profiles) if found is not None and len(found)]
    return min((int(time.min()) for time in times), default=FOREVER)
