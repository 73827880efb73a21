"""A scenario through the front end, through `Reference`, and through the engine's shards."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from segmentation.compile.bind import bind_each
from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.compile.problems import DefinitionErrors
from segmentation.compile.tree import Definition
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Part, Step
from segmentation.events.rows import Poll
from segmentation.events.schema import load_schema
from segmentation.reference import Flip, Reference, Version
from segmentation.state.archive import Archive
from tests.oracle.grammar import COLUMNS, SCHEMA_YML
from tests.oracle.strategies import PARTITIONS, Read, Scenario
from tests.oracle.streams import polls_of

SCHEMA = load_schema(SCHEMA_YML)

#: How many scenarios a large property of the engine tries, some two a second; in CI all properties of this folder
#: together try 3,000. The twin against DuckDB is three times as fast, and all that nobody else could contradict.
EXAMPLES = int(os.environ.get("TIDEGATE_EXAMPLES", 250 if "CI" in os.environ else 60))
JUDGED = 6 * EXAMPLES


@dataclass
class Tally:
    """What a property has seen over its whole run."""

    examples: int = 0
    flipping: int = 0
    flips: int = 0
    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    instance: dict[str, str] = field(default_factory=dict)  # the shortest text refused for it

    def add(self, log: list[Flip]) -> None:
        self.examples += 1
        self.flipping += bool(log)
        self.flips += len(log)

    def refuse(self, reason: str, sql: str) -> None:
        self.refused[reason] += 1
        self.instance[reason] = min(self.instance.get(reason, sql), sql, key=len)

    def check(self) -> None:
        """Enough must happen for the property to mean something."""
        print(f"{self.examples} examples, {self.flipping} with flips, {self.flips} flips")
        print(f"{self.taken} definitions taken, {self.refused.total()} refused")
        for reason, times in self.refused.most_common():
            print(f"  {times:5} {reason} {self.instance[reason]}")
        if self.examples < 100:
            return  # too few for shares to say anything
        assert self.flipping * 2 >= self.examples, "fewer than half of the examples flip somebody"
        assert self.refused.total() * 5 <= self.taken, "the grammar makes too many definitions that are refused"


def bound(scenario: Scenario, tally: Tally) -> list[Definition]:
    """The definitions that the front end takes."""
    definitions, problems = bind_each({f"{name}.sql": sql for name, sql in scenario.definitions.items()}, SCHEMA)
    tally.taken += len({definition.file for definition in definitions})
    for file, problem in {problem.file: problem for problem in reversed(problems)}.items():
        tally.refuse(problem.reason, scenario.definitions[file.removesuffix(".sql")])
    return definitions


def reference_of(scenario: Scenario, definitions: list[Definition]) -> Reference:
    """The twin, after the whole scenario."""
    reference = Reference(
        definitions, PARTITIONS, scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live, scenario.profiles
    )
    for read in scenario.reads:
        for record in read.records:
            if isinstance(record, Version):
                reference.event(read.partition, record, read.clock)
            else:
                reference.erase(read.partition, *record, read.clock)
        for event in read.events:
            reference.event(read.partition, event, read.clock)
        if not read.events and not read.records:
            reference.idle(read.partition, read.watermark, read.clock)
    return reference


def finish(reference: Reference, scenario: Scenario) -> None:
    """Every window closes: by the end of input, or when live by the clock."""
    if scenario.live:
        for read in closing(scenario):
            reference.idle(read.partition, read.watermark, read.clock)
    else:
        reference.finish(scenario.end)


def closing(scenario: Scenario) -> list[Read]:
    """Reads after which no window is open."""
    clock = scenario.end + 1 + scenario.lateness_us
    return [Read(partition, clock, watermark=scenario.end + 1) for partition in scenario.partitions]


def planned(definitions: list[Definition], tally: Tally) -> Plan:
    """The plan of those definitions that can be lowered."""
    while True:
        try:
            return lower(definitions, SCHEMA)
        except DefinitionErrors as errors:
            refused = {problem.file: problem.reason for problem in errors.problems}
            for definition in definitions:
                if definition.file in refused:
                    tally.refuse(refused[definition.file], definition.sql)
            definitions = [definition for definition in definitions if definition.file not in refused]


@dataclass
class Outcome:
    """What all shards together have said."""

    log: list[Flip] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)  # of the first shard
    new_users: set[str] = field(default_factory=set)
    members: set[tuple[str, str]] = field(default_factory=set)
    too_late: list[str] = field(default_factory=list)  # whose
    repeated: int = 0
    dropped: int = 0
    erased: dict[str, int] = field(default_factory=dict)
    watermarks: set[int] = field(default_factory=set)

    def add(self, step: Step, plan: Plan) -> None:
        for user_id, until in step.erased:
            assert until > self.erased.get(user_id, until - 1), "a user was erased twice"
            self.erased[user_id] = until
            self.new_users.discard(user_id)
            self.too_late = [late for late in self.too_late if late != user_id]
            self.log = [flip for flip in self.log if flip.user_id != user_id]
        self.log += flips_of(step, plan)
        assert self.new_users.isdisjoint(step.new_users), "a user was new twice"
        self.new_users.update(step.new_users)
        self.too_late += [user_id for _, _, user_id in step.too_late]
        self.repeated += step.repeated
        self.dropped += step.dropped


class Bits:
    """Yes or no, from a drawn number: small numbers say no."""

    def __init__(self, number: int) -> None:
        self.number = number

    def next(self) -> bool:
        self.number, bit = divmod(self.number, 2)
        return bool(bit)


def engine(
    scenario: Scenario, plan: Plan, shards: int, cuts: Bits, parts: Sequence[Part] = (),
    archive: Callable[[int], Archive] | None = None,
) -> Outcome:  # fmt: skip
    """The scenario through `shards` shards; `cuts` says where polls and runs are cut, how much of what time does a run
    may take, and where a shard goes through dump and load. `parts`: the record of a run without cut polls or slices, to
    be repeated.
    archive: makes a shard's, anew after each load.
    """
    settings = (PARTITIONS, scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live)
    last = closing(scenario) if scenario.live else []
    outcome = Outcome()
    cut_polls = polls_of(scenario.reads + last, COLUMNS, shards, lambda _read, _event: not parts and cuts.next())
    for number, polls in enumerate(cut_polls):
        if parts:
            for poll, part in zip(polls, parts):
                poll.clock, poll.watermark = part.clock, part.watermark
        shard = Shard(plan, *settings, archive and archive(number))
        shard.add_partitions(PARTITIONS, scenario.profiles)
        closing_from = len(polls) - len(last)
        steps = []
        for some in cut(polls[:closing_from], cuts):
            steps.append(shard.run(some, slice_of(cuts)))
            if cuts.next():
                shard = Shard.load(shard.dump(), plan, *settings, archive and archive(number))
        outcome.watermarks.add(shard.watermark)
        if last:
            steps.append(shard.run(polls[closing_from:]))
        else:
            steps += [shard.finish(scenario.end - 28 * scenario.unit.micros), shard.finish(scenario.end)]
        for step in steps:
            outcome.add(step, plan)
        if number == 0:
            outcome.parts = [part for step in steps for part in step.parts]
        names = [definition.name for definition in plan.segments]
        outcome.members |= {(user_id, names[n]) for user_id, numbers in shard.members() for n in numbers}
    return outcome


def slice_of(cuts: Bits) -> int | None:
    """How much of what time does a step may take."""
    return 2 * cuts.next() + cuts.next() if cuts.next() else None


def flips_of(step: Step, plan: Plan) -> Iterator[Flip]:
    said = step.transitions
    for i, user_id in enumerate(said.user_id):
        for flip in range(int(said.first[i]), int(said.first[i + 1])):
            name = plan.segments[int(said.segment[flip])].name
            at, by_event = int(said.effective_at[i]), bool(said.by_event[i])
            yield Flip(user_id, int(said.seq[i]), name, bool(said.entered[flip]), at, by_event)


def cut(polls: list[Poll], cuts: Bits) -> Iterator[list[Poll]]:
    some: list[Poll] = []
    for poll in polls:
        if some and cuts.next():
            yield some
            some = []
        some.append(poll)
    yield some
