"""A scenario through the front end, and through `Reference`."""

from collections import Counter
from dataclasses import dataclass, field

from segmentation.compile.bind import bind
from segmentation.compile.problems import DefinitionErrors
from segmentation.compile.tree import Definition
from segmentation.events.schema import load_schema
from segmentation.reference import Flip, Reference
from tests.oracle.grammar import SCHEMA_YML
from tests.oracle.strategies import PARTITIONS, Scenario

SCHEMA = load_schema(SCHEMA_YML)


@dataclass
class Tally:
    """What a property has seen over its whole run."""

    examples: int = 0
    flipping: int = 0
    flips: int = 0
    taken: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, log: list[Flip]) -> None:
        self.examples += 1
        self.flipping += bool(log)
        self.flips += len(log)

    def check(self) -> None:
        """Enough must happen for the property to mean something."""
        print(f"{self.examples} examples, {self.flipping} with flips, {self.flips} flips")
        print(f"{self.taken} definitions taken, {self.refused.total()} refused")
        for reason, times in self.refused.most_common():
            print(f"  {times:5} {reason}")
        assert self.flipping * 2 >= self.examples, "fewer than half of the examples flip somebody"
        assert self.refused.total() * 10 <= self.taken, "the grammar makes too many definitions that are refused"


def bound(scenario: Scenario, tally: Tally) -> list[Definition]:
    """The definitions that the front end takes."""
    definitions = []
    for name, sql in scenario.definitions.items():
        try:
            definitions.append(bind(name, f"{name}.sql", sql, SCHEMA))
            tally.taken += 1
        except DefinitionErrors as errors:
            tally.refused[f"{errors.problems[0].reason} <- {sql}"] += 1
    return definitions


def reference_of(scenario: Scenario, definitions: list[Definition]) -> Reference:
    """The twin, after the whole scenario."""
    reference = Reference(definitions, PARTITIONS, scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live)
    for read in scenario.reads:
        for event in read.events:
            reference.event(read.partition, event, read.clock)
        if not read.events or read.watermark is not None:
            reference.idle(read.partition, read.watermark, read.clock)
    return reference


def finish(reference: Reference, scenario: Scenario) -> None:
    """Every window closes: by the end of input, or when live by the clock."""
    if scenario.live:
        for partition in range(PARTITIONS):
            reference.idle(partition, scenario.end + 1, scenario.end + 1 + scenario.lateness_us)
    else:
        reference.finish(scenario.end)
