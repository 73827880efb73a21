"""Shards of other definitions, kept up with those of a running engine: its recorded steps are run on them, too.

    following = Following(settings, folder, shards, begun, stop)    # shards: as they were at the saved states `begun`
    following.run(steps_after(connection, following.steps))         # again and again; at last no step is left

The messages of the steps are read from Kafka again, and decoded as the engine did, by the schema that it has. This is
what a restarted engine does (flows.catch_up), with shards that have other definitions: what has been counted, under
which clock and watermark, is in the record, and does not depend on definitions.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from flows import clock
from flows.catch_up import CatchUp
from flows.engine import Engine, Goal
from flows.items import RawPoll, ShardPoll
from flows.pace import Pace
from flows.partitions import bounds
from flows.placement import Placement
from flows.source import KafkaPartition
from flows.steps import decode, to_shards
from segmentation.compile import compile_files
from segmentation.evaluate.building import Stopped
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.profiles import ProfileDecoder
from segmentation.types import NEVER
from storage.checkpoints import CheckpointStore
from storage.definitions_folder import DefinitionsFolder
from storage.engine_state import RecordedStep
from storage.following import Begun, NotKept
from storage.reservoir import kept_columns
from storage.settings import Settings


class Following:
    """folder: of the definitions that the engine runs with. steps: by shard, the last one that was run.
    positions: by shard, the first offset of each partition that was not taken."""

    def __init__(
        self, settings: Settings, folder: DefinitionsFolder, shards: Mapping[int, Shard], begun: Mapping[int, Begun],
        stop: threading.Event,
    ) -> None:  # fmt: skip
        saved = {number: one.checkpoint for number, one in begun.items()}
        self.steps = {number: 0 if one is None else one.step for number, one in saved.items()}
        self.positions = {number: {} if one is None else dict(one.offsets) for number, one in saved.items()}
        self._shards, self._stop = dict(shards), stop
        partitions = sorted({partition for shard in shards.values() for partition in shard.partitions})
        self._engine = _reading(settings, folder, partitions, list(self.positions.values()), stop)
        self._held: dict[int, list[ShardPoll]] = {number: [] for number in shards}
        self._readers: dict[int, KafkaPartition] = {}
        self._reached: dict[int, int] = {}

    def run(self, recorded: Mapping[int, Sequence[RecordedStep]]) -> int:
        """By shard, the steps that follow those that were run; how many they were.

        TidegateError where their messages are gone; building.Stopped when told to stop."""
        under_way: dict[int, CatchUp] = {}
        for number, steps in recorded.items():
            for step in steps:
                if step.number != self.steps[number] + 1:
                    raise NotKept(f"Step {self.steps[number] + 1} of shard {number} was not kept.")
                self.steps[number] = step.number
            if parts := [part for step in steps for part in step.parts]:
                under_way[number] = CatchUp(self._shards[number], parts, self.positions[number])
        if not under_way:
            return sum(map(len, recorded.values()))
        ends: dict[int, int] = {}
        for number in under_way:
            for part in (part for step in recorded[number] for part in step.parts):
                ends[part.partition] = max(part.next_offset, ends.get(part.partition, 0))
        for number, catch_up in under_way.items():
            held, self._held[number] = self._held[number], []
            self._take(number, catch_up, held)
        for read in self._reads(ends):
            for _, item in to_shards(self._engine, decode(self._engine, [read])):
                number = item.shard
                if number in under_way and not under_way[number].done:
                    self._take(number, under_way[number], [item])
                else:
                    self._held[number] += self._new(number, [item])
        assert all(catch_up.done for catch_up in under_way.values()), "all that they need was read"
        return sum(map(len, recorded.values()))

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()

    def _take(self, number: int, catch_up: CatchUp, items: Sequence[ShardPoll]) -> None:
        self._held[number] += self._new(number, catch_up.take(items))

    def _new(self, number: int, items: Sequence[ShardPoll]) -> list[ShardPoll]:
        """Those of which something was not taken; what was refused is stored by the engine."""
        kept = []
        for item in items:
            assert item.poll is not None
            position = self.positions[number].get(item.poll.partition, NEVER)
            if item.poll.next_offset > position:
                item.rejects = []
                kept.append(item)
        return kept

    def _reads(self, ends: Mapping[int, int]) -> Iterator[RawPoll]:
        """Until each of these partitions has been read up to its end there, at least."""
        engine, now = self._engine, clock.now_us()
        behind = set()
        for partition, end in ends.items():
            if partition not in self._readers:
                self._readers[partition] = KafkaPartition(engine, partition)
                self._reached[partition] = first = engine.starts[partition]
                # A shard that has never heard of it must, even where there is nothing in it.
                yield RawPoll(partition, first, first, now)
            if self._reached[partition] < end:
                behind.add(partition)
        while behind:
            idle = True
            for partition in sorted(behind):
                for read in self._read(partition):
                    idle = False
                    self._reached[partition] = read.next_offset
                    yield read
                if self._reached[partition] >= ends[partition]:
                    behind.discard(partition)
            if self._stop.wait(0.002 if idle else 0):
                raise Stopped("told to stop.")

    def _read(self, partition: int) -> list[RawPoll]:
        try:
            items = list(self._readers[partition].next_batch())
        except StopIteration:  # it is told to stop
            items = []
        if self._engine.fatal is not None:
            raise self._engine.fatal
        return [item for item in items if isinstance(item, RawPoll) and item.next_offset > item.first_offset]


def _reading(
    settings: Settings, folder: DefinitionsFolder, partitions: Sequence[int],
    positions: Iterable[Mapping[int, int]], stop: threading.Event,
) -> Engine:  # fmt: skip
    """What a reader of partitions asks for; each begins where the first shard needs it."""
    schema, starts = folder.schema, {}
    for partition, (first, _) in bounds(settings, partitions, stop).items():
        known = [each.get(partition) for each in positions]
        starts[partition] = first if None in known else min(at for at in known if at is not None)
    live = settings.clock == "live"
    return Engine(
        settings, Placement(settings.shards), Goal(), compile_files(folder.files, schema),
        Decoder(schema, settings.max_skew_us if live else None), ProfileDecoder(schema), [], starts, {}, {},
        Pace([], 2**62, 2**62),  # what is read is worked off before the next
        stop, CheckpointStore(settings.storage_url), kept_columns(schema),
    )  # fmt: skip
