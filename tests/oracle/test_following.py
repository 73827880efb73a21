"""Other definitions are built from a saved state while their shard goes on; then the steps that were recorded meanwhile
are run on them, from messages read again in other portions. That is a shard which had them from the beginning."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.catch_up import CatchUp
from flows.items import ShardPoll
from flows.shard_runner import QUIET_US, Rules, ShardRunner
from segmentation.evaluate.building import build, held_by
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Part
from segmentation.events.rows import Poll
from segmentation.types import NEVER
from storage.engine_state import Takeover
from tests.oracle import cases
from tests.oracle.grammar import COLUMNS
from tests.oracle.running import EXAMPLES, Bits, Tally, bound, closing, planned
from tests.oracle.strategies import PARTITIONS, Scenario
from tests.oracle.streams import polls_of
from tests.oracle.test_building import CUTS, SOME, _Engine, _going_on, _members, _said, _twin, folder, small_chunks

__all__ = ["folder", "small_chunks"]
pytestmark = pytest.mark.timeout(1_800)


@pytest.mark.parametrize("kind", SOME)
def test_what_was_counted_meanwhile_is_counted(folder: Path, kind: str) -> None:
    tally = Tally()

    @settings(max_examples=EXAMPLES // 10)
    @given(SOME[kind], st.integers(0, 30), st.integers(0, 30), st.integers(0, 10), CUTS)
    def property_(scenario: Scenario, begin: int, steps: int, number: int, cuts: int) -> None:
        _hold(scenario, begin, steps, number, Bits(cuts), folder, tally)

    property_()
    tally.check()


@pytest.mark.parametrize("file", sorted(cases.FOLDER.glob("*.yml")), ids=lambda file: file.stem)
def test_cases(file: Path, folder: Path) -> None:
    scenario = cases.load(file.read_text())
    for begin, steps in ((0, 5), (3, 9)):
        _hold(scenario, begin, steps, 1, Bits(0x5A5A5A5A5A5A5A5A), folder, Tally())


def _hold(
    scenario: Scenario, begin: int, steps: int, number: int, cuts: Bits, folder: Path, tally: Tally
) -> None:  # fmt: skip
    plan = planned(bound(scenario, tally), tally)
    some = dict(list(scenario.definitions.items())[: number % len(scenario.definitions)])
    old_plan = planned(bound(replace(scenario, definitions=some), Tally()), Tally())
    last = closing(scenario) if scenario.live else []
    (polls,) = polls_of(scenario.reads + last, COLUMNS, 1, lambda _read, _event: cuts.next())
    (again,) = polls_of(scenario.reads, COLUMNS, 1, lambda _read, _event: cuts.next())
    end = len(polls) - len(last)
    begin, until = min(begin, end), min(begin + steps, end)
    engine = _Engine(scenario, old_plan, folder / "one")
    rules = Rules(10**15, PARTITIONS, profiles=scenario.profiles)
    runner = ShardRunner(Takeover(0, 1, 0, NEVER, {}, None, []), engine.shard, rules, 0)
    reads = _reads(polls[:end])
    _recorded(runner, reads[:begin])
    state, positions = engine.shard.dump(), dict(runner._positions)
    parts = _recorded(runner, reads[begin:until])
    old = Shard.load(state, old_plan, 0, *engine.options, engine.archive(read_only=True), engine.retention_us)
    new = build(old, plan, engine.archive(), engine.retention_us, held_by(old, {}))
    if parts:
        catch_up = CatchUp(new, parts, positions)
        catch_up.take(_reads(again))
        assert catch_up.done
    assert new.standing() == replace(engine.shard.standing(), applied_to=new.standing().applied_to)
    engine.plan, engine.shard = plan, new
    twin = _twin(scenario, plan, polls[:until], folder / "twin")
    assert _members(new) == _members(twin.shard), _said("members differ", scenario, [(begin, until)])
    mine, its = (_going_on(each, scenario, polls[until:end], polls[end:], True) for each in (engine, twin))
    assert mine == its, _said(f"transitions differ:\n{mine}\n{its}\n", scenario, [(begin, until)])
    assert _members(new) == _members(twin.shard), _said("members differ later", scenario, [(begin, until)])
    tally.examples += 1
    tally.flips += len(mine)
    tally.flipping += bool(mine) or begin < until
    for path in folder.rglob("*.*"):
        path.unlink()


def _reads(polls: list[Poll]) -> list[ShardPoll]:
    reached: defaultdict[int, int] = defaultdict(int)
    found = []
    for poll in polls:
        rows = 0 if poll.rows is None else len(poll.rows)
        found.append(ShardPoll(0, reached[poll.partition], replace(poll), np.zeros(rows, np.int64)))
        reached[poll.partition] = poll.next_offset
    return found


def _recorded(runner: ShardRunner, reads: list[ShardPoll]) -> list[Part]:
    """The record of these, that of the quiet ones too, as it is stored."""
    works = [work for read in reads for work in runner.take([replace(read)], 0)]
    works += runner.tick(runner._committed_us + 2 * QUIET_US)
    return [part for work in works for part in work.commit.parts]
