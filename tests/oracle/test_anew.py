"""One segment is computed anew: what it counts is right then, whatever it was, and all else is as it was."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile.plan import Cell
from segmentation.evaluate.building import build, held_by, rows_of
from segmentation.evaluate.carrying import all_but
from segmentation.evaluate.shard import Shard
from tests.oracle.grammar import COLUMNS
from tests.oracle.running import EXAMPLES, Bits, Tally, bound, closing, planned
from tests.oracle.strategies import Scenario
from tests.oracle.streams import polls_of
from tests.oracle.test_building import CUTS, SOME, _Engine, _going_on, _members, _said, _twin, folder, small_chunks

__all__ = ["folder", "small_chunks"]
pytestmark = pytest.mark.timeout(1_800)


@pytest.mark.parametrize("kind", SOME)
def test_one_segment_anew(folder: Path, kind: str) -> None:
    tally, wrong = Tally(), [0, 0]

    @settings(max_examples=EXAMPLES // 10)
    @given(SOME[kind], st.integers(0, 40), st.integers(0, 10), CUTS)
    def property_(scenario: Scenario, at: int, number: int, cuts: int) -> None:
        plan = planned(bound(scenario, tally), tally)
        last = closing(scenario) if scenario.live else []
        (polls,) = polls_of(scenario.reads + last, COLUMNS, 1, lambda _read, _event: Bits(cuts).next())
        end = len(polls) - len(last)
        at = min(at, end)
        engine = _Engine(scenario, plan, folder / "one")
        engine.shard.run([replace(poll) for poll in polls[:at]])
        segment = plan.names[number % len(plan.names)]
        kept = all_but(plan, [segment])
        state = engine.shard.dump()
        old = Shard.load(state, plan, 0, *engine.options, engine.archive(read_only=True), engine.retention_us)
        wrong[0] += _spoil(old, kept)
        read = 0

        def progress(rows: int) -> bool:
            nonlocal read
            read += rows
            return True

        new = build(old, plan, engine.archive(), engine.retention_us, held_by(old, {}), progress, [segment])
        assert read <= rows_of(old)
        wrong[1] += read < rows_of(old)
        engine.shard = new
        twin = _twin(scenario, plan, polls[:at], folder / "twin")
        assert _members(new) == _members(twin.shard), _said(f"members differ, {segment} anew", scenario, [(at, number)])
        mine, its = (_going_on(each, scenario, polls[at:end], polls[end:], True) for each in (engine, twin))
        assert mine == its, _said(f"transitions differ:\n{mine}\n{its}\n", scenario, [(at, number)])
        tally.examples += 1
        tally.flips += len(mine)
        tally.flipping += bool(mine)
        for path in folder.rglob("*.*"):
            path.unlink()

    property_()
    tally.check()
    print(f"{wrong[0]} values were wrong before; not everything was read {wrong[1]} times")
    assert EXAMPLES < 200 or wrong[0]


def _spoil(old: Shard, kept: Collection[Cell]) -> int:
    """Wrong values in the linear cells that are to be computed anew, of all users; how many."""
    users, spoilt = np.arange(len(old._users)), 0
    for place, linear in enumerate(old.plan.linears):
        if linear not in kept and len(users):
            cells = old._network.cells
            value = cells.peek(place, users)
            cells.put(cells.addresses(np.full(len(users), place), users), value + 7)
            spoilt += len(users)
    return spoilt
