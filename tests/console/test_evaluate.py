"""`tidegate evaluate` and `validate` and `init`: from files to CSV, and every bad input to one clear line."""

import csv
import gzip
import io
import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.console.run_command import Done, tidegate

SCHEMA = """\
events:
  region: {type: text}
  amount: {type: "numeric(18,2)", path: properties.amount}
"""
DEFINITIONS = {
    "recent": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '1 hour' GROUP BY user_id",
    "spender": "/*\nowner: crm\n*/\nSELECT user_id FROM events GROUP BY user_id HAVING sum(amount) >= 10.00",
    "off": "/*\nenabled: false\n*/\nSELECT user_id FROM events GROUP BY user_id",
}
#: Not in order of time; the last one repeats the first.
EVENTS = [
    ("e2", "bob", "buy", "2026-01-01T01:00:00Z", 4.5),
    ("e1", "ann", "buy", "2026-01-01T00:00:00Z", 10.0),
    ("e3", "bob", "buy", "2026-01-01T03:00:00.5+01:00", 5.5),
    ("e2", "bob", "buy", "2026-01-01T01:00:00Z", 4.5),
]
LOG = [
    ("ann", "recent", "true", "2026-01-01T00:00:00.000000Z"),
    ("ann", "spender", "true", "2026-01-01T00:00:00.000000Z"),
    ("ann", "recent", "false", "2026-01-01T01:00:00.000000Z"),
    ("bob", "recent", "true", "2026-01-01T01:00:00.000000Z"),
    ("bob", "recent", "false", "2026-01-01T02:00:00.000000Z"),
    ("bob", "recent", "true", "2026-01-01T02:00:00.500000Z"),
    ("bob", "spender", "true", "2026-01-01T02:00:00.500000Z"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "defs").mkdir()
    (tmp_path / "defs/schema.yml").write_text(SCHEMA)
    for name, text in DEFINITIONS.items():
        (tmp_path / f"defs/{name}.sql").write_text(text)
    return tmp_path


def ndjson() -> bytes:
    return b"".join(
        json.dumps({"event_id": one, "user_id": user, "event_type": kind, "event_time": at,
                    "properties": {"amount": amount}}).encode() + b"\n"
        for one, user, kind, at, amount in EVENTS
    )  # fmt: skip


def as_csv(path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("event_id", "user_id", "event_type", "event_time", "properties.amount"))
        writer.writerows(EVENTS)


def as_parquet(path: Path) -> None:
    rows = [
        {"event_id": one, "user_id": user, "event_type": kind, "event_time": datetime.fromisoformat(at),
         "properties": {"amount": amount}}
        for one, user, kind, at, amount in EVENTS
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path)


def evaluate(folder: Path, events: str, *more: str) -> Done:
    return tidegate("evaluate", "--definitions", "defs", "--events", events, *more, cwd=folder)


def rows(done: Done) -> list[tuple[str, ...]]:
    assert done.code == 0, done.err
    return [tuple(row) for row in csv.reader(io.StringIO(done.out))][1:]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_members_and_log_are_the_same_from_every_format(folder: Path, kind: str, zipped: bool) -> None:
    path = folder / f"events.{kind}"
    if kind == "ndjson":
        path.write_bytes(ndjson())
    else:
        (as_csv if kind == "csv" else as_parquet)(path)
    name = path.name
    if zipped:
        name += ".gz"
        (folder / name).write_bytes(gzip.compress(path.read_bytes()))
    done = evaluate(folder, name)
    assert done.out.splitlines()[0] == "user_id,segment"
    assert rows(done) == [("ann", "spender"), ("bob", "recent"), ("bob", "spender")]
    assert "1 repeats of earlier rows counted once" in done.err
    log = evaluate(folder, name, "--transitions", "--clock", "event")
    assert log.out.splitlines()[0] == "user_id,segment,entered,effective_at"
    assert rows(log) == LOG


def test_what_is_later_than_at_is_not_known_and_windows_end_there(folder: Path) -> None:
    (folder / "e.ndjson").write_bytes(ndjson())
    assert rows(evaluate(folder, "e.ndjson", "--at", "2026-01-01T00:59:59.999999Z")) == [
        ("ann", "recent"), ("ann", "spender")
    ]  # fmt: skip
    assert rows(evaluate(folder, "e.ndjson", "--at", "2026-01-01T01:00:00Z")) == [
        ("ann", "spender"), ("bob", "recent")
    ]  # fmt: skip
    assert rows(evaluate(folder, "e.ndjson", "--at", "2026-01-01T04:00:00+02:00", "--transitions")) == LOG[:5]
    assert rows(evaluate(folder, "e.ndjson", "--at", "2026-01-01T00:00:00.000000Z", "--transitions")) == LOG[:2]
    assert rows(evaluate(folder, "e.ndjson", "--at", "2025-12-31T23:59:59Z")) == []
    late = rows(evaluate(folder, "e.ndjson", "--at", "2027-01-01T00:00:00Z", "--transitions"))
    assert late == [*LOG, ("bob", "recent", "false", "2026-01-01T03:00:00.500000Z")]


def test_only_the_segments_asked_for(folder: Path) -> None:
    (folder / "e.ndjson").write_bytes(ndjson())
    assert rows(evaluate(folder, "e.ndjson", "--segment", "recent")) == [("bob", "recent")]
    done = evaluate(folder, "e.ndjson", "--segment", "recnt")
    assert done.code == 2 and "Did you mean 'recent'?" in done.err
    done = evaluate(folder, "e.ndjson", "--segment", "off")
    assert done.code == 2 and "is not enabled" in done.err


def test_the_bands_of_a_definition(folder: Path) -> None:
    (folder / "e.ndjson").write_bytes(ndjson())
    (folder / "defs/times.sql").write_text(
        "SELECT user_id, CASE WHEN count(*) = 1 THEN '1' ELSE '2+' END AS band FROM events GROUP BY user_id"
    )
    both = rows(evaluate(folder, "e.ndjson", "--segment", "times"))
    assert {segment for _, segment in both} == {"times/1", "times/2+"} and len({user for user, _ in both}) == len(both)
    one = rows(evaluate(folder, "e.ndjson", "--segment", "times/2+"))
    assert one == [row for row in both if row[1] == "times/2+"]


def test_what_cancels_out_within_one_instant_is_not_in_the_log(folder: Path) -> None:
    (folder / "defs/single.sql").write_text("SELECT user_id FROM events GROUP BY user_id HAVING count(*) = 1")
    lines = [{"event_id": one, "user_id": "u", "event_type": "x", "event_time": "2026-01-01T00:00:00Z"} for one in "ab"]
    (folder / "e.ndjson").write_text("\n".join(map(json.dumps, lines)))
    assert rows(evaluate(folder, "e.ndjson", "--transitions", "--segment", "single")) == []


def test_bad_rows_are_named_and_harm_nobody(folder: Path) -> None:
    bad = [b"{nope\n", b"[1]\n", b'{"user_id": "x"}\n', b'{"user_id": 5, "event_id": "b", "event_type": "x"}\n']
    (folder / "e.ndjson").write_bytes(b"".join([*bad, ndjson()]))
    done = evaluate(folder, "e.ndjson")
    assert rows(done) == [("ann", "spender"), ("bob", "recent"), ("bob", "spender")]
    assert "1 row refused: not_json" in done.err and "  row 1: " in done.err
    assert "1 row refused: not_an_object" in done.err and "  row 2: " in done.err
    strict = evaluate(folder, "e.ndjson", "--strict")
    assert (strict.code, strict.out) == (2, "")


def test_empty_files_have_no_members(folder: Path) -> None:
    (folder / "e.ndjson").write_bytes(b"")
    assert evaluate(folder, "e.ndjson").out == "user_id,segment\n"
    (folder / "e.csv").write_text("user_id,event_id,event_type,event_time\n")
    assert evaluate(folder, "e.csv", "--transitions").out == "user_id,segment,entered,effective_at\n"


def test_another_producers_names_by_mapping_and_ids_from_the_file(folder: Path) -> None:
    (folder / "c.csv").write_text(
        "user_id,event,timestamp,amount\n"
        "ann,buy,2026-01-01 00:00:00,6\nann,buy,2026-01-01 00:00:00,4\nbob,see,2026-01-01 00:30:00,\n"
    )
    arguments = ["--map", "event_type=event,event_time=timestamp"]
    done = evaluate(folder, "c.csv", *arguments, "--timezone", "UTC")
    assert rows(done) == [("ann", "recent"), ("ann", "spender"), ("bob", "recent")]
    assert done.err == ""
    without = evaluate(folder, "c.csv", *arguments)
    assert "3 rows refused: time_without_zone" in without.err and "--timezone UTC" in without.err
    slip = evaluate(folder, "c.csv", "--map", "event_time=timestmp")
    assert slip.code == 2 and "Did you mean 'timestamp'?" in slip.err
    for wrong in ("event_time", "nope=timestamp", "event_time=timestamp,event_time=event"):
        assert evaluate(folder, "c.csv", "--map", wrong).code == 2
    assert evaluate(folder, "c.csv", *arguments, "--timezone", "Mars").code == 2


def test_another_producers_shape_by_schema_alone(folder: Path) -> None:
    (folder / "defs/schema.yml").write_text(
        "events:\n  user_id: {path: id}\n  event_type: {path: payload.activity_type}\n"
        "  event_time: {path: created_at, timezone: UTC}\n  event_id: {generated: true}\n  region: {type: text}\n"
        '  amount: {type: "numeric(18,2)", path: payload.order_total, empty_as_null: true}\n'
    )
    (folder / "e.ndjson").write_text(
        '{"id": "c1d1caef", "id_type": "cookie", "region": "California", "device_type": "mobile", '
        '"created_at": "2026-10-31T00:00:00", "payload": {"activity_type": "page_viewed", "order_total": ""}}\n'
        '{"id": "c1d1caef", "created_at": "2026-10-31T00:00:00", '
        '"payload": {"activity_type": "order", "order_total": "10.00"}}\n'
    )
    assert rows(evaluate(folder, "e.ndjson")) == [("c1d1caef", "recent"), ("c1d1caef", "spender")]


def test_ids_with_any_character_survive_csv(folder: Path) -> None:
    user = 'a,"b"\nü\u2028'
    event = {"event_id": "1", "user_id": user, "event_type": "x", "event_time": "2026-01-01T00:00:00Z"}
    (folder / "e.ndjson").write_text(json.dumps(event))
    assert rows(evaluate(folder, "e.ndjson")) == [(user, "recent")]


def test_definitions_that_are_wrong_stop_everything(folder: Path) -> None:
    (folder / "defs/wrong.sql").write_text("SELECT user_id FROM events GROUP BY user_id HAVING sum(amuont) > 1")
    (folder / "e.ndjson").write_bytes(ndjson())
    done = evaluate(folder, "e.ndjson")
    assert done.code == 2 and done.out == ""
    assert "defs/wrong.sql:1:" in done.err


def test_validate_shows_every_problem_with_its_place(folder: Path) -> None:
    assert tidegate("validate", "defs", cwd=folder).out == "3 definitions ok\n"
    assert json.loads(tidegate("validate", "defs", "--json", cwd=folder).out)["ok"] is True
    (folder / "defs/one.sql").write_text("SELECT user_id FROM events GROUP BY user_id HAVING sum(amuont) > 1")
    (folder / "defs/two.sql").write_text("SELECT user_id FROM evnts GROUP BY user_id")
    done = tidegate("validate", "defs", cwd=folder)
    assert done.code == 2
    assert "defs/one.sql:1:56: " in done.out and "defs/two.sql:1:" in done.out and "^" in done.out
    assert "2 problems in 2 definitions; 3 ok" in done.err
    found = json.loads(tidegate("validate", "defs", "--json", cwd=folder).out)
    assert [problem["file"] for problem in found["problems"]] == ["defs/one.sql", "defs/two.sql"]
    assert found["definitions"] == ["off", "recent", "spender"]


def test_validate_prints_the_schema_for_producers(folder: Path) -> None:
    printed = json.loads(tidegate("validate", "defs", "--producer-schema", cwd=folder).out)
    assert {"event_time", "event_type", "user_id"} <= set(printed["required"])


def test_validate_shows_problems_of_the_schema(folder: Path) -> None:
    (folder / "defs/schema.yml").write_text("events:\n  region: {type: txt}\n")
    done = tidegate("validate", "defs", cwd=folder)
    assert done.code == 2 and "defs/schema.yml:2: " in done.out
    assert json.loads(tidegate("validate", "defs", "--json", cwd=folder).out)["problems"][0]["line"] == 2


@pytest.mark.parametrize("sample", [None, "ndjson", "csv", "parquet"])
def test_init_writes_a_folder_that_validates_and_overwrites_nothing(folder: Path, sample: str | None) -> None:
    arguments = ["init", "shop"]
    if sample == "ndjson":
        (folder / "s.ndjson").write_bytes(ndjson())
    elif sample is not None:
        (as_csv if sample == "csv" else as_parquet)(folder / f"s.{sample}")
    if sample is not None:
        arguments += ["--from", f"s.{sample}"]
    done = tidegate(*arguments, cwd=folder)
    assert done.code == 0, done.err
    assert tidegate("validate", "--config", "tidegate.yml", cwd=folder / "shop").code == 0
    if sample is not None:
        assert "4 of the 4 sampled events are accepted" in done.out
        again = tidegate("evaluate", "--definitions", "shop/segment_defs", "--events", f"s.{sample}", cwd=folder)
        assert again.code == 0 and "refused" not in again.err
        definition = (folder / "shop/segment_defs/quiet_for_30_days.sql").read_text()
        assert "event_type = 'buy'" in definition
        assert 'numeric(18,2)' in (folder / "shop/segment_defs/schema.yml").read_text()
    schema = folder / "shop/segment_defs/schema.yml"
    schema.write_text("mine")
    second = tidegate(*arguments, cwd=folder)
    assert second.code == 2 and "--force overwrites" in second.err
    assert schema.read_text() == "mine"
    assert tidegate(*arguments, "--force", cwd=folder).code == 0
    assert schema.read_text() != "mine"


def test_init_from_what_is_no_events(folder: Path) -> None:
    (folder / "s.ndjson").write_text("not json\n")
    done = tidegate("init", "shop", "--from", "s.ndjson", cwd=folder)
    assert done.code == 2 and not (folder / "shop").exists()


def test_where_nobody_is_in_a_segment_its_parts_are_counted(folder: Path) -> None:
    """The counts are those that DuckDB has for each part (tests/oracle/test_parts.py); stdout stays as it was."""
    (folder / "e.ndjson").write_bytes(ndjson())
    having = "SELECT user_id FROM events GROUP BY user_id HAVING"
    (folder / "defs/rare.sql").write_text(f"SELECT user_id FROM segments.spender INTERSECT {having} count(*) > 99")
    (folder / "defs/never.sql").write_text(f"{having} count(*) < 0")
    done = evaluate(folder, "e.ndjson", "--segment", "rare")
    assert (done.code, done.out) == (0, "user_id,segment\n")
    said = [line.strip() for line in done.err.splitlines()]
    assert "0  count(*) >= 100  [without it the others hold for 2]" in said
    assert "2  in the segment `spender`, which it reads" in said
    never = evaluate(folder, "e.ndjson", "--segment", "never")
    assert "Nobody is ever in never: its conditions exclude each other." in never.err
    assert "Each part" not in evaluate(folder, "e.ndjson", "--segment", "spender").err
