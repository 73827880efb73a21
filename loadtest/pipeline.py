"""The engine on one core, without broker and database: bytes to transitions, in the shipped configuration.

A read takes one poll of each partition; a poll is decoded, split by shard, and evaluated by the same
`ShardRunner` that a worker has. Repeats are looked for, older events go to files, and states are saved and flushed.
What is left out is Bytewax, Kafka's client and the transaction. `events` may also come as columns, for measurements of
the evaluator alone.

The time that counts is processor time of the whole process, its writing thread included, so that a busy neighbour
disturbs little.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np

from flows.items import ShardPoll, Work
from flows.save_costs import SaveCosts
from flows.shard_runner import Rules, ShardRunner
from loadtest import workload
from segmentation.compile import compile_files
from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll, Rows
from segmentation.events.schema import load_schema
from segmentation.events.split import split
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.engine_state import Takeover
from storage.reservoir import Reservoir, kept_columns
from storage.settings import Settings

#: As shipped, whatever the environment says.
DEFAULTS = Settings.model_construct()
SHARDS = DEFAULTS.shards
#: Messages of a read of all partitions under full load.
READ = DEFAULTS.poll_rows * workload.PARTITIONS


class Pipeline:
    """One process with all shards of a deployment; a context, for it has a folder and a thread.

    checkpoint_s: processor seconds of the engine between two saved states of a shard, more where they cost much, as
    shipped. in_memory: without files for older events (to tell what those cost).
    """

    def __init__(
        self, plan: Plan, shards: int = SHARDS, checkpoint_s: float = DEFAULTS.checkpoint_every,
        in_memory: bool = False, partitions: int = workload.PARTITIONS, live: bool = True,
    ) -> None:  # fmt: skip
        schema = load_schema(workload.SCHEMA)
        self.plan, self._partitions = plan, partitions
        self._decoder = Decoder(schema, DEFAULTS.max_skew_us)
        self._folder = tempfile.TemporaryDirectory(prefix="tidegate-bench-")
        self.folder = Path(self._folder.name)
        self._checkpoints = CheckpointStore(self.folder)
        self._pool = ThreadPoolExecutor(1)
        self.save_costs = SaveCosts(time.thread_time_ns)
        self._every_us = round(checkpoint_s * 1_000_000)
        rules = Rules(self._every_us, partitions, save_costs=self.save_costs)
        self.shards: list[Shard] = []
        self.runners: list[ShardRunner] = []
        for number in range(shards):
            archive = None if in_memory else Reservoir(self.folder, number, 1, kept_columns(schema), self._pool)
            shard = Shard(plan, partitions, DEFAULTS.lateness_us, DEFAULTS.dedupe_horizon_us, live, archive)
            self.shards.append(shard)
            self.runners.append(ShardRunner(Takeover(number, 1, 0, 0, {}, None, []), shard, rules, 0))
        self._offsets = [0] * partitions
        self._clock = 0
        self.works: list[Work] | None = None  # where somebody wants them, a list
        self.transitions = self.accepted = self.late = self.saved = self.saved_bytes = 0
        self.seconds = self.wall = self.decoding = 0.0  # processor seconds; the decoder's part of them

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()
        self._folder.cleanup()

    def read(self, messages: Mapping[int, Sequence[bytes]], newest: int) -> None:
        """messages by partition; newest: the clock of the read, µs."""
        wall, began = time.perf_counter(), time.process_time()
        self._clock = max(self._clock, newest)
        polls = []
        for partition, values in messages.items():
            first = self._offsets[partition]
            stamps = np.full(len(values), self._clock, np.int64)
            offsets = np.arange(first, first + len(values), dtype=np.int64)
            decoded = self._decoder.decode(values, offsets, stamps, partition=partition)
            if decoded.rejects:
                raise SystemExit(f"the engine refuses an event of the measurement: {decoded.rejects[0]}")
            polls.append((partition, len(values), decoded.rows))
        self.decoding += time.process_time() - began
        self._evaluate(polls)
        self.seconds += time.process_time() - began
        self.wall += time.perf_counter() - wall

    def read_columns(self, polls: Mapping[int, Rows], newest: int) -> None:
        """The same of events that are columns already."""
        wall, began = time.perf_counter(), time.process_time()
        self._clock = max(self._clock, newest)
        self._evaluate([(partition, len(rows), rows) for partition, rows in polls.items()])
        self.seconds += time.process_time() - began
        self.wall += time.perf_counter() - wall

    def next_offsets(self, partition: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        first = self._offsets[partition]
        return np.arange(first, first + count, dtype=np.int64)

    def _evaluate(self, polls: Sequence[tuple[int, int, Rows]]) -> None:
        for_shard: list[list[ShardPoll]] = [[] for _ in self.shards]
        for partition, count, rows in polls:
            first = self._offsets[partition]
            self._offsets[partition] = first + count
            high = int(rows.high[-1])
            for number, part in enumerate(split(rows, len(self.shards))):
                poll = Poll(partition, first + count, self._clock, high, None, part)
                for_shard[number].append(ShardPoll(number, first, poll))
        now = round(self.seconds * 1_000_000)
        for runner, items in zip(self.runners, for_shard):
            for work in runner.take(items, now):
                self._take(work)

    def save(self) -> int:
        """Saves the present state of every shard; the size of the files."""
        size = 0
        for number, shard in enumerate(self.shards):
            state = self.save_costs.dumping(number, shard.dump)
            record = self._written(number, self.runners[number].number, dict(shard.next_offset), state)
            size += self._size(record)
        return size

    def saves_every_s(self) -> float:
        """From a save of a shard to its next by what saves took last, as shipped."""
        return self.save_costs.due_us(self._every_us, 0, self._every_us) / 1e6

    def _written(self, shard: int, step: int, offsets: dict[int, int], state: bytes) -> CheckpointRecord:
        record = self.save_costs.writing(shard, lambda: self._checkpoints.save(shard, step, offsets, state))
        self._checkpoints.clean(shard, record)
        return record

    def _size(self, record: CheckpointRecord) -> int:
        return (self._checkpoints.folder / record.file).stat().st_size

    def _take(self, work: Work) -> None:
        self.transitions += len(work.transitions.segment)
        if work.state is not None:
            self.saved += 1
            self.saved_bytes += self._size(
                self._written(work.commit.shard, work.commit.number, work.offsets, work.state)
            )
            work.state = None
        if self.works is not None:
            self.works.append(work)

    def finish(self, at: int) -> None:
        """All that time does up to `at` (µs) included."""
        for runner in self.runners:
            self._take(runner.finish(at, round(self.seconds * 1_000_000))[0])

    def files(self) -> list[Path]:
        """Those of older events that are needed now, when what was being written is there."""
        needed = frozenset[str]().union(*(shard.files()[1] for shard in self.shards))
        self._pool.submit(lambda: None).result()
        return [path for path in (self.folder / "reservoir").rglob("*") if path.stem in needed]

    def members(self) -> set[tuple[str, str]]:
        """(user, segment) of all shards."""
        names = self.plan.names
        return {(user, names[s]) for shard in self.shards for user, inside in shard.members() for s in inside}


def reads(
    drawn: workload.Drawn, size: int = READ, first: int = 0, until: int | None = None
) -> list[tuple[dict[int, list[bytes]], int, int]]:
    """(messages by partition, their newest time, their number) of each read, in order of arrival."""
    found = []
    last = len(drawn) if until is None else until
    for start in range(first, last, size):
        end = min(start + size, last)
        by: dict[int, list[bytes]] = {partition: [] for partition in range(workload.PARTITIONS)}
        for message, partition in zip(drawn.messages(start, end), drawn.partition[start:end].tolist()):
            by[partition].append(message)
        some = {partition: values for partition, values in by.items() if values}
        found.append((some, int(drawn.time[start:end].max()), end - start))
    return found


def plan_of(files: Mapping[str, str]) -> Plan:
    return compile_files(files, load_schema(workload.SCHEMA))
