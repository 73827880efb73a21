"""`tidegate plan` beside what an engine has stored: who enters and who leaves is what DuckDB says at its position."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest

from flows.run import run
from segmentation.reference import Event, Known
from segmentation.types import BIGINT, TEXT
from tests.console.run_command import Done, tidegate
from tests.fix_kafka import produce
from tests.flows.conftest import DEFINITIONS, SCHEMA, World, event, write_definitions
from tests.oracle.judge import Judge

Make = Callable[..., World]
AT = 1_767_225_600_000_000
USERS, RANDOM = 300, Random(7)
NEW = {
    # Another threshold, a wider window, another spelling, a band's edge, a new one, one that is gone (away).
    "buyers": DEFINITIONS["buyers"].replace(">= 10", ">= 14"),
    "recent": DEFINITIONS["recent"].replace("1 hour", "2 hours"),
    "gone": DEFINITIONS["gone"].replace("max(event_time) <= now() - INTERVAL '2 hours'",
                                        "NOT now() - INTERVAL '120 minutes' < max(event_time)"),
    "hour": DEFINITIONS["hour"].replace("< 6", "< 5"),
    "both": "SELECT user_id FROM segments.buyers INTERSECT SELECT user_id FROM segments.recent",
}  # fmt: skip
#: In order of time, over three hours; some users have many, some a few.
EVENTS = [
    (f"u{int(RANDOM.random() ** 2 * USERS)}", number, AT - (3_000 - number) * 3_600_000,
     RANDOM.choice(("buy", "buy", "view")), RANDOM.randrange(5))
    for number in range(3_000)
]  # fmt: skip
BANDS = ("hour/0-2", "hour/3-5", "hour/6+")


@pytest.fixture
def world(make_world: Make, embedded_broker: str) -> World:
    world = make_world(embedded_broker, clock="event")
    produce(world.bootstrap, world.topic, [event(*one) for one in EVENTS])
    run(world.settings(), until_end=True, finish_at=AT)
    return world


def plan(world: World, definitions: dict[str, str], *arguments: str | Path, schema: str = SCHEMA) -> Done:
    folder = world.folder / "edited"
    for old in folder.glob("*.sql"):
        old.unlink()
    write_definitions(folder, definitions)
    (folder / "schema.yml").write_text(schema)
    environment = {name: value for name, value in world.environment().items() if name.startswith("TIDEGATE_")}
    return tidegate("plan", "--definitions", folder, *arguments, cwd=world.folder, env=environment)


def judged(definitions: dict[str, str]) -> dict[str, set[str]]:
    """Members by segment, by DuckDB over the same events."""
    known = [
        Known(Event(user, str(number), time, {"event_type": kind, "amount": amount}), time)
        for user, number, time, kind, amount in EVENTS
    ]
    judge = Judge({"event_type": TEXT, "amount": BIGINT})
    judge.load(known)
    texts = {name: sql for name, sql in definitions.items() if name != "hour"}
    texts |= dict.fromkeys(BANDS, definitions["hour"])
    members = judge.members(texts, AT)
    return {name: {user for user, segment in members if segment == name} for name in texts}


def test_plan(world: World) -> None:
    before, after = judged(DEFINITIONS), judged(NEW)
    done = plan(world, NEW, "--json", "--members", "all.csv", "--sample", "3")
    assert done.code == 1, done.err
    told = json.loads(done.out)
    kinds = {each["definition"]: each["change"] for each in told["definitions"]}
    assert kinds == {
        "buyers": "changed in meaning", "recent": "changed in meaning", "gone": "changed only in spelling",
        "hour": "changed in meaning", "both": "added", "away": "removed",
    }  # fmt: skip
    assert told["deployed"]["version"] == 1
    taken = [0] * world.partitions
    for place in told["position"]:
        assert place["as_of"] == "2026-01-01T00:00:00.000001Z"
        taken = [max(old, place["offsets"][str(part)]) for part, old in enumerate(taken)]
    assert sum(taken) == 3_000
    segments = {one["segment"]: one for each in told["definitions"] for one in each["segments"]}
    assert segments.keys() == {"buyers", "recent", "hour/3-5", "hour/6+", "both", "away"}
    with (world.folder / "all.csv").open() as file:
        rows = {tuple(row) for row in csv.reader(file)}
    expected: set[tuple[str, ...]] = {("user_id", "segment", "change")}
    for name, one in segments.items():
        was, is_ = before.get(name, set()), after.get(name, set())
        assert (one["members_now"], one["members_after"]) == (len(was), len(is_)), name
        assert (one["enter"], one["leave"]) == (len(is_ - was), len(was - is_)), name
        assert [user["user_id"] for user in one["enter_sample"]] == sorted(is_ - was)[:3]
        expected |= {(user, name, "enters") for user in is_ - was} | {(user, name, "leaves") for user in was - is_}
    assert rows == expected
    assert {change for *_, change in rows} == {"change", "enters", "leaves"}
    assert all(one["enter"] or one["leave"] for one in segments.values()), "nothing is compared"
    assert told["rebuild"]["rows"] == 3_000 and told["users"] == len({user for user, *_ in EVENTS})
    _other_files(world, expected)
    _words(world)
    _no_effect(world)
    _history_missing(world)


def _other_files(world: World, expected: set[tuple[str, ...]]) -> None:
    assert plan(world, NEW, "--members", "all.ndjson").code == 1
    lines = (world.folder / "all.ndjson").read_text().splitlines()
    header, rows = ("user_id", "segment", "change"), expected - {("user_id", "segment", "change")}
    assert {tuple(json.loads(line)[name] for name in header) for line in lines} == rows and len(lines) == len(rows)
    assert plan(world, NEW, "--members", "all.parquet").code == 1
    table = pq.read_table(world.folder / "all.parquet").to_pylist()
    assert {tuple(row[name] for name in header) for row in table} == rows
    done = plan(world, NEW, "--members", "all.xlsx")
    assert done.code == 2 and "*.csv, *.ndjson or *.parquet" in done.err


def _words(world: World) -> None:
    lines = plan(world, NEW).out.splitlines()
    assert lines[0].startswith("Plan: ") and "against version 1, deployed by engine" in lines[0]
    assert "= gone: changed only in spelling (no effect)" in lines
    assert "~ buyers: changed in meaning" in lines and "    read by both, which change with it" in lines
    assert "+ both: added" in lines and "- away: removed" in lines
    assert lines[-1].startswith("5 definitions of 6 changed; ")
    markdown = plan(world, NEW, "--markdown").out
    assert markdown.startswith("### Tidegate plan\n\n**5 definitions of 6 changed")
    assert "| segment | change | now | after | enter | leave |" in markdown
    assert "| hour/3\\-5 | changed in meaning<br>" in markdown


def _no_effect(world: World) -> None:
    same = plan(world, DEFINITIONS)
    assert same.code == 0 and same.out.splitlines()[-1] == "No difference."
    spelled = plan(world, DEFINITIONS | {"gone": NEW["gone"]})
    assert spelled.code == 0 and "No difference for any user: 1 definition changed" in spelled.out
    broken = plan(world, DEFINITIONS | {"gone": "SELECT nothing FROM events"})
    assert broken.code == 2 and "gone.sql:1:8" in broken.err


def _history_missing(world: World) -> None:
    """A column that is declared now has no value in what came before."""
    noted = "SELECT user_id FROM events WHERE note = 'x' GROUP BY user_id"
    schema = f"{SCHEMA}  note: {{type: text}}\n"
    told = json.loads(plan(world, DEFINITIONS | {"noted": noted}, "--json", schema=schema).out)
    assert [(each["column"], each["readers"]) for each in told["schema"]] == [("events.note", ["noted"])]
    ((one,),) = [each["segments"] for each in told["definitions"]]
    assert (one["segment"], one["members_after"]) == ("noted", 0) and one["complete_since"] > "2026-01-01T00:00:00Z"
    done = plan(world, DEFINITIONS | {"noted": noted}, schema=schema)
    assert done.code == 1 and "history is missing: complete_since 20" in done.out and "--allow-incomplete" in done.out
    other = plan(world, DEFINITIONS, schema=SCHEMA.replace("bigint", "double"))
    assert other.code == 2 or "events.amount was bigint and is to be double" in other.out, other.out + other.err


def test_nothing_to_compare_with(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event")
    done = plan(world, NEW)
    assert done.code == 1
    assert "against nothing: no definitions are deployed yet" in done.out
    assert "no engine has ever run on this database" in done.out
    assert "+ buyers: added" in done.out


def test_nothing_saved(world: World) -> None:
    world.execute("UPDATE tidegate.shards SET checkpoint = NULL")
    done = plan(world, NEW, "--json")
    told: dict[str, Any] = json.loads(done.out)
    assert done.code == 1 and "has saved no state yet" in told["members_unknown"]
    assert [each["segments"] for each in told["definitions"]] == [[]] * 6
    done = plan(world, NEW, "--members", "all.csv")
    assert done.code == 2 and "has saved no state yet" in done.err and not (world.folder / "all.csv").exists()


def test_nothing_counted_yet(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event")
    run(world.settings(), until_end=True)
    done = plan(world, NEW, "--json")
    told: dict[str, Any] = json.loads(done.out)
    assert done.code == 1 and told["users"] == 0, done.err
    segments = [one for each in told["definitions"] for one in each["segments"]]
    assert all(one["members_after"] == 0 and one["complete_since"] is None for one in segments)
