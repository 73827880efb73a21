"""A sound engine: whatever it has saved, DuckDB says the same from the saved events, and what it cannot say is told."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile import compile_files
from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.evaluate.shard import Shard
from segmentation.events.profiles import ProfileDecoder
from segmentation.events.rows import PROFILES, Poll
from segmentation.events.schema import Schema, load_schema
from segmentation.state import log
from segmentation.types import NEVER
from storage.audit.reproduction import as_test
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


def test_profile_columns_named_like_what_stands_beside_them(folder: Path) -> None:
    schema = load_schema("users:\n  time: {type: text}\n  version: {type: bigint}\n  known_at: {type: bigint}\n")
    plan = compile_files({
        "early.sql": "SELECT user_id FROM users WHERE time = 'early'",
        "later.sql": "SELECT user_id FROM users WHERE version = 2 AND known_at < 5",
    }, schema)  # fmt: skip
    rows = [("ann", "early", 1, 9), ("bob", "late", 2, 4), ("ann", "early", 2, 4), ("bob", "early", 1, 4)]
    values = [json.dumps({"time": time, "version": v, "known_at": k}).encode() for _, time, v, k in rows]
    at = np.arange(len(rows), dtype=np.int64)
    found = ProfileDecoder(schema).decode([user.encode() for user, *_ in rows], values, at, 1_000_000 + at)
    shard = Shard(plan, 1, 0, None, False, Reservoir(folder, 0, 1, kept_columns(schema), group_rows=2))
    shard.add_partitions(1, 1)
    polls = [Poll(0, 0, 0, NEVER, 2_000_000), Poll(PROFILES, len(rows), 0, NEVER, 2_000_000, None, found.profiles)]
    shard.run(polls)
    assert {user: numbers for user, numbers in shard.members()} == {"ann": [0, 1], "bob": [0]}
    assert compare(shard, 0, folder, schema) == (4, 0)
    saved = Saved(folder, CheckpointStore(folder).save(0, 2, {}, shard.dump()), columns_of(schema), {
        name: column.type for name, column in schema.users.items()
    })  # fmt: skip
    sample = saved.of_user("ann")
    assert sample is not None
    test = yaml.safe_load(as_test(sample, sample.users[0], "early", True, schema))
    profiles = test["tests"]["early, found by the audit"]["profiles"]
    assert [(one["time"], one["version"], one["known_at"]) for one in profiles] == [("early", 1, 9), ("early", 2, 4)]
