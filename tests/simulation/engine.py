"""The engine in the simulation: incarnations over one world, from a seed to what was committed."""

import random
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from flows.engine import starts_of
from flows.items import ShardPoll, Work
from flows.progress import Progress
from flows.shard_runner import Rules, ShardRunner
from flows.storing import Saving, store
from segmentation.compile.bind import bind
from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.reference import Event
from storage.commits import Fenced
from storage.disk import StorageError
from storage.engine_state import Takeover
from storage.reservoir import Reservoir
from tests.flows.world import COLUMNS, World
from tests.oracle.grammar import START_US, UNITS
from tests.oracle.running import SCHEMA
from tests.oracle.strategies import PARTITIONS, Read, Scenario
from tests.simulation.actors import Actor, Schedule
from tests.simulation.parts import Connection, Database, Disk, Later, Pool, StoredShard

W = "INTERVAL '3 seconds'"
DEFINITIONS = {
    "recent": f"HAVING count(*) FILTER (WHERE event_time > now() - {W}) >= 2",
    "quiet": f"HAVING count(*) FILTER (WHERE event_type = 'buy' AND event_time >= now() - {W}) = 0",
    "gone": f"HAVING max(event_time) < now() - {W}",
    "spent": "HAVING sum(amount) FILTER (WHERE event_time > now() - INTERVAL '5 seconds') > 2 AND count(*) > 1",
    "last": "HAVING arg_max(region, event_time) = 'CA'",
    "middle": f"HAVING count(*) FILTER (WHERE event_time BETWEEN now() - INTERVAL '6 seconds' AND now() - {W}) > 0",
}
SECOND = next(unit for unit in UNITS if unit.micros == 1_000_000)


def plan() -> Plan:
    text = "SELECT user_id FROM events GROUP BY user_id "
    return lower([bind(name, f"{name}.sql", text + sql, SCHEMA) for name, sql in DEFINITIONS.items()], SCHEMA)


def scenario(draw: random.Random) -> Scenario:
    """Some tens of reads of three partitions; events on time, late, repeated, ahead of the clock."""
    clock, live = START_US + 8_000_000, draw.random() < 0.7
    lateness = draw.choice([0, 250_000, 1_000_000])
    reads: list[Read] = []
    sent: list[Event] = []
    for number in range(draw.randint(10, 40)):
        clock += draw.choice([0, 0, 100_000, 500_000, 1_000_000, 2_000_000])
        partition = draw.randrange(PARTITIONS)
        if draw.random() < 0.3:
            reads += [Read(one, clock, watermark=clock - lateness) for one in range(PARTITIONS)]
            continue
        events = []
        for place in range(draw.randint(1, 4)):
            if sent and draw.random() < 0.1:
                event = draw.choice(sent)
            else:
                delay = draw.choice([0, 0, 0, 300_000, 2_000_000, 7_000_000] + ([-400_000] if live else []))
                values = {
                    "event_type": draw.choice(["buy", "view"]), "region": draw.choice(["CA", None, "ny"]),
                    "amount": draw.choice([None, Decimal("1.00"), Decimal("2.50")]), "quantity": None, "score": None,
                    "premium": None,
                }  # fmt: skip
                user = f"u{partition}{draw.randrange(2)}"
                event = Event(user, f"e{number}-{place}", clock - delay, values)
                sent.append(event)
            if int(event.user_id[1]) == partition:
                events.append(event)
        reads.append(Read(partition, clock, events))
    return Scenario(
        SECOND, {}, reads, lateness, draw.choice([None, 10_000_000]), live, clock + 30_000_000
    )


@dataclass
class Simulation:
    """One seed. protections: what of the database's promises is kept."""

    seed: int
    folder: Path
    plan: Plan
    protections: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        shards = self.draw.choice([1, 2, 3])
        self.world = World(scenario(self.draw), self.plan, shards, self.seed)
        self.database = Database([StoredShard() for _ in range(shards)], **self.protections)
        self.schedule = Schedule(self.draw, self.draw.choice([0.0, 0.01, 0.05]))
        self.kills: list[str] = []
        self.seen = 0
        self.tokens: dict[str, list[int]] = {}
        self.now = 0

    def run(self) -> None:
        """Incarnations follow each other, some while their predecessor still lives; the last one is left alone."""
        for number in range(self.draw.randint(1, 6)):
            self._start(number, self.draw.randint(self.seen, len(self.world.reads)))
            for _ in range(self.draw.randint(5, 150)):
                if not self.schedule.turn():
                    break
            self._check_errors()
        self.kills = self.schedule.kills
        # Half of the time those who hang come back while the last one runs.
        hanging = self.schedule.actors if self.draw.random() < 0.5 else []
        self.schedule = Schedule(self.draw, 0.0)
        self.schedule.actors += hanging
        last = self._start(99, len(self.world.reads))
        while not last.ended:
            self.schedule.turn()
        self._check_errors()
        if last.error is not None:
            raise AssertionError("the last one was shut out") from last.error
        for actor in self.schedule.actors:
            if not actor.ended:
                actor.kill()

    def _check_errors(self) -> None:
        """One that was shut out may miss files that its successor has cleaned away; its successor may not."""
        for actor in self.schedule.actors:
            shut_out = self.tokens.get(actor.name) != [shard.token for shard in self.database.shards]
            allowed = (Fenced, StorageError) if shut_out else Fenced
            if actor.error is not None and not isinstance(actor.error, allowed):
                raise actor.error

    def _start(self, number: int, until: int) -> Actor:
        actor = Actor(f"engine {number}", lambda mine: self._engine(mine, until))
        self.schedule.actors.append(actor)
        return actor

    def _engine(self, actor: Actor, until: int) -> None:
        draw = self.draw
        found = self.database.take_over()
        self.tokens[actor.name] = [each.token for each in found]
        disk, pool = Disk(self.folder, actor), Pool(actor, draw)
        connection = Connection(self.database, actor, draw, {each.shard: each.token for each in found})
        rules = Rules(
            draw.choice([1, 3, 10, 10**9]), PARTITIONS, slice=draw.choice([None, 1, 2, 5]),
            committed=lambda shard: len(self.database.shards[shard].commits),
        )  # fmt: skip
        runners = [ShardRunner(each, self._state(each, disk, pool), rules, self.now) for each in found]
        waiting: list[Work] = []
        later = Later(draw)
        saving = Saving(disk, later, rules.save_costs)

        def stored(works: list[Work]) -> None:
            if works:
                store(works, saving, connection, disk.clean_files, lambda _: [])
            works.clear()

        for runner in runners:
            waiting += runner.take([], self.now)  # as a shard is opened
        for polls in self._polls(found, until):
            self.now += draw.choice([0, 1, 400_000, 1_100_000])
            for shard, runner in enumerate(runners):
                waiting += runner.take([poll for poll in polls if poll.shard == shard], self.now)
                if draw.random() < 0.2:
                    waiting += runner.tick(self.now)
            pool.some()
            later.some()
            actor.pause("between reads")
            if draw.random() < 0.5:
                stored(waiting)
        for runner in runners:
            assert not runner.catching_up, "the record was not run to its end"
            waiting += runner.end(self.now)
        stored(waiting)

    def _state(self, found: Takeover, disk: Disk, pool: Pool) -> Shard:
        archive = Reservoir(self.folder, found.shard, found.token, COLUMNS, pool, group_rows=2)
        if found.checkpoint is None:
            return Shard(self.plan, PARTITIONS, *self.world.settings, archive)
        data = disk.states.load(found.checkpoint)
        return Shard.load(data, self.plan, 0, *self.world.settings, archive)

    def _polls(self, found: list[Takeover], until: int) -> list[list[ShardPoll]]:
        """From where the saved states end: what anybody has read before in other portions, then what is new."""
        progress = {
            each.shard: Progress(each.offsets, each.checkpoint.offsets if each.checkpoint else None) for each in found
        }
        starts = starts_of(progress, dict.fromkeys(range(PARTITIONS), 0))
        seen = self.seen
        self.seen = max(seen, until)
        return self.world.polls(starts, seen, self.seen)
