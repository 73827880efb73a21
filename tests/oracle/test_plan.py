"""What a plan says of random changes, from saved states and archived files, against the judge: exactly who enters and
who leaves, and that nobody does where it says that there is no effect."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.output import rfc3339
from console.planning.computing import Task, compute
from console.planning.model import Sampled
from segmentation.compile.changes import Kind, Side, compare, of_file
from segmentation.compile.plan import Plan
from segmentation.compile.tree import Value
from segmentation.evaluate.shard import Shard
from segmentation.reference import Known
from segmentation.state import log
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord
from storage.reservoir import Reservoir
from storage.settings import Settings
from tests.compile.spellings import respelled
from tests.oracle.erasures import with_profiles
from tests.oracle.grammar import ALL_COLUMNS, COLUMNS, USER_COLUMNS, definition
from tests.oracle.judge import Judge
from tests.oracle.running import EXAMPLES, SCHEMA, Tally, bound, finish, planned, reference_of
from tests.oracle.strategies import PARTITIONS, Read, Scenario, scenarios
from tests.oracle.streams import polls_of

pytestmark = pytest.mark.timeout(1_800)

SHARDS = 2
FOREVER_US = 10**17
JUDGE = Judge(COLUMNS, USER_COLUMNS)


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


@st.composite
def changed(draw: st.DrawFn, scenario: Scenario) -> dict[str, str]:
    """The scenario's definitions with some spelled differently, some exchanged, some gone and some new."""
    found = dict(scenario.definitions)
    for name in scenario.definitions:
        what = draw(st.integers(0, 5))
        if what == 0:
            found[name] = draw(definition(scenario.unit, []))
        elif what == 1:
            found[name] = draw(respelled(found[name]))
        elif what == 2:
            del found[name]
    return found | {"new": draw(definition(scenario.unit, []))}


@pytest.mark.parametrize("some", [scenarios(events=30), with_profiles(scenarios(events=20, of_users=True))],
                         ids=["events", "profiles"])  # fmt: skip
def test_who_enters_and_who_leaves(
    folder: Path, some: st.SearchStrategy[Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: Counter[str] = Counter()
    saved: list[CheckpointRecord] = []
    monkeypatch.setattr("console.planning.computing.records", lambda url: list(saved))

    @settings(max_examples=EXAMPLES // 8)
    @given(some, st.data(), st.integers(0, 100))
    def property_(scenario: Scenario, data: st.DataObject, hundredth: int) -> None:
        tally = Tally()
        definitions = bound(scenario, tally)
        reference = reference_of(scenario, definitions)
        finish(reference, scenario)  # so that it knows those that were ahead of the clock
        known = list(reference.known())
        old = planned(definitions, tally)
        after = replace(scenario, definitions=data.draw(changed(scenario)))
        new = planned(bound(after, tally), tally)
        if known and old.segments:
            saved[:] = _save(scenario, old, folder, at := _instant(known, scenario, hundredth))
            _hold(scenario, after, old, new, folder, known, at, seen)
        for path in folder.rglob("*.*"):
            path.unlink()

    property_()
    print(dict(seen))
    if EXAMPLES >= 100:
        assert seen["enter"] and seen["leave"] and seen[Kind.SPELLING], seen


def _instant(known: list[Known], scenario: Scenario, hundredth: int) -> int:
    newest = max(each.known_at for each in known)
    return newest + max(0, scenario.end - newest) * hundredth // 100


def _hold(
    before: Scenario, after: Scenario, old: Plan, new: Plan, folder: Path, known: list[Known], at: int,
    seen: Counter[str],
) -> None:  # fmt: skip
    sides = [Side(_files(plan, side), SCHEMA) for plan, side in ((old, before), (new, after))]
    changes = compare(*sides)
    seen.update(change.kind for change in changes.definitions)
    task = Task(old, new, SCHEMA, SCHEMA, changes.affected, 2)
    found = compute(_settings(before, folder), task, lambda share, rows: None)
    JUDGE.load(known)
    was, is_ = (JUDGE.members(_texts(plan, side), at) for plan, side in ((old, before), (new, after)))
    said = f"at {at}: {before.definitions}\n{after.definitions}\n{changes}"
    assert {place.shard for place in found.places} == set(range(SHARDS))
    for name in {*old.names, *new.names}:
        judged = [{user for user, segment in members if segment == name} for members in (was, is_)]
        if name not in changes.affected:
            assert judged[0] == judged[1], f"{name} is said to be unchanged, {said}"
            continue
        one, moves = found.differences[name], found.moves(2)[name]
        assert (one.now, one.after) == (len(judged[0]), len(judged[1])), f"{name}, {said}"
        assert sorted(one.enter) == sorted(judged[1] - judged[0]), f"{name}, {said}"
        assert sorted(one.leave) == sorted(judged[0] - judged[1]), f"{name}, {said}"
        assert [user.user_id for user in moves.enter_sample] == sorted(one.enter)[:2]
        _profiles([*moves.enter_sample, *moves.leave_sample], known)
        seen["enter"] += len(one.enter)
        seen["leave"] += len(one.leave)


def _profiles(sample: list[Sampled], known: list[Known]) -> None:
    for one in sample:
        versions = [each for each in known if each.event.user_id == one.user_id and each.event.event_id[:1] == "\0"]
        latest = max(versions, key=lambda each: (each.event.time, each.event.event_id), default=None)
        found = {} if latest is None else latest.event.values
        values = {name: value for name, value in found.items() if value is not None}
        assert one.profile == values | ({"joined": rfc3339(_joined(values))} if "joined" in values else {})


def _joined(values: Mapping[str, Value]) -> int:
    assert isinstance(values["joined"], int)
    return values["joined"]


def _files(plan: Plan, side: Scenario) -> dict[str, str]:
    return {f"{name}.sql": side.definitions[name] for name in dict.fromkeys(map(of_file, plan.names))}


def _texts(plan: Plan, side: Scenario) -> dict[str, str]:
    return {name: side.definitions[of_file(name)] for name in plan.names}


def _settings(scenario: Scenario, folder: Path) -> Settings:
    values: dict[str, Any] = {
        "storage_url": folder, "clock": "live" if scenario.live else "event",
        "lateness": scenario.lateness_us / 1_000_000,
    }  # fmt: skip
    return Settings(**values)


def _save(scenario: Scenario, plan: Plan, folder: Path, at: int) -> list[CheckpointRecord]:
    """The states of two shards, after the whole scenario, with all that takes effect at or before `at`."""
    last = [Read(partition, at + 1 + scenario.lateness_us, watermark=at + 1) for partition in scenario.partitions]
    reads = scenario.reads + (last if scenario.live else [])
    records = []
    for number, polls in enumerate(polls_of(reads, COLUMNS, SHARDS)):
        archive = Reservoir(folder, number, 1, ALL_COLUMNS)
        options = scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live
        shard = Shard(plan, PARTITIONS, *options, archive, FOREVER_US)
        shard.add_partitions(PARTITIONS, scenario.profiles)
        for poll in polls:
            shard.run([poll])
        if not scenario.live:
            shard.finish(at)
        records.append(CheckpointStore(folder).save(number, 1, dict(shard.next_offset), shard.dump()))
    return records
