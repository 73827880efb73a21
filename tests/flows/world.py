"""The engine's world without Kafka and Postgres: logs, a database, kills; everything drawn from one seed."""

import random
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from flows.engine import starts_of
from flows.items import ShardPoll, Work
from flows.progress import Progress
from flows.shard_runner import Rules, ShardRunner
from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Part, Step, Transitions
from segmentation.events.rows import PROFILES, Poll
from segmentation.reference import Event, Version
from segmentation.shards import shard_of
from segmentation.types import NEVER
from storage.commits import CheckpointRecord, Commit, DeadLetter
from storage.engine_state import RecordedStep, Takeover
from tests.oracle.running import SCHEMA
from tests.oracle.strategies import PARTITIONS, Scenario, Tombstone
from tests.oracle.streams import profiles_of, rows_of, time_of, user_of

COLUMNS = {
    name: column.type for name, column in SCHEMA.events.items() if name not in ("user_id", "event_id", "event_time")
}


@dataclass
class StoredShard:
    commits: list[Commit] = field(default_factory=list)
    saved: CheckpointRecord | None = None
    state: bytes = b""

    def store(self, work: Work) -> None:
        assert work.commit.number == len(self.commits) + 1, "a step is missing or stored twice"
        self.commits.append(work.commit)
        if work.state is not None:
            self.saved = CheckpointRecord(work.commit.shard, work.commit.number, "", "", dict(work.offsets))
            self.state, work.state, work.beside = work.state, None, False

    def takeover(self, shard: int) -> Takeover:
        after = self.saved.step if self.saved else 0
        steps = [RecordedStep(commit.number, list(commit.parts)) for commit in self.commits[after:]]
        return Takeover(shard, 1, len(self.commits), NEVER, self.offsets(), self.saved, steps)

    def offsets(self) -> dict[int, int]:
        return {part.partition: part.next_offset for commit in self.commits for part in commit.parts}


class World:
    """A scenario's reads become logs (None: a message that is refused); `run_to_the_end` reads them with kills."""

    def __init__(self, scenario: Scenario, plan: Plan, shards: int, seed: int) -> None:
        self.scenario, self.plan, self.shards = scenario, plan, shards
        self.random = random.Random(seed)
        self.logs: defaultdict[int, list[Event | Tombstone | None]] = defaultdict(list)
        self.reads: list[tuple[int, int, int, int | None]] = []  # partition, end, clock, watermark
        for read in scenario.reads:
            log = self.logs[read.partition]
            messages: list[Event | Tombstone] = [*read.events, *read.records]
            for message in messages:
                if self.random.random() < 0.1:
                    log.append(None)
                log.append(message)
            self.reads.append((read.partition, len(log), read.clock, read.watermark))
        self.stored = [StoredShard() for _ in range(shards)]
        self.kills = 0
        # Until the topic grows, the last partition is not there; its messages are found when it is.
        self.partitions = PARTITIONS
        self._grown_after = [0] * shards

    @property
    def numbers(self) -> list[int]:
        """Of the partitions that are there."""
        return [partition for partition in self.scenario.partitions if not self.partitions <= partition < PROFILES]

    @property
    def settings(self) -> tuple[int, int | None, bool]:
        return self.scenario.lateness_us, self.scenario.dedupe_horizon_us, self.scenario.live

    def run_to_the_end(self, kills: int) -> None:
        seen = 0
        grown = self.random.randint(0, kills)
        for number in range(kills):
            self._grow(PARTITIONS if number >= grown else PARTITIONS - 1)
            seen = self._incarnation(seen, self.random.randint(seen, len(self.reads)), killed=True)
        self._grow(PARTITIONS)
        self._incarnation(seen, len(self.reads), killed=False)

    def _grow(self, partitions: int) -> None:
        if partitions > self.partitions:
            self._grown_after = [len(stored.commits) for stored in self.stored]
        self.partitions = partitions

    def _incarnation(self, seen: int, until: int, killed: bool) -> int:
        """Starts where the database says, reads again up to read number `seen`, then new ones up to `until`."""
        draw = self.random
        found = [stored.takeover(shard) for shard, stored in enumerate(self.stored)]
        progress = {each.shard: Progress(each.offsets, each.checkpoint.offsets if each.checkpoint else None)
                    for each in found}  # fmt: skip
        starts = starts_of(progress, dict.fromkeys(self.numbers, 0))
        rules = Rules(
            draw.choice([1, 3, 10, 10**9]), self.partitions, profiles=self.scenario.profiles,
            slice=draw.choice([None, 1, 3]), committed=lambda shard: len(self.stored[shard].commits),
        )  # fmt: skip
        now = draw.randint(0, 5)
        runners = [ShardRunner(each, self._state(each), rules, now) for each in found]
        # As a shard is opened: what was recorded may need no message.
        waiting = [runner.take([], now) for runner in runners]
        for batch in self._batched(self.polls(starts, seen, until)):
            now += draw.choice([0, 1, 400_000, 1_100_000])
            for shard, runner in enumerate(runners):
                waiting[shard] += runner.take([poll for polls in batch for poll in polls if poll.shard == shard], now)
                if draw.random() < 0.2:
                    waiting[shard] += runner.tick(now)
                if draw.random() < 0.5:
                    self._store(shard, waiting[shard])
        if killed:
            self.kills += 1
            for shard, works in enumerate(waiting):
                self._store(shard, works[: draw.randint(0, len(works))])
            return until
        for shard, runner in enumerate(runners):
            assert not runner.catching_up, "the record was not run to its end"
            self._store(shard, waiting[shard] + runner.rest(now) + runner.end(now))
        return until

    def _state(self, found: Takeover) -> Shard:
        if found.checkpoint is None:
            return self._empty(self.partitions)
        return Shard.load(self.stored[found.shard].state, self.plan, 0, *self.settings)

    def _empty(self, partitions: int) -> Shard:
        shard = Shard(self.plan, partitions, *self.settings)
        shard.add_partitions(partitions, self.scenario.profiles)
        return shard

    def _store(self, shard: int, works: list[Work]) -> None:
        for work in works:
            self.stored[shard].store(work)
        works.clear()

    def polls(self, starts: dict[int, int], seen: int, until: int) -> list[list[ShardPoll]]:
        """Messages that were read before come in other portions and another order, under the latest clock."""
        reached = dict.fromkeys(self.numbers, 0)
        for partition, end, _, _ in self.reads[:seen]:
            if partition in reached:
                reached[partition] = end
        clock = self.reads[seen - 1][2] if seen else self.reads[0][2]
        position = dict(starts)
        out = []
        behind = [partition for partition in reached if position[partition] < reached[partition]]
        while behind:
            partition = self.random.choice(behind)
            end = self.random.randint(position[partition] + 1, reached[partition])
            out.append(self._poll(partition, position[partition], end, clock, None))
            position[partition] = end
            behind = [partition for partition in reached if position[partition] < reached[partition]]
        for partition, end, at, watermark in self.reads[seen:until]:
            if partition in position and end >= position[partition]:
                out.append(self._poll(partition, position[partition], end, at, watermark))
                position[partition] = end
        return out

    def _poll(self, partition: int, start: int, end: int, clock: int, watermark: int | None) -> list[ShardPoll]:
        polls = []
        for shard in range(self.shards):
            poll = self.poll(shard, partition, start, end, clock, watermark)
            rows = 0 if poll.rows is None else len(poll.rows)
            polls.append(ShardPoll(shard, start, poll, np.zeros(rows, np.int64)))
        polls[partition % self.shards].rejects = [
            DeadLetter("events", partition, offset, None, None, [], "not_json", "")
            for offset in range(start, end) if self.logs[partition][offset] is None
        ]  # fmt: skip
        return polls

    def poll(self, shard: int, partition: int, start: int, end: int, clock: int, watermark: int | None) -> Poll:
        here = list(enumerate(self.logs[partition][:end]))[start:]
        offsets = np.array([offset for offset, message in here if message is not None], np.int64)
        records = [message for _, message in here if isinstance(message, Version | tuple)]
        events = [message for _, message in here if isinstance(message, Event) and not isinstance(message, Version)]
        users = [event.user_id for event in events] + list(map(user_of, records))
        mine = np.flatnonzero([shard_of(user_id, self.shards) == shard for user_id in users])
        high = max([event.time for event in events] + list(map(time_of, records)), default=NEVER)
        poll = Poll(partition, end, clock, high, watermark)
        if events:
            rows = rows_of(events, COLUMNS)
            rows.offset = offsets
            poll.rows = rows.take(mine)
        if records:
            profiles = profiles_of(records)
            profiles.offset = offsets
            poll.profiles = profiles.take(mine)
        return poll

    def _batched(self, polls: list[list[ShardPoll]]) -> list[list[list[ShardPoll]]]:
        out = []
        while polls:
            size = self.random.choice([1, 1, 2, 5])
            out.append(polls[:size])
            polls = polls[size:]
        return out

    def told_by_the_record(self, shard: int) -> list[Step]:
        """What a shard says that runs all recorded parts once, one after the other, from an empty state."""
        grown = self._grown_after[shard]
        state = self._empty(PARTITIONS - 1 if grown else PARTITIONS)
        position: dict[int, int] = defaultdict(int)
        steps = []
        for commit in self.stored[shard].commits:
            if commit.number == grown + 1:
                state.add_partitions(PARTITIONS, self.scenario.profiles)
            polls = [self._recorded(shard, part, position) for part in commit.parts]
            # A step without parts is not run again: only something else than events was stored.
            steps.append(state.run(polls) if polls else Step([], state.expired_to, Transitions.none()))
        return steps

    def _recorded(self, shard: int, part: Part, position: dict[int, int]) -> Poll:
        start, position[part.partition] = position[part.partition], part.next_offset
        poll = self.poll(shard, part.partition, start, part.next_offset, part.clock, part.watermark)
        poll.front = None if part.front_at is None else (part.front_at, part.front_rank)
        return poll
