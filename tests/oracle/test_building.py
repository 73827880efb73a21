"""Definitions change in mid-stream, again and again: the state made from the archive is that of a shard that had the
new ones from the beginning, its members then and every transition after it."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile.plan import Plan
from segmentation.evaluate.building import build, held_by, rows_of
from segmentation.evaluate.carrying import chosen
from segmentation.evaluate.history import missing
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Step
from segmentation.events.rows import Poll
from segmentation.reference import Flip
from segmentation.state import log
from storage.reservoir import Reservoir
from tests.oracle import cases
from tests.oracle.erasures import with_erasures, with_profiles
from tests.oracle.grammar import ALL_COLUMNS, COLUMNS
from tests.oracle.running import EXAMPLES, Bits, Tally, bound, closing, cut, flips_of, planned
from tests.oracle.strategies import PARTITIONS, Scenario, scenarios
from tests.oracle.streams import polls_of

pytestmark = pytest.mark.timeout(1_800)

#: At which poll (of 40, about), to which number of the definitions, from the first one on.
CHANGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 10)), min_size=1, max_size=3)
CUTS = st.integers(0, 2**64 - 1)
FOREVER_US = 10**17


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2), ("LONG_ROWS", 0)):
        monkeypatch.setattr(log, name, rows)
    monkeypatch.setattr("os.fsync", lambda _: None)


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


SOME = {
    "events": scenarios(events=30), "erasures": with_erasures(scenarios(events=30)),
    "profiles": with_profiles(scenarios(events=20, of_users=True)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOME)
def test_a_built_state_goes_on_as_if_it_had_been_there_always(folder: Path, kind: str) -> None:
    tally = Tally()

    @settings(max_examples=EXAMPLES // 10)
    @given(SOME[kind], CHANGES, CUTS)
    def property_(scenario: Scenario, changes: list[tuple[int, int]], cuts: int) -> None:
        _hold(scenario, changes, Bits(cuts), folder, tally)

    property_()
    tally.check()


@pytest.mark.parametrize("file", sorted(cases.FOLDER.glob("*.yml")), ids=lambda file: file.stem)
def test_cases(file: Path, folder: Path) -> None:
    scenario = cases.load(file.read_text())
    for at in (1, 3, 6):
        _hold(scenario, [(at, 0), (at + 1, 10), (at + 2, 0), (at + 9, 10)], Bits(0x5A5A5A5A5A5A5A5A), folder, Tally())


def test_what_is_not_said_to_be_missing_is_there(folder: Path) -> None:
    """Events have left the archive: of definitions of which nothing is missing, everything holds as before."""
    whole, partial, taken_over, tally = 0, 0, 0, Tally()

    @settings(max_examples=EXAMPLES // 5)
    @given(scenarios(events=30) | with_erasures(scenarios(events=30)), st.integers(4, 40), CUTS)
    def property_(scenario: Scenario, at: int, cuts: int) -> None:
        nonlocal whole, partial, taken_over
        scenario = replace(scenario, dedupe_horizon_us=2 * scenario.unit.micros)
        plan = planned(bound(scenario, tally), tally)
        first = dict(list(scenario.definitions.items())[: 1 + cuts % 5])
        old_plan = planned(bound(replace(scenario, definitions=first), Tally()), Tally())
        (polls,) = polls_of(scenario.reads, COLUMNS, 1, lambda _read, _event: Bits(cuts).next())
        engine, twin = _Engine(scenario, old_plan, folder, 0), _Engine(scenario, plan, folder / "twin", FOREVER_US)
        for poll in polls[:at]:
            engine.shard.run([replace(poll)])
            twin.shard.run([replace(poll)])
        held = held_by(engine.shard, {})
        carried = chosen(old_plan, plan, held)
        lacking = missing(plan, held, carried)
        taken_over += len(carried)
        engine.change(plan)
        names = set(plan.names) - lacking.keys()
        whole, partial = whole + len(names), partial + len(lacking)
        for number in range(min(at, len(polls)), len(polls) + 1):
            found = [{pair for pair in _members(each.shard) if pair[1] in names} for each in (engine, twin)]
            assert found[0] == found[1], _said(f"members differ; missing: {lacking}", scenario, [(at, 0)])
            for each in (engine, twin):
                each.shard.run([replace(poll) for poll in polls[number : number + 1]])
        for path in folder.rglob("*.*"):
            path.unlink()

    property_()
    print(f"{whole} definitions were whole, of {partial} something was missing; {taken_over} cells were taken over")
    assert EXAMPLES < 1_000 or (whole and partial and taken_over)


class _Engine:
    """A shard whose definitions may change, with its archive."""

    def __init__(self, scenario: Scenario, plan: Plan, folder: Path, retention_us: int = FOREVER_US) -> None:
        self.scenario, self.plan, self.folder, self.token = scenario, plan, folder, 0
        self.options = scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live
        self.retention_us = retention_us
        self.shard = Shard(plan, PARTITIONS, *self.options, self.archive(), retention_us)
        self.shard.add_partitions(PARTITIONS, scenario.profiles)

    def archive(self, read_only: bool = False) -> Reservoir:
        self.token += 1
        return Reservoir(self.folder, 0, self.token, ALL_COLUMNS, group_rows=2, read_only=read_only)

    def change(self, plan: Plan) -> None:
        """From what a checkpoint holds, and to what one is loaded from."""
        state = self.shard.dump()
        old = Shard.load(state, self.plan, 0, *self.options, self.archive(read_only=True), self.retention_us)
        read = 0

        def progress(rows: int) -> bool:
            nonlocal read
            read += rows
            return True

        new = build(old, plan, self.archive(), self.retention_us, held_by(old, {}), progress)
        assert read <= rows_of(old)  # files that no window reaches are left out
        assert old.dump() == Shard.load(
            state, self.plan, 0, *self.options, self.archive(read_only=True), self.retention_us
        ).dump(), "building changed what it was built from"
        self.plan, self.shard = plan, Shard.load(
            new.dump(), plan, 0, *self.options, self.archive(), self.retention_us
        )


def _hold(scenario: Scenario, changes: list[tuple[int, int]], cuts: Bits, folder: Path, tally: Tally) -> None:
    whole = planned(bound(scenario, tally), tally)
    plans = [whole]
    for _, number in changes:
        some = dict(list(scenario.definitions.items())[: 1 + number % len(scenario.definitions)])
        plans.append(planned(bound(replace(scenario, definitions=some), Tally()), Tally()))
    last = closing(scenario) if scenario.live else []
    (polls,) = polls_of(scenario.reads + last, COLUMNS, 1, lambda _read, _event: cuts.next())
    end = len(polls) - len(last)
    places = [*sorted(min(at, end) for at, _ in changes), end]
    engine = _Engine(scenario, plans[0], folder / "one")
    flips = 0
    for number, plan in enumerate(plans):
        start = places[number - 1] if number else 0
        if number:
            engine.change(plan)
        twin = _twin(scenario, plan, polls[:start], folder / f"twin-{number}")
        assert _members(engine.shard) == _members(twin.shard), _said("members differ", scenario, changes)
        final = number == len(plans) - 1
        mine, its = (_going_on(each, scenario, polls[start : places[number]], polls[end:], final) for each in (
            engine, twin
        ))
        assert mine == its, _said(f"transitions differ:\n{mine}\n{its}\n", scenario, changes)
        assert _members(engine.shard) == _members(twin.shard), _said("members differ later", scenario, changes)
        flips += len(mine)
    tally.examples += 1
    tally.flips += flips
    tally.flipping += flips > 0
    for path in folder.rglob("*.*"):
        path.unlink()


def _twin(scenario: Scenario, plan: Plan, polls: list[Poll], folder: Path) -> _Engine:
    twin = _Engine(scenario, plan, folder)
    for some in cut([replace(poll) for poll in polls], Bits(2**64 - 1)):
        twin.shard.run(some)
    return twin


def _going_on(engine: _Engine, scenario: Scenario, polls: list[Poll], last: list[Poll], final: bool) -> list[Flip]:
    steps: list[Step] = [engine.shard.run([replace(poll)]) for poll in polls]
    if final:
        after = [replace(poll) for poll in last]
        steps.append(engine.shard.run(after) if after else engine.shard.finish(scenario.end))
    found: list[Flip] = []
    for step in steps:
        for user_id, _ in step.erased:
            found.append(Flip(user_id, 0, "", False, 0, False))
        found += sorted(
            (replace(flip, seq=0) for flip in flips_of(step, engine.plan)),
            key=lambda flip: (flip.user_id, flip.effective_at, flip.by_event, flip.segment, flip.entered),
        )
    return found


def _members(shard: Shard) -> set[tuple[str, str]]:
    names = shard.plan.names
    return {(user_id, names[number]) for user_id, numbers in shard.members() for number in numbers}


def _said(title: str, scenario: Scenario, changes: list[tuple[int, int]]) -> str:
    return f"{title} (changes {changes})\n{cases.dump(scenario)}"
