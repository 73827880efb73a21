"""`tidegate reshard N`: the shards of a stopped engine become N, exactly and without reading the topic anew.

All shards are taken over, which shuts an engine that still runs out, and brought to one place as a
restarted engine would do it: each runs its recorded steps again, silently; what some have counted
and others have not is counted by those too; then all get the watermarks of those that are furthest.
What that makes known is committed in the old layout. Only then their users are dealt out anew
(segmentation.evaluate.redistribute), the new states are saved, and one transaction (storage.reshard)
makes the new layout the valid one.

A refused message is stored by the shard that its partition's number points to. All shards stand at
the same offsets when that changes, so what lies before has been stored by the old one, and what
comes after is stored by the new one.
"""

import logging
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from flows import clock, kafka
from flows.engine import NEW_SHARDS_FILES, Engine, Goal, clean_beyond
from flows.items import RawPoll, ShardPoll, Work
from flows.pace import Pace
from flows.placement import Placement
from flows.reading import read_to
from flows.shard_runner import ShardRunner
from flows.sink import Writer
from flows.steps import decode, to_shards
from segmentation.errors import TidegateError
from segmentation.evaluate.redistribute import level, redistribute
from segmentation.evaluate.shard import Shard
from storage import postgres, reservoir
from storage import reshard as storage
from storage.commits import CheckpointRecord, Fenced
from storage.settings import Settings

log = logging.getLogger("tidegate.reshard")


@dataclass(frozen=True, slots=True)
class Outcome:
    """users: of each new shard; moved: how many have another shard now; changed: False where there were as many."""

    before: int
    users: list[int]
    moved: int
    changed: bool


def reshard(settings: Settings, count: int, stop: threading.Event) -> Outcome:
    """Raises TidegateError where it cannot be done; then the old shards are valid, and further than before at most.

    `settings.shards` does not count: how many there are is stored."""
    url = settings.database_url.get_secret_value()
    found = storage.preview(url, count)
    if found.shards == count:
        return Outcome(count, found.users, 0, False)
    topic = settings.events_topic
    if not kafka.partition_count(settings, topic, stop=stop):
        raise TidegateError(f"there is no topic {topic} at {settings.kafka} to read from. Check `events_topic`.")
    settings = settings.model_copy(update={"shards": found.shards})
    with closing(Engine.open(settings, Placement(found.shards), Goal(), stop)) as engine:
        log.info("took over %d shards; an engine that still runs is shut out now", found.shards)
        engine.pace = Pace(range(found.shards), 2**62, 2**62)  # the writer holds us back
        runners = [engine.runner(shard) for shard in range(found.shards)]
        shards = [runner.shard for runner in runners if isinstance(runner.shard, Shard)]
        to_one_place(engine, runners, shards)
        new = _New(engine, count, 1 + max(runner.takeover.token for runner in runners))
        new.save(shards, 1 + max(runner.number for runner in runners))
        before = {runner.number_of_shard: (runner.takeover.token, runner.number) for runner in runners}
        try:
            moved = storage.store(url, before, new.saved, new.token, shards[0].watermark)
        except Fenced:
            new.discard()
            raise
        except postgres.DatabaseLost as error:
            # It may have been committed. The files that turn out not to be needed are deleted by whoever comes next.
            words = f"{error} Run `tidegate reshard {count}` again: it goes on, or says that it is done."
            raise TidegateError(words) from error
    log.info("%d users have moved; there are %d shards now", moved, count)
    new.clean()
    return Outcome(found.shards, new.users, moved, True)


@dataclass(slots=True)
class _New:
    """The new shards as they are saved. token: theirs; files: what each needs of the reservoir (Shard.files)."""

    engine: Engine
    count: int
    token: int
    users: list[int] = field(default_factory=list)
    saved: list[CheckpointRecord] = field(default_factory=list)
    files: list[tuple[int, frozenset[str]]] = field(default_factory=list)

    def save(self, shards: Sequence[Shard], step: int) -> None:
        """Redistributes and writes the states, one after the other; all or none."""
        try:
            self._save(shards, step)
        except BaseException:
            self.discard()
            raise

    def _save(self, shards: Sequence[Shard], step: int) -> None:
        made = redistribute(shards, self.count, lambda number: self.engine.new_shard(number, self.token, 0))
        for number, shard in enumerate(made):
            self.saved.append(self.engine.checkpoints.save(number, step, dict(shard.next_offset), shard.dump()))
            self.files.append(shard.files())
            self.users.append(len(shard.user_ids))
            log.info("new shard %d of %d: %s users", number, self.count, f"{self.users[-1]:,}")

    def discard(self) -> None:
        """Nothing was committed: takes the files away again."""
        for record in self.saved:
            self.engine.checkpoints.remove(record)
        for folder in range(self.count):
            reservoir.discard(self.engine.settings.storage_url, folder, self.token, NEW_SHARDS_FILES)

    def clean(self) -> None:
        """Takes the files away that only the old shards needed."""
        for record, (until, keep) in zip(self.saved, self.files):
            self.engine.checkpoints.clean(record.shard, record)
            reservoir.clean(self.engine.settings.storage_url, record.shard, self.token, keep, until)
        clean_beyond(self.engine.settings, self.count)


def to_one_place(engine: Engine, runners: Sequence[ShardRunner], shards: Sequence[Shard]) -> None:
    """Every shard takes what any has taken, stands where the furthest does, and is saved there."""
    writer = Writer(engine, 0)
    try:
        for runner in runners:
            _put(writer, engine, runner.take([], clock.now_us()))
        for reads in _missing(engine, runners):
            seen: list[list[ShardPoll]] = [[] for _ in runners]
            for _, item in to_shards(engine, decode(engine, reads)):
                seen[item.shard].append(item)
            for runner, items in zip(runners, seen):
                _put(writer, engine, runner.take(items, clock.now_us()))
        for runner in runners:
            if runner.catching_up:
                raise TidegateError(
                    f"topic {engine.settings.events_topic} at {engine.settings.kafka} ends before shard "
                    f"{runner.number_of_shard} has read again what it had counted: messages were deleted. "
                    "Start with `tidegate run --rebuild`, on a topic that is kept for long enough."
                )
        while polls := level(shards):
            for runner in runners:
                again = [ShardPoll(runner.number_of_shard, poll.next_offset, poll) for poll in polls]
                _put(writer, engine, runner.take(again, clock.now_us()))
        for runner in runners:
            _put(writer, engine, runner.end(clock.now_us()))
    finally:
        writer.close()
    if engine.fatal is not None:
        raise engine.fatal
    log.info("all shards stand at the same place")


def _missing(engine: Engine, runners: Sequence[ShardRunner]) -> Iterable[list[RawPoll]]:
    """What some shard has still to read, or to read again, to be as far as the furthest."""
    offsets = [runner.takeover.offsets for runner in runners]
    saved = [{} if (found := runner.takeover.checkpoint) is None else found.offsets for runner in runners]
    ends = {p: max(each.get(p, start) for each in offsets) for p, start in engine.starts.items()}
    # A shard that has never heard of a partition must, even where there is nothing in it.
    unread = [p for p, start in engine.starts.items() if start >= ends[p] and any(p not in each for each in saved)]
    now = clock.now_us()
    yield [RawPoll(p, engine.starts[p], engine.starts[p], now) for p in unread]
    messages = sum(end - engine.starts[partition] for partition, end in ends.items())
    if messages:
        log.info("reading up to %s messages again, to bring all shards to the same place", f"{messages:,}")
    yield from read_to(engine, {p: end for p, end in ends.items() if engine.starts[p] < end})


def _put(writer: Writer, engine: Engine, works: Sequence[Work]) -> None:
    writer.put(works)
    if engine.fatal is not None:
        raise engine.fatal
