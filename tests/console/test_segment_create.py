"""`tidegate test --create`: from real events, of a file or an engine's, to a test that passes and tells no id."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import PROFILES, Poll, Profiles
from segmentation.events.schema import load_schema
from segmentation.state import log as log_module
from segmentation.types import NEVER
from storage.checkpoints import CheckpointStore
from storage.reservoir import Reservoir, columns_of
from tests.console.run_command import Done, tidegate

SCHEMA = """\
events:
  region: {type: text, path: where.region}
  amount: {type: "numeric(18,2)"}
  pieces: {type: bigint}
  score: {type: double}
  flag: {type: boolean}
  sent_at: {type: timestamptz}
  note: {type: text}
  at: {type: text}
users:
  city_tier: {type: bigint}
  country: {type: text}
"""
DEFINITIONS = {
    "spender": "SELECT user_id FROM events WHERE event_type = 'buy' AND amount > 0 GROUP BY user_id "
    "HAVING sum(amount * pieces) FILTER (WHERE event_time > now() - INTERVAL '3 hours') >= 20",
    "all_types": "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(region, event_time) LIKE 'a%' "
    "AND (max(score) > 0.1 OR bool_or(flag)) AND max(sent_at) < TIMESTAMPTZ '2026-02-01 00:00:00+00' "
    "AND arg_max(at, event_time) IS NOT NULL",
    "first": "SELECT user_id FROM events GROUP BY user_id HAVING arg_min(event_id, event_time) LIKE '%1%'",
    "by_id": "SELECT user_id FROM events WHERE user_id LIKE '%7%' GROUP BY user_id HAVING count(*) > 2",
    "recency": "SELECT user_id, CASE WHEN max(event_time) > now() - INTERVAL '1 hour' THEN 'new' "
    "WHEN max(event_time) > now() - INTERVAL '4 hours' THEN 'old' END AS band FROM segments.spender "
    "JOIN events USING (user_id) GROUP BY user_id",
    "profiled": "SELECT user_id FROM events JOIN users USING (user_id) WHERE city_tier = 1",
    "in_germany": "SELECT user_id FROM users WHERE country = 'DE' AND user_id NOT IN (SELECT user_id FROM events "
    "WHERE event_type = 'buy' AND event_time > now() - INTERVAL '2 hours')",
    "of_profiled": "SELECT user_id FROM segments.profiled",
    "nobody": "SELECT user_id FROM events WHERE event_type = 'never' GROUP BY user_id",
}
PROFILED = ("profiled", "in_germany", "of_profiled")
START = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = [
    {
        "event_id": f"e{number}", "user_id": f"user {number * 7 % 23}: {{a}}",
        "event_type": ("buy", "see", "go")[number % 3],
        "event_time": (START + timedelta(minutes=5 * number, microseconds=number)).isoformat(),
        "where": {"region": ("alpha, \n{beta}", "yes", None, "a 'b' \"c\"")[number % 4]},
        "amount": (number % 5 - 1) * 2.55, "pieces": number % 4 or None,
        "score": (0.1, 1e22, -0.5, 0.30000000000000004)[number % 4], "flag": (True, False, None)[number % 3],
        "sent_at": "2026-01-01T00:00:00.000001Z", "note": "secret",
        "at": ("0012", "2026-01-01", "~")[number % 3],
    }
    for number in range(150)
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/schema.yml").write_text(SCHEMA)
    for name, text in DEFINITIONS.items():
        (tmp_path / f"defs/{name}.sql").write_text(text)
    (tmp_path / "events.ndjson").write_text("\n".join(json.dumps(event) for event in EVENTS))
    return tmp_path


def create(folder: Path, segment: str, *more: str) -> Done:
    return tidegate("test", "--definitions", "defs", "--create", segment, *more, cwd=folder)


@pytest.mark.parametrize("segment", [name for name in DEFINITIONS if name not in ("nobody", *PROFILED)])
@pytest.mark.parametrize("at", ["2026-01-01T12:30:00Z", "2026-01-01T09:00:00.000123Z"])
def test_what_is_written_passes(folder: Path, segment: str, at: str) -> None:
    done = create(folder, segment, "--events", "events.ndjson", "--at", at)
    assert (done.code, done.out) == (
        0, f"defs/tests/{segment}.yml: written. Run it with: tidegate test {segment}\n"
    ), done.err  # fmt: skip
    assert tidegate("test", "--definitions", "defs", segment, cwd=folder).code == 0
    text = (folder / f"defs/tests/{segment}.yml").read_text()
    assert "secret" not in text and "note" not in text, "columns that the definition does not read"
    assert ("user 7" in text) == (segment == "by_id"), "ids of real users"
    # It would not pass if the segment did anything else.
    (folder / f"defs/{segment.partition('/')[0]}.sql").write_text(DEFINITIONS["nobody"].replace("never", "no"))
    changed = tidegate("test", "--definitions", "defs", segment, cwd=folder)
    assert changed.code == (2 if segment == "recency" else 1), changed.out


@pytest.mark.parametrize("segment", PROFILED)
def test_profiles_go_into_the_test(folder: Path, segment: str) -> None:
    lines = ["user_id,profile_time,city_tier,country"]
    for number in range(40):
        at = START + timedelta(minutes=17 * number)
        country = ("DE", "US", "")[number % 3]
        lines.append(f"user {number * 5 % 29}: {{a}},{at.isoformat()},{number % 3 or ''},{country}")
    (folder / "profiles.csv").write_text("\n".join(lines))
    done = create(folder, segment, "--events", "events.ndjson", "--profiles", "profiles.csv")
    assert done.code == 0, done.err
    text = (folder / f"defs/tests/{segment}.yml").read_text()
    assert "    profiles:\n    - {user: " in text and ("country: DE" in text) == (segment == "in_germany")
    passed = tidegate("test", "--definitions", "defs", segment, cwd=folder)
    assert passed.code == 0 and "as it was" in passed.out, passed.out
    assert "enters" in text


def test_only_events_that_count_are_kept(folder: Path) -> None:
    create(folder, "spender", "--events", "events.ndjson", "--at", "2026-01-01T09:00:00Z")
    lines = (folder / "defs/tests/spender.yml").read_text().splitlines()
    events = [line for line in lines if line.startswith("    - ")]
    assert events and all("type: buy" in line for line in events)
    assert {"left-1", "member-1", "outside-1"} <= {line.split("user: ")[1].split(",")[0] for line in events}


def test_a_file_is_not_replaced_by_accident(folder: Path) -> None:
    assert create(folder, "spender", "--events", "events.ndjson").code == 0
    path = folder / "defs/tests/spender.yml"
    path.write_text("# mine")
    done = create(folder, "spender", "--events", "events.ndjson")
    assert (done.code, done.err) == (
        2, "tidegate: defs/tests/spender.yml is there already. Add --force to replace it, or move it.\n"
    )  # fmt: skip
    assert path.read_text() == "# mine"
    assert create(folder, "spender", "--events", "events.ndjson", "--force").code == 0
    assert path.read_text().startswith("# Written by")


@pytest.mark.parametrize(("arguments", "said"), [
    (("spendr", "--events", "events.ndjson"), "there is no segment spendr. Did you mean spender?"),
    (("nobody", "--events", "events.ndjson"), "events.ndjson: no event up to 2026-01-01T12:25:00.000149Z is one that "
     "nobody reads."),
    (("of_profiled", "--events", "events.ndjson"), "of_profiled reads profiles: give a file of them too"),
    (("in_germany", "--events", "events.ndjson"), "in_germany reads profiles: give a file of them too"),
    (("in_germany", "--profiles", "profiles.csv"), "--profiles goes with --events."),
    (("spender", "--events", "none.ndjson"), "none.ndjson: no such file."),
    (("spender", "--events", "events.ndjson", "more"),
     "--create writes a test and runs no others: leave out the names."),
])  # fmt: skip
def test_what_cannot_be_created(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    done = create(folder, *arguments)
    assert done.code == 2 and said in done.err
    assert not (folder / "defs/tests").exists()


def test_flags_of_create_alone(folder: Path) -> None:
    done = tidegate("test", "--definitions", "defs", "--events", "events.ndjson", cwd=folder)
    assert done.code == 2 and "go with --create" in done.err


def test_the_events_that_an_engine_has_saved(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In files and in the states of two shards; as from a file of the same events, without whom the engine erased."""
    schema = load_schema(SCHEMA)
    store = folder / "store"
    plan = compile_files({f"{name}.sql": DEFINITIONS[name] for name in ("spender", "all_types")}, schema)
    monkeypatch.setattr(log_module, "CHUNK_ROWS", 10)
    values = [json.dumps(event).encode() for event in EVENTS]
    rows = Decoder(schema, None).decode(values, np.arange(len(values)), np.full(len(values), -1)).rows
    records = []
    for number in range(2):
        shard = Shard(plan, 1, 0, None, False, Reservoir(store, number, 1, columns_of(schema), group_rows=4))
        mine = rows.take(np.flatnonzero(rows.user % 2 == number))
        shard.run([Poll(0, len(values), NEVER, int(rows.time.max()), None, mine)])
        shard.add_partitions(1, 1)
        gone = Profiles(np.array([0]), [EVENTS[0]["user_id"]], rows.time[-1:], rows.time[-1:], np.array([True]), {})  # type: ignore[list-item]
        shard.run([Poll(PROFILES, 1, NEVER, int(rows.time.max()), None, None, gone)])
        records.append(CheckpointStore(store).save(number, 1, {}, shard.dump()))
    monkeypatch.setattr("storage.saved_state.records", lambda url: records)
    assert len(list((store / "reservoir").rglob("*.parquet"))) > 4
    (folder / "events.ndjson").write_text(
        "\n".join(json.dumps(event) for event in EVENTS if event["user_id"] != EVENTS[0]["user_id"])
    )
    for segment in ("spender", "all_types", "first"):
        assert create(folder, segment, "--events", "events.ndjson").code == 0
        expected = (folder / f"defs/tests/{segment}.yml").read_text()
        config = folder / "tidegate.yml"
        config.write_text(f"storage_url: {store}\n")
        done = create(folder, segment, "--force")
        assert done.code == 0, done.err
        assert (folder / f"defs/tests/{segment}.yml").read_text() == expected
    monkeypatch.setattr("console.segment_tests.real.SAVED_EVENTS", 40)
    assert create(folder, "spender", "--force").code == 0
    monkeypatch.setattr("storage.saved_state.records", lambda url: [])
    assert "the engine has saved no events yet" in create(folder, "spender", "--force").err
