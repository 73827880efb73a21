"""Another number of shards: the users of all shards are dealt out again, with all that is known of them.

Shards can exchange users only where they stand at the same place, since what a late event means
depends on the watermark that it meets. `level` gives the polls that bring them there once all have
taken the same messages; then

    while polls := level(shards):
        for shard in shards:
            shard.run(polls)            # a step like any other: it may expire windows
    for number, shard in enumerate(redistribute(shards, 8, make)):
        ...

The new shards go on as if there had always been so many: what a user's log depends on travels with
the user, and the rest is the same for all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Int64, Poll
from segmentation.shards import shards_of
from segmentation.state import log
from segmentation.state.chunks import Columns
from segmentation.state.deal import Source, deal
from segmentation.state.dictionary import Translation
from segmentation.state.order import stable_order
from segmentation.types import FOREVER, NEVER


def level(shards: Sequence[Shard]) -> list[Poll]:
    """The polls, without rows, that bring shards to the clock and the watermarks of those that are furthest.

    Empty when all stand at the same place. A raised clock may raise a watermark in turn, so ask
    again after they have been run. All must have taken the same messages of the same partitions.
    """
    found = [shard.standing() for shard in shards]
    offsets, partitions = found[0].next_offset, found[0].watermarks.keys()
    assert all(each.next_offset == offsets for each in found), "they have taken different messages"
    assert all(each.watermarks.keys() == partitions for each in found), "they wait for different partitions"
    if all(each == found[0] and each.front is None for each in found):
        return []
    clock = max(each.clock for each in found)
    # Where a topic has grown, a shard's watermark may be ahead of that of a new partition: nothing that
    # arrives there is known any earlier, so its own may be raised too.
    least = max(each.watermark for each in found)
    reached = {p: max(least, *(each.watermarks[p] for each in found)) for p in partitions}
    return [Poll(p, offsets.get(p, 0), clock, watermark=watermark) for p, watermark in sorted(reached.items())]


def redistribute(shards: Sequence[Shard], count: int, make: Callable[[int], Shard]) -> Iterator[Shard]:
    """`count` shards that together hold what `shards`, which stand at the same place, held; in their order.

    make(number): a new, empty shard of the same plan and settings, with an archive where the old ones
    have one. Each is complete when it is yielded; besides the old ones, which stay as they are, only
    that one takes memory.
    """
    standing = shards[0].standing()
    assert all(shard.standing() == standing for shard in shards), "they do not stand at the same place"
    moves = _moves(shards, count)
    made = [make(number) for number in range(count)]
    _deal_chunks(shards, made, moves)
    made.reverse()
    for number in range(count):
        new = made.pop()
        _adopt(new, [(old, move.users_of(number), move.number) for old, move in zip(shards, moves)])
        yield new


def take_out(shard: Shard, user_id: str) -> Shard:
    """A shard of this user only, all in memory and of the same plan, as he is in `shard`, which stays as it is."""
    number = shard._users.find(user_id)
    assert number >= 0, "nobody has this id here"
    numbers = np.full(len(shard._users), -1, np.int64)
    numbers[number] = 0
    new = Shard(shard.plan, 0, shard._lateness, shard._horizon, shard._live)
    mine = np.array([number], np.int64)
    _adopt(new, [(shard, mine, numbers)])
    if shard._log.chunks is not None:
        texts = Translation(shard._texts, new._texts)
        for rows in shard._log.chunks.of_users(mine, NEVER, FOREVER):
            new._log.append(new._columnar.adopted(rows, numbers, texts))
    return new


@dataclass(slots=True)
class _Move:
    """Where the users of one old shard go: owner int64[users] the new shard, -1 for those who were erased and
    have not come again; number int64[users] theirs there."""

    owner: Int64
    number: Int64

    def users_of(self, owner: int) -> Int64:
        return np.flatnonzero(self.owner == owner)


def _moves(shards: Sequence[Shard], count: int) -> list[_Move]:
    taken = np.zeros(count, np.int64)
    moves = []
    for shard in shards:
        ids = shard.user_ids
        there = np.array([user_id is not None for user_id in ids], np.bool_)
        owner = np.full(len(ids), -1, np.int64)
        owner[there] = shards_of([user_id for user_id in ids if user_id is not None], count)
        move = _Move(owner, np.empty(len(owner), np.int64))
        some = np.flatnonzero(there)
        order = some[stable_order(owner[some])]
        sizes = np.bincount(owner[some], minlength=count)
        first = np.cumsum(sizes) - sizes
        move.number[order] = np.arange(len(order)) - np.repeat(first - taken, sizes)
        taken += sizes
        moves.append(move)
    return moves


def _deal_chunks(shards: Sequence[Shard], made: Sequence[Shard], moves: Sequence[_Move]) -> None:
    sources = [
        Source(chunks, move.owner, move.number)
        for shard, move in zip(shards, moves)
        if (chunks := shard._log.chunks) is not None
    ]
    targets = [chunks for shard in made if (chunks := shard._log.chunks) is not None]
    if any(source.chunks.refs for source in sources):
        assert len(targets) == len(made), "give the new shards archives"
        deal(sources, targets, log.CHUNK_ROWS)


def _adopt(new: Shard, others: Sequence[tuple[Shard, Int64, Int64]]) -> None:
    """The empty shard gets everything but chunks: of each other its users `theirs`; numbers[theirs] are theirs here.

    Whatever `Shard.dump` writes has its place here or in an `adopt` that is called from here."""
    rows: list[Columns] = []
    for other, theirs, numbers in others:
        _stand_with(new, other)
        new._index.since = other._index.since  # the same in all shards
        texts = Translation(other._texts, new._texts)
        ours = new._users.numbers(other._users.names(theirs))
        assert np.array_equal(ours, numbers[theirs]), "chunks have been written with other numbers"
        new._make_room()
        for digest, until in other.erasures.items():  # which of them are his, nobody can tell
            new.erasures.add(digest, until)
        new._newest[ours], new._applied[ours] = other._newest[theirs], other._applied[theirs]
        new._seq[ours], new._had_event[ours] = other._seq[theirs], other._had_event[theirs]
        new._homes.adopt(other._homes, theirs, ours)
        new._log.lost.adopt(other._log.lost, theirs, ours)
        here = np.full(len(numbers), -1, np.int64)
        here[theirs] = ours
        new._network.adopt(other._network, here, texts)
        rows += [new._columnar.adopted(part, here, texts) for part in other._log.in_memory()]
        new._waiting += [new._columnar.adopted(part, here, texts) for part in other._waiting]
    new._log.adopt([other._log for other, _, _ in others], rows)


def _stand_with(new: Shard, other: Shard) -> None:
    new.next_offset, new._partition = dict(other.next_offset), dict(other._partition)
    new.watermark, new._clock, new._applied_to = other.watermark, other._clock, other._applied_to
    new._slicing.front = other.front
    # Not compared: a record that was run again may have ended within a read, whose last rows are elsewhere.
    for partition, high in other._high.items():
        new._high[partition] = max(new._high.get(partition, NEVER), high)
