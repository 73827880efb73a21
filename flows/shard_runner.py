"""One shard's way through a run: the record first, then new reads, each step with its number.

Knows neither Bytewax nor Postgres nor a wall clock: reads and instants come in, work for the sink
goes out. The steps of reads that changed nothing are not recorded one by one; the last of each
partition is enough, because between them nothing happened that their order could change. They go
with the next step, or alone after `QUIET_US`, so that the watermark is seen to move.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from flows import metrics
from flows.catch_up import CatchUp, trimmed
from flows.errors import StartAgain
from flows.items import ShardPoll, Work
from flows.save_costs import SaveCosts
from flows.silence import Silence
from flows.slices import Slices
from segmentation.errors import TidegateError
from segmentation.evaluate.step import Part, Step, Transitions
from segmentation.events.rows import Bool, Int32, Int64, Poll, partition_name
from segmentation.types import NEVER
from storage.commits import Commit, DeadLetter
from storage.engine_state import Takeover

#: Messages of one evaluation, and bytes of the reads that they came in, about: more would only make the commits of
#: the first wait for the last.
STEP_MESSAGES, STEP_BYTES = 50_000, 32 << 20
#: Longest time without a commit while reads arrive that change nothing, µs.
QUIET_US = 1_000_000
#: A shard without new events is saved this many times more rarely.
IDLE_CHECKPOINTS = 10


class ShardLike(Protocol):
    next_offset: dict[int, int]
    watermark: int

    @property
    def front(self) -> tuple[int, int] | None: ...
    @property
    def expired_to(self) -> int: ...
    @property
    def partitions(self) -> Collection[int]: ...
    @property
    def erasing(self) -> bool: ...
    @property
    def scattered(self) -> tuple[int, list[str]]: ...
    def run(self, polls: Sequence[Poll], most: int | None = None) -> Step: ...
    def nudges(self, polls: Sequence[Poll]) -> list[Poll]: ...
    def finish(self, at: int) -> Step: ...
    def add_partitions(self, count: int, profiles: int = 0) -> None: ...
    def dump(self) -> bytes: ...
    def files(self) -> tuple[int, frozenset[str]]: ...
    def homes_of(self, users: Sequence[str]) -> Int32: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """partitions, profiles: how many the topics of events and of profiles have now. quiet_messages: at the
    latest when reads that changed nothing hold this many, they are committed, for the other processes wait
    for it. quiet: told up to which offsets a shard has nothing more to commit; handed: which ones await
    their commit. silence_us: of a partition that is one (flows.silence), 0: none; lateness_us: of the watermarks.
    slice: see flows.slices, None: all is taken at once; committed: a shard's last committed step. save_costs: of all
    shards of the process."""

    checkpoint_every_us: int
    partitions: int
    quiet_messages: int = 20_000
    quiet: Callable[[int, Mapping[int, int]], None] = lambda shard, positions: None
    handed: Callable[[int, Mapping[int, int]], None] = lambda shard, positions: None
    profiles: int = 0
    silence_us: int = 0
    lateness_us: int = 0
    slice: int | None = None
    committed: Callable[[int], int] = lambda shard: 1 << 62
    save_costs: SaveCosts = field(default_factory=SaveCosts)


@dataclass(slots=True)
class ShardRunner:
    """takeover: what the database knows; shard: the state that its checkpoint names, or an empty one.

    A loaded state has the partitions that the topic had then. Recorded steps are run with those;
    only then the shard waits for new ones too.
    """

    takeover: Takeover
    shard: ShardLike
    rules: Rules
    started_us: int
    number: int = 0
    _positions: dict[int, int] = field(default_factory=dict)
    _arrived: dict[int, int] = field(default_factory=dict)
    _catch_up: CatchUp | None = None
    _silence: Silence = field(init=False)
    _slices: Slices = field(init=False)
    _quiet: dict[int, Part] = field(default_factory=dict)
    _quiet_messages: int = 0
    _quiet_clock: int = NEVER
    _known: frozenset[int] = frozenset()
    _saved: set[int] = field(default_factory=set)
    _saved_step: int = -1
    _changed: bool = False
    _save_next: bool = False
    _looked_us: int = 0
    _erasing: bool = False  # files below storage_url may hold what was erased
    _scattered: tuple[int, list[str]] | None = None  # as last committed
    _committed_us: int = 0
    _checkpoint_us: int = 0  # the next turn to save
    _saved_us: int = 0
    _ended: bool = False
    _last_save: Work | None = None

    def __post_init__(self) -> None:
        found = self.takeover
        self.number = found.last_step
        self._known = frozenset(self.shard.partitions)
        self._silence = Silence(self.rules.silence_us, self.rules.lateness_us, found.heard, found.silent)
        self._slices = Slices(self.rules.slice, lambda: self.rules.committed(found.shard))
        if found.checkpoint is not None:
            self._positions = dict(found.checkpoint.offsets)
            self._saved, self._saved_step = set(self._positions), found.checkpoint.step
        parts = [part for step in found.steps for part in step.parts]
        self._catch_up = CatchUp(self.shard, parts, self._positions) if parts else None
        # What the process before had erased, but not in its files yet, or had not deleted.
        self._erasing = self.number > 0
        self._committed_us = self._saved_us = self.started_us
        if self._catch_up is None:
            self._caught_up()
        self._checkpoint_us = self._next_checkpoint(self.started_us)

    @property
    def catching_up(self) -> bool:
        return self._catch_up is not None

    @property
    def number_of_shard(self) -> int:
        return self.takeover.shard

    def take(self, items: Iterable[ShardPoll], now_us: int) -> list[Work]:
        """Reads in order of arrival. now_us only decides when to commit and to save, never what."""
        reads = [item for item in items if item.poll is not None]
        caught_up = False
        for item in reads:
            self._check_order(item)
        if self._catch_up is not None:
            reads = self._catch_up.take(reads)
            if not self._catch_up.done:
                return []
            self._caught_up()
            caught_up = True
        new = [found for read in reads if (found := self._new(read)) is not None]
        work: list[Work] = []
        for some in _portions(new):
            work += self._step(some, now_us)
        if caught_up and not work:
            # Whoever waits for it, the switch to another version say, is told so, though nothing new comes.
            return [self._work(None, [], [], now_us)]
        return work or self.tick(now_us)

    def tick(self, now_us: int) -> list[Work]:
        """Commits what changed nothing if it has waited long enough, and what names a saved state; saves in time
        what was erased."""
        if self._catch_up is not None:
            return []
        if self._erasing and self._is_save_due((), now_us):
            return [self._work(None, [], [], now_us)]
        self._looked_us = now_us
        last = self._last_save
        to_name = last is not None and last.beside and last.state is None
        if not self._quiet and not to_name:
            return []
        if now_us - self._committed_us < QUIET_US and self._quiet_messages < self.rules.quiet_messages:
            return []
        return [self._work(None, [], [], now_us)]

    def due_us(self) -> int | None:
        """When `tick` will have something to do."""
        due = [self._committed_us + QUIET_US] if self._quiet else []
        if self._erasing:
            due.append(max(self._checkpoint_us, self._looked_us + QUIET_US))
        if self._is_unnamed():
            due.append(max(self._committed_us, self._looked_us) + QUIET_US)
        return min(due) if due and self._catch_up is None else None

    def finish(self, at: int, now_us: int) -> list[Work]:
        """The end of a finite input: windows are expired up to `at` (µs)."""
        if self.catching_up:
            raise TidegateError(
                f"the topic ends before shard {self.number_of_shard} has read again what it had counted: "
                "messages were deleted. Start with --rebuild, on a topic that is kept for long enough."
            )
        return [self._work(self.shard.finish(at), [], [], now_us)]

    def rest(self, now_us: int) -> list[Work]:
        """What time has done by now and slices have left, at the end of an input."""
        if self.catching_up or self.shard.front is None:
            return []
        # Reads of nothing, so that there is something to be recorded.
        step = self.shard.run([Poll(partition, at, NEVER) for partition, at in self._positions.items()])
        return [self._work(step, [], [], now_us)]

    def has_read(self, ends: Mapping[int, int]) -> bool:
        """Has every partition been taken up to its end there?"""
        return all(self._positions.get(p, 0) >= end for p, end in ends.items())

    def end(self, now_us: int) -> list[Work]:
        """The last work of this run: what has not been committed, and the state."""
        if self._ended or self.catching_up or (self.number == 0 and not self._quiet):
            return []
        self._ended = True
        if not self._quiet and self.number == self._saved_step and not self._changed and not self._is_unnamed():
            return []
        return [self._work(None, [], [], now_us, save=True)]

    def _caught_up(self) -> None:
        self._catch_up = None
        self.shard.add_partitions(self.rules.partitions, self.rules.profiles)
        # Steps recorded with the old number of partitions and with the new one must not follow one saved state.
        self._save_next = self._save_next or len(self._saved) < self.rules.partitions + self.rules.profiles

    def _check_order(self, item: ShardPoll) -> None:
        assert item.poll is not None
        partition = item.poll.partition
        before = self._arrived.get(partition)
        if before is None:
            # One that the topic has got since the state was saved is needed from its beginning.
            reached = self._positions.get(partition, None if partition in self._known else 0)
            if reached is not None and item.first_offset > reached:
                raise TidegateError(
                    f"partition {partition_name(partition)} of the topic now begins at offset {item.first_offset}, but "
                    f"shard {self.number_of_shard} needs it from {reached}: messages were deleted before they were "
                    "counted. Start with --rebuild, on a topic that is kept for long enough."
                )
        elif item.first_offset != before:
            raise AssertionError(f"partition {partition}: read {item.first_offset} follows {before}")
        self._arrived[partition] = item.poll.next_offset

    def _new(self, item: ShardPoll) -> ShardPoll | None:
        assert item.poll is not None
        if item.poll.partition not in self.shard.partitions:
            raise StartAgain("the topic got more partitions while the processes of the cluster started.")
        found = trimmed(item, self._positions.get(item.poll.partition))
        if found is not None:
            self._positions[item.poll.partition] = item.poll.next_offset
        return found

    def _step(self, items: Sequence[ShardPoll], now_us: int) -> list[Work]:
        polls = [item.poll for item in items if item.poll is not None]
        rows = sum(len(poll.rows) for poll in polls if poll.rows is not None)
        began = time.perf_counter()
        nudges = self.shard.nudges(polls)
        # What time does to users of partitions that say nothing is the guard's to see as a whole.
        most = None if self._silence.any else self._slices.most(rows, now_us)
        step = self.shard.run([*nudges, *polls], most)
        silent = self._silence.step(zip(items, step.parts[len(nudges) :]))
        rejects = [letter for item in items for letter in item.rejects]
        if rows:
            metrics.evaluation_seconds.observe(time.perf_counter() - began)
            metrics.batch_rows.observe(rows)
            metrics.events.inc(rows)
            metrics.repeated.inc(step.repeated)
            metrics.late.inc(step.late)
            metrics.dropped.inc(step.dropped)
        metrics.erased.inc(len(step.erased))
        if rows or rejects or len(step.transitions) or step.new_users or any(poll.profiles for poll in polls):
            stamps, size = [item.stamps for item in items], sum(item.size for item in items)
            by_silence = self._by_silence(step.transitions, silent) if silent and len(step.transitions) else None
            return [self._work(step, rejects, stamps, now_us, size=size, by_silence=by_silence)]
        for part in step.parts:
            # The last of each partition, in the order of these, under the latest clock so far: the shard
            # lets nothing take effect that is ahead of it.
            self._quiet_clock = max(self._quiet_clock, part.clock)
            self._quiet.pop(part.partition, None)
            self._quiet[part.partition] = replace(part, clock=self._quiet_clock)
        self._quiet_messages += sum(poll.next_offset - item.first_offset for item, poll in zip(items, polls))
        self.rules.quiet(self.number_of_shard, {part.partition: part.next_offset for part in step.parts})
        return []

    def _by_silence(self, found: Transitions, silent: set[int]) -> Bool | None:
        """Which messages are time's doing to users whose events would come in these partitions; of a user without a
        partition of his own it may be any."""
        homes = self.shard.homes_of(found.user_id)
        chosen: Bool = ~found.by_event & ((homes < 0) | np.isin(homes, list(silent)))
        return chosen if chosen.any() else None

    def _work(
        self, step: Step | None, rejects: list[DeadLetter], stamps: list[Int64], now_us: int, save: bool = False,
        size: int = 0, by_silence: Bool | None = None,
    ) -> Work:  # fmt: skip
        """The next step: what changed nothing before, then `step`."""
        self.number += 1
        parts = [*self._quiet.values(), *(step.parts if step is not None else ())]
        if (front := self.shard.front) is not None:
            parts = [replace(part, front_at=front[0], front_rank=front[1]) for part in parts]
        if step is not None:
            self._slices.taken(self.number, step, now_us)
        self._quiet, self._quiet_messages = {}, 0
        self.rules.handed(self.number_of_shard, {part.partition: part.next_offset for part in parts})
        self._committed_us = now_us
        self._changed = self._changed or step is not None
        self._erasing = self._erasing or (step is not None and bool(step.erased))
        at_once = save or self._save_next or self._erasing or any(part.partition not in self._saved for part in parts)
        save = save or self._is_save_due(parts, now_us)
        heard, silent = self._silence.news()
        commit = Commit(
            self.number_of_shard,
            self.number,
            parts,
            self.shard.expired_to,
            step.transitions if step is not None else Transitions.none(),
            step.new_users if step is not None else (),
            rejects,
            erased=step.erased if step is not None else (),
            scattered=None if self.shard.scattered == self._scattered else self.shard.scattered,
            by_silence=by_silence, heard=heard, silent=silent,
        )
        self._scattered = self.shard.scattered
        work = Work(
            commit,
            self.takeover.token,
            step.too_late if step is not None else [],
            self.rules.save_costs.dumping(self.number_of_shard, self.shard.dump) if save else None,
            dict(self._positions),
            np.concatenate(stamps) if stamps else np.zeros(0, np.int64),
            self.shard.files() if save else (0, frozenset()),
            size,
            beside=save and not at_once,
        )
        if save:
            self._last_save = work
            self._saved, self._saved_step = set(self._positions), self.number
            self._save_next = False
            # Of files that are still being written again, the old ones go with the next saved state.
            self._changed = self._erasing = self.shard.erasing
            self._checkpoint_us, self._saved_us = self._next_checkpoint(now_us), now_us
        return work

    def _next_checkpoint(self, now_us: int) -> int:
        """Shards save in turn, not all at once: each takes the interpreter for tens of ms. Also after they have all
        saved together, as they do with the first messages of a partition."""
        every = self.rules.checkpoint_every_us
        turn = self.started_us + every * (1 + self.number_of_shard % 4) // 4
        return now_us + every - (now_us - turn) % every if every else now_us

    def _is_unnamed(self) -> bool:
        """Is the last state saved beside the commits, and needs one that names it?"""
        return self._last_save is not None and self._last_save.beside

    def _is_save_due(self, parts: Sequence[Part], now_us: int) -> bool:
        # A state is as large as the shard. While the database is away, one of them waits, not one a minute.
        if self._is_unnamed() or (self._last_save is not None and self._last_save.state is not None):
            return False
        self._last_save = None
        # A partition's first messages are saved at once: without an offset in a saved state nobody could
        # tell later whether the topic still reaches back to them.
        if self._save_next or any(part.partition not in self._saved for part in parts):
            return True
        if self._erasing:
            return now_us >= self._checkpoint_us  # whatever it costs: what was erased is to be gone by then
        every = self.rules.checkpoint_every_us
        if not self._changed:
            return now_us >= self._checkpoint_us + every * (IDLE_CHECKPOINTS - 1)
        return now_us >= self.rules.save_costs.due_us(self._checkpoint_us, self._saved_us, every)


def _portions(items: Sequence[ShardPoll]) -> Iterator[list[ShardPoll]]:
    """In order, so many reads together as an evaluation takes."""
    portion: list[ShardPoll] = []
    messages = size = 0
    for item in items:
        portion.append(item)
        messages += 0 if item.poll is None or item.poll.rows is None else len(item.poll.rows)
        size += item.size
        if messages >= STEP_MESSAGES or size >= STEP_BYTES:
            yield portion
            portion, messages, size = [], 0, 0
    if portion:
        yield portion
