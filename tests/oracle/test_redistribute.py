"""Another number of shards in mid-stream, again and again: the log stays that of the slow twin."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile.plan import Plan
from segmentation.evaluate.redistribute import level, redistribute
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Poll
from segmentation.shards import shard_of
from segmentation.state import log
from segmentation.state.archive import Archive, ChunkRef
from segmentation.types import NEVER
from storage.chunk_files import Rows
from storage.reservoir import Reservoir
from tests.oracle import cases
from tests.oracle.erasures import with_erasures
from tests.oracle.grammar import ALL_COLUMNS, COLUMNS, START_US
from tests.oracle.running import (
    EXAMPLES,
    Bits,
    Outcome,
    Tally,
    bound,
    closing,
    cut,
    finish,
    planned,
    reference_of,
    slice_of,
)
from tests.oracle.strategies import EXTREMES, PARTITIONS, Read, Scenario, scenarios
from tests.oracle.streams import polls_of
from tests.oracle.test_engine import same

pytestmark = pytest.mark.timeout(1_800)

#: Numbers of shards, each with how many reads it lasts; the last one to the end.
MOVES = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 7, 8]), st.integers(0, 12)), min_size=2, max_size=6)
CUTS = st.integers(0, 2**64 - 1)


Make = Callable[[int], Shard]
Archives = Callable[[int], Archive]


def test_logs_are_those_of_the_reference() -> None:
    _hold_for(scenarios(events=20), EXAMPLES // 10)


def test_users_are_erased() -> None:
    _hold_for(with_erasures(scenarios(events=20)), EXAMPLES // 10)


def test_extreme_values() -> None:
    _hold_for(scenarios(values=EXTREMES), EXAMPLES // 40)


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archives:
    """Chunks of a few rows, anew for each shard and each load."""
    for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2), ("LONG_ROWS", 0)):
        monkeypatch.setattr(log, name, rows)
    monkeypatch.setattr("os.fsync", lambda _: None)
    tokens = itertools.count(1)
    return lambda shard: Reservoir(tmp_path, shard, next(tokens), ALL_COLUMNS, group_rows=2)


def test_chunks(archives: Archives, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = Counter[bool]()
    arrived = Reservoir.arrived

    def counted(self: Reservoir, pieces: Sequence[Rows], late: bool) -> ChunkRef:
        moved[late] += 1
        return arrived(self, pieces, late)

    monkeypatch.setattr(Reservoir, "arrived", counted)
    _hold_for(scenarios(events=40) | with_erasures(scenarios(events=40)), EXAMPLES // 40, archives)
    assert EXAMPLES < 2_000 or (moved[False] > 0 and moved[True] > 0), moved


def _hold_for(some: st.SearchStrategy[Scenario], examples: int, archives: Archives | None = None) -> None:
    tally = Tally()

    @settings(max_examples=examples)
    @given(some, MOVES, CUTS)
    def property_(scenario: Scenario, moves: list[tuple[int, int]], cuts: int) -> None:
        _hold(scenario, moves, cuts, tally, archives)

    property_()
    tally.check()


@pytest.mark.parametrize("cuts", [0, 0x5A5A5A5A5A5A5A5A, 2**64 - 1])
@pytest.mark.parametrize("file", sorted(cases.FOLDER.glob("*.yml")), ids=lambda file: file.stem)
def test_cases(file: Path, cuts: int) -> None:
    _hold(cases.load(file.read_text()), [(4, 2), (8, 2), (3, 2), (1, 2), (7, 2), (2, 0)], cuts, Tally())


def _hold(
    scenario: Scenario, moves: list[tuple[int, int]], cuts: int, tally: Tally, archives: Archives | None = None
) -> None:
    plan = planned(bound(scenario, tally), tally)
    scenario, sections = _with_moves(scenario, moves)
    reference = reference_of(scenario, plan.segments)
    watermark = reference.watermark
    finish(reference, scenario)
    tally.add(reference.log)
    outcome = _resharded(scenario, plan, sections, Bits(cuts), archives)
    same(scenario, reference, watermark, outcome, f"sections {sections}, cuts {cuts:#x}")


def _with_moves(scenario: Scenario, moves: list[tuple[int, int]]) -> tuple[Scenario, list[tuple[int, int]]]:
    """At each move a read without events of every partition, for `level` lets a watermark follow the clock.

    Returns (number of shards, its last read + 1) too."""
    reads: list[Read] = []
    sections = []
    at = 0
    for number, (count, lasting) in enumerate(moves):
        end = at + lasting if number < len(moves) - 1 else len(scenario.reads)
        reads += scenario.reads[at:end]
        at = min(end, len(scenario.reads))
        clock = reads[-1].clock if reads else START_US
        reads += [Read(partition, clock) for partition in scenario.partitions]
        sections.append((count, len(reads)))
    return replace(scenario, reads=reads), sections


def _resharded(
    scenario: Scenario, plan: Plan, sections: list[tuple[int, int]], cuts: Bits, archives: Archives | None
) -> Outcome:
    """At every move all shards but one may have been killed before the last polls."""
    options = scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live

    def make(number: int) -> Shard:
        shard = Shard(plan, PARTITIONS, *options, archives and archives(number))
        shard.add_partitions(PARTITIONS, scenario.profiles)
        return shard

    last = closing(scenario) if scenario.live else []
    begun: dict[tuple[int, int], bool] = {}

    def begins(read: int, event: int) -> bool:
        """The same polls, however many shards there are."""
        return begun.setdefault((read, event), cuts.next())

    polls = {count: polls_of(scenario.reads + last, COLUMNS, count, begins) for count, _ in sections}
    polls_until = np.cumsum(
        [
            1 + sum(begun[number, i] for i in range(1, len(read.events or read.records)))
            for number, read in enumerate(scenario.reads)
        ]
    )
    outcome = Outcome()
    shards = [make(number) for number in range(sections[0][0])]
    for shard in shards:
        shard.run([Poll(partition, 0, NEVER) for partition in scenario.partitions])
    start = 0
    for count, reads in sections:
        shards = _redistributed(shards, count, make, outcome, plan)
        if cuts.next():
            shards = [
                Shard.load(shard.dump(), plan, 0, *options, archives and archives(number))
                for number, shard in enumerate(shards)
            ]
        end = int(polls_until[reads - 1])
        whole = cuts.number % count
        for place, shard in enumerate(shards):
            mine = polls[count][place][start:end]
            reached = len(mine)
            while reached and place != whole and cuts.next():
                reached -= 1
            for some in cut(mine[:reached], cuts):
                outcome.add(shard.run(some, slice_of(cuts)), plan)
            # What says only how late it is, is left to `level`.
            missed = mine[reached:]
            while missed and missed[-1].high == NEVER:
                missed.pop()
            outcome.add(shard.run(missed, slice_of(cuts)), plan)
        start = end
    shards = _redistributed(shards, len(shards), make, outcome, plan)
    count = len(shards)
    names = [definition.name for definition in plan.segments]
    for place, shard in enumerate(shards):
        outcome.watermarks.add(shard.watermark)
        outcome.add(shard.run(polls[count][place][start:]) if last else shard.finish(scenario.end), plan)
        for user_id, numbers in shard.members():
            assert shard_of(user_id, count) == place
            outcome.members |= {(user_id, names[number]) for number in numbers}
    return outcome


def _redistributed(shards: list[Shard], count: int, make: Make, outcome: Outcome, plan: Plan) -> list[Shard]:
    while polls := level(shards):
        for shard in shards:
            outcome.add(shard.run(polls), plan)
    return list(redistribute(shards, count, make))
