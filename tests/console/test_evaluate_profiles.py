"""`tidegate evaluate --profiles`: each profile counts from its own time on, in whatever pieces the files are taken."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console import evaluation
from segmentation.evaluate.versions import version_id
from segmentation.events.rows import PROFILES
from segmentation.reference import Reference, Version
from tests.console.run_command import tidegate
from tests.oracle.erasures import with_profiles
from tests.oracle.grammar import COLUMNS
from tests.oracle.running import EXAMPLES, Tally, bound, planned
from tests.oracle.strategies import Scenario, scenarios
from tests.oracle.streams import profiles_of, rows_of

SCHEMA = """\
events:
  amount: {type: "numeric(18,2)"}
users:
  city_tier: {type: bigint}
  country: {type: text, path: address.country}
"""
DEFINITIONS = {
    "first_tier": "SELECT user_id FROM users WHERE city_tier = 1",
    "nowhere": "SELECT user_id FROM users WHERE country IS NULL",
    "buyers": "SELECT user_id FROM events JOIN users USING (user_id) WHERE city_tier = 1 GROUP BY user_id "
    "HAVING sum(amount) > 5",
}
EVENTS = """\
user_id,event_id,event_type,event_time,amount
ann,e1,buy,2026-01-01T01:00:00Z,10
bob,e2,buy,2026-01-01T02:00:00Z,10
"""
PROFILES_CSV = """\
user_id,profile_time,city_tier,address.country
bob,2026-01-01T00:00:00Z,2,IN
ann,2026-01-01T03:00:00Z,1,
eve,2026-01-01T00:30:00Z,1,US
bob,2026-01-01T04:00:00Z,1,IN
ann,2026-01-01T05:00:00Z,,IN
,2026-01-01T05:00:00Z,1,IN
bob,yesterday,1,IN
"""
LOG = """\
user_id,segment,entered,effective_at
eve,first_tier,true,2026-01-01T00:30:00.000000Z
ann,nowhere,true,2026-01-01T01:00:00.000000Z
ann,buyers,true,2026-01-01T03:00:00.000000Z
ann,first_tier,true,2026-01-01T03:00:00.000000Z
bob,buyers,true,2026-01-01T04:00:00.000000Z
bob,first_tier,true,2026-01-01T04:00:00.000000Z
ann,buyers,false,2026-01-01T05:00:00.000000Z
ann,first_tier,false,2026-01-01T05:00:00.000000Z
ann,nowhere,false,2026-01-01T05:00:00.000000Z
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/schema.yml").write_text(SCHEMA)
    for name, text in DEFINITIONS.items():
        (tmp_path / f"defs/{name}.sql").write_text(text)
    (tmp_path / "events.csv").write_text(EVENTS)
    return tmp_path


def of_csv(folder: Path) -> Path:
    (folder / "users.csv").write_text(PROFILES_CSV)
    return folder / "users.csv"


def of_ndjson(folder: Path) -> Path:
    lines = [
        '{"user_id": "bob", "profile_time": "2026-01-01T00:00:00Z", "city_tier": 2, "address": {"country": "IN"}}',
        '{"user_id": "ann", "profile_time": "2026-01-01T03:00:00Z", "city_tier": 1}',
        '{"user_id": "eve", "profile_time": "2026-01-01T00:30:00Z", "city_tier": 1, "address": {"country": "US"}}',
        '{"user_id": "bob", "profile_time": "2026-01-01T04:00:00Z", "city_tier": 1, "address": {"country": "IN"}}',
        '{"user_id": "ann", "profile_time": "2026-01-01T05:00:00Z", "address": {"country": "IN"}}',
        '{"profile_time": "2026-01-01T05:00:00Z"}',
        '{"user_id": "bob", "profile_time": "yesterday"}',
    ]
    (folder / "users.ndjson.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    return folder / "users.ndjson.gz"


def of_parquet(folder: Path) -> Path:
    rows = [line.split(",") for line in PROFILES_CSV.splitlines()]
    columns = {name: [row[place] or None for row in rows[1:]] for place, name in enumerate(rows[0])}
    pq.write_table(pa.table(columns), folder / "users.parquet")
    return folder / "users.parquet"


@pytest.mark.parametrize("file", [of_csv, of_ndjson, of_parquet])
def test_a_file(folder: Path, file: object) -> None:
    assert callable(file)
    given = ("--definitions", folder / "defs", "--events", folder / "events.csv", "--profiles", file(folder))
    done = tidegate("evaluate", *given, "--transitions")
    assert (done.code, done.out) == (0, LOG)
    assert "2 rows refused" in done.err or done.err.count("1 row refused") == 2, done.err
    assert tidegate("evaluate", *given).out.splitlines()[1:] == ["bob,buyers", "bob,first_tier", "eve,first_tier"]
    early = tidegate("evaluate", *given, "--at", "2026-01-01T03:30:00Z", "--segment", "first_tier")
    assert early.out.splitlines()[1:] == ["ann,first_tier", "eve,first_tier"]
    assert tidegate("evaluate", *given, "--strict").code == 2


def test_without_profiles_the_columns_are_null(folder: Path) -> None:
    given = ("--definitions", folder / "defs", "--events", folder / "events.csv")
    assert tidegate("evaluate", *given).out.splitlines()[1:] == ["ann,nowhere", "bob,nowhere"]


@settings(max_examples=max(20, EXAMPLES // 5), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(with_profiles(scenarios(of_users=True)), st.integers(1, 5))
def test_it_is_what_the_reference_says(monkeypatch: pytest.MonkeyPatch, scenario: Scenario, most: int) -> None:
    monkeypatch.setattr(evaluation, "CHUNK_ROWS", most)
    plan = planned(bound(scenario, Tally()), Tally())
    events = [event for read in scenario.reads for event in read.events]
    found = [record for read in scenario.reads for record in read.records if isinstance(record, Version)]
    versions = [
        Version(one.user_id, version_id(PROFILES, number), one.time, one.values)
        for number, one in enumerate(sorted(found, key=lambda one: one.time))
    ]
    profiles = profiles_of(versions)
    profiles.offset = np.arange(len(versions))
    done = evaluation.evaluate(plan, rows_of(events, COLUMNS), scenario.end, True, None, profiles)
    reference = Reference(plan.segments, 1, 0, None, False, 1)
    for each in sorted([*versions, *events], key=lambda each: each.time):
        reference.event(PROFILES if isinstance(each, Version) else 0, each, each.time)
    reference.finish(scenario.end)
    assert done.log is not None
    names = plan.names
    said = list(zip(done.log.time, [done.log.user_ids[user] for user in done.log.user],
                    [names[segment] for segment in done.log.segment], done.log.entered))  # fmt: skip
    assert said == netted(reference)
    assert {(user, names[segment]) for user, segment in done.members} == reference.members()


def netted(reference: Reference) -> list[tuple[int, str, str, bool]]:
    """In order of time, user and segment; what cancels out at one instant is not in it."""
    last: dict[tuple[int, str, int], list[bool]] = {}
    number = {definition.name: place for place, definition in enumerate(reference.definitions)}
    for flip in reference.log:
        last.setdefault((flip.effective_at, flip.user_id, number[flip.segment]), []).append(flip.entered)
    names = list(number)
    return [(*key[:2], names[key[2]], flips[-1]) for key, flips in sorted(last.items()) if len(flips) % 2]
