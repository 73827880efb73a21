"""A sound engine: whatever it has saved, DuckDB says the same from the saved events, and what it cannot say is told."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.events.schema import Schema
from segmentation.state import log
from storage.audit.round import Definitions, Outcome
from storage.audit.sample import Saved
from storage.checkpoints import CheckpointStore
from storage.reservoir import Reservoir, columns_of, kept_columns
from tests.corpus import corpus, stream
from tests.oracle.erasures import with_erasures
from tests.oracle.grammar import COLUMNS
from tests.oracle.running import EXAMPLES, SCHEMA, Bits, Tally, bound, closing, cut, planned
from tests.oracle.strategies import PARTITIONS, Scenario, scenarios
from tests.oracle.streams import polls_of

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2), ("LONG_ROWS", 0)):
        monkeypatch.setattr(log, name, rows)


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")  # flushing to a disk would be most of the time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


def compare(shard: Shard, number: int, folder: Path, schema: Schema) -> tuple[int, int]:
    """(answers compared, answers that want history); every one must be the engine's."""
    plan = shard.plan
    record = CheckpointStore(folder).save(number, 1, {}, shard.dump())
    users = {name: column.type for name, column in schema.users.items()}
    saved = Saved(folder, record, columns_of(schema), users)
    sample = saved.sample(10_000, Random(1))
    asked = Definitions(plan, schema, Random(1), Outcome())
    if not sample.users:
        return 0, 0
    judged, names = asked.judged(sample, plan.names)
    assert names == plan.names, "DuckDB cannot be asked about all"
    inside = {(user, plan.names[n]) for user, numbers in shard.members() for n in numbers}
    compared = skipped = 0
    for user in sample.users:
        for name in names:
            if not user.whole and name in asked.endless:
                skipped += 1
                continue
            compared += 1
            key = (user.user_id, name)
            assert (key in inside) == (key in judged), f"{key} at {user.at}: engine {key in inside}"
    return compared, skipped


def archived(
    plan: Plan, number: int, folder: Path, schema: Schema, lateness_us: int, horizon_us: int | None, live: bool,
) -> Shard:  # fmt: skip
    archive = Reservoir(folder, number, 1, kept_columns(schema), group_rows=2)
    return Shard(plan, PARTITIONS, lateness_us, horizon_us, live, archive)


def test_definitions_of_the_corpus(folder: Path) -> None:
    """A third of them (all with TIDEGATE_LONG=1) in one plan, over the corpus's stream, in its midst and at its end."""
    every = corpus.everything()
    names = sorted(every) if os.environ.get("TIDEGATE_LONG") else Random(1).sample(sorted(every), len(every) // 3)
    plan = lower(corpus.bound(corpus.with_what_they_read(names, every)), corpus.SCHEMA)
    compared = 0
    for number, polls in enumerate(polls_of(stream.reads(), corpus.COLUMNS, 2)):
        shard = archived(plan, number, folder, corpus.SCHEMA, stream.LATENESS_US, None, False)
        shard.add_partitions(PARTITIONS, 1)
        half = len(polls) // 2
        shard.run(polls[:half])
        compared += compare(shard, number, folder, corpus.SCHEMA)[0]
        shard.run(polls[half:])
        shard.finish(stream.END)
        compared += compare(shard, number, folder, corpus.SCHEMA)[0]
    assert compared > 16 * len(names)


@pytest.mark.parametrize("some", [scenarios(events=30), with_erasures(scenarios(events=30))], ids=["", "erasures"])
def test_random_definitions(folder: Path, some: st.SearchStrategy[Scenario]) -> None:
    tally, seen = Tally(), [0, 0]

    @settings(max_examples=max(6, EXAMPLES // 20))
    @given(some, st.integers(0, 2**30))
    def property_(scenario: Scenario, cuts: int) -> None:
        plan = planned(bound(scenario, tally), tally)
        reads = scenario.reads + (closing(scenario) if scenario.live else [])
        for number, polls in enumerate(polls_of(reads, COLUMNS, 2)):
            shard = archived(
                plan, number, folder, SCHEMA, scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live
            )
            shard.add_partitions(PARTITIONS, scenario.profiles)
            for portion in cut(polls, Bits(cuts)):
                shard.run(portion)
            for which, count in enumerate(compare(shard, number, folder, SCHEMA)):
                seen[which] += count
        for path in folder.rglob("*.*"):
            path.unlink()

    property_()
    print(f"{seen[0]} answers compared, {seen[1]} want history")
    assert seen[0] > 0
