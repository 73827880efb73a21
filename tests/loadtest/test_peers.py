"""The comparison with Flink: both are given what means the same to DuckDB and the engine; times are read right."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadtest.peers import core, flink_sql, world
from loadtest.peers.flink import Progress
from loadtest.workload import Condition


@pytest.mark.parametrize("form", ["lifetime", "over"])
def test_the_engine_and_duckdb_agree_about_the_compared_definitions(
    form: world.Form, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = world.make(form, 3_000, 100, 30)
    events, defs = tmp_path / "events.ndjson", tmp_path / "defs"
    events.write_bytes(b"\n".join(made.messages) + b"\n")
    defs.mkdir()
    for name, text in made.files().items():
        (defs / name).write_text(text)
    core.main(events, defs, 3_000, tmp_path / "members")
    members = {(user, int(name[1:])) for user, name in json.loads((tmp_path / "members").read_text())}
    assert members == world.Judge(made, events).members(made.last)
    assert world.split(made, members) == 30
    assert json.loads(capsys.readouterr().out)["transitions"] > 0


def test_an_over_window_is_judged_as_of_the_users_last_event(tmp_path: Path) -> None:
    """By hand: it holds its own edge, counted in whole milliseconds."""
    made = world.make("over", 300, 10, 1)
    one = Condition("count", "login", None, 30, 2, False)
    at = "2026-03-{:02}T00:00:00.{:06}Z"
    times = {"both": (at.format(1, 0), at.format(31, 900)), "only_one": (at.format(1, 0), at.format(31, 1000))}
    events = tmp_path / "events.ndjson"
    events.write_text("".join(
        json.dumps({"user_id": user, "event_type": "login", "event_time": each, "properties": {"amount": 1}}) + "\n"
        for user, both in times.items() for each in both
    ))  # fmt: skip
    judge = world.Judge(replace(made, definitions=[[one]]), events)
    assert judge.members_at_last_events() == {("both", 0)}


def test_every_aggregate_is_asked_of_flink_once() -> None:
    definitions = world.make("lifetime", 300, 10, 100).definitions
    sql = flink_sql.insert(definitions, None)
    aggregates = {(each.function, *world.equalities(each)) for one in definitions for each in one}
    assert sql.count(" FILTER (WHERE ") == len(aggregates)
    assert flink_sql.masks_of(100) == 2


def test_time_counts_from_the_moment_of_an_event_to_the_end() -> None:
    progress = Progress(0.0, [(1.0, 0), (2.0, 100)] + [(2.0 + n, 100 + 10 * n) for n in range(1, 11)], 20.0)
    assert progress.seconds_after(50) == 18.5
    with pytest.raises(SystemExit, match="more events"):
        progress.seconds_after(150)
