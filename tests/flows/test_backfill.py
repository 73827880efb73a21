"""History from files: membership is that of all events, whatever the files are, who is killed, and what comes again."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.backfill import Outcome, Refused, backfill
from flows.clock import now_us
from flows.run import run
from segmentation.errors import TidegateError
from storage.audit.round import audit
from tests.fix_kafka import produce
from tests.flows.conftest import DEFINITIONS, ROOT, World, event
from tests.flows.oracle import folded, members_by_events

Make = Callable[..., World]
Message = tuple[str | bytes | None, bytes | None]
AT = 1_767_225_600_000_000
MINUTE = 60_000_000
USERS, EVENTS = 30, 600


def everything() -> list[Message]:
    """Ten hours, in order of time; some at one instant."""
    return [
        event(f"u{i * 7919 % USERS}", f"e{i}", AT - (EVENTS - i) // 2 * 2 * MINUTE, "buy" if i % 3 else "view", i % 5)
        for i in range(EVENTS)
    ]


def values(messages: list[Message]) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for _, value in messages]


def as_file(folder: Path, name: str, messages: list[Message]) -> Path:
    path, rows = folder / name, values(messages)
    if name.endswith(".parquet"):
        times = pa.array([row.pop("event_time") for row in rows]).cast(pa.timestamp("us", "UTC"))
        pq.write_table(pa.Table.from_pylist(rows).append_column("event_time", times), path, row_group_size=50)
    elif name.endswith(".csv.gz"):
        with gzip.open(path, "wt", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def load(world: World, *files: Path, **more: Any) -> Outcome:
    return backfill(world.settings(), files, {}, None, more.pop("strict", False), threading.Event(), **more)


@pytest.fixture
def world(make_world: Make, embedded_broker: str) -> World:
    """An engine that has had the last third of the events."""
    world = make_world(embedded_broker, clock="event", shards=2)
    produce(world.bootstrap, world.topic, everything()[EVENTS * 2 // 3 :])
    run(world.settings(), until_end=True, finish_at=AT)
    return world


@pytest.fixture
def whole(make_world: Make, embedded_broker: str, world: World) -> set[tuple[str, str]]:
    """Membership by all events."""
    other = make_world(embedded_broker)
    produce(other.bootstrap, other.topic, everything())
    return members_by_events(other, AT)


def check(world: World, members: set[tuple[str, str]]) -> None:
    assert world.members() == folded(world.log()) == members
    found = audit(world.url, world.settings().storage_url, 1_000, Random(1))
    assert found.answers == USERS * 7 and found.wrong == 0 and found.skipped == 0


@pytest.mark.parametrize("names", [["a.parquet"], ["b.csv.gz", "a.parquet", "c.ndjson"]])
def test_membership_is_that_of_all_events(
    world: World, whole: set[tuple[str, str]], tmp_path: Path, names: list[str]
) -> None:
    """The files together are the history, in no order, and what the engine has had of it from Kafka besides."""
    before = set(world.log())
    assert world.members() != whole
    history = everything()[: EVENTS * 2 // 3 + 50]
    Random(1).shuffle(history)
    parts = [history[number :: len(names)] for number in range(len(names))]
    parts[0] += history[-7:]  # some of them twice
    done = load(world, *(as_file(tmp_path, name, part) for name, part in zip(names, parts)))
    assert (done.counts.taken, done.counts.repeated, done.counts.refused) == (EVENTS * 2 // 3, 57, 0)
    check(world, whole)
    new = set(world.log()) - before
    assert before < set(world.log()) and len(new) == done.entered + done.left > 0

    # Once more: nothing is counted twice, and nothing is said twice.
    log = world.log()
    again = load(world, tmp_path / names[0])
    assert (again.counts.taken, again.entered, again.left) == (0, 0, 0) and world.log() == log

    # The engine goes on from there.
    produce(world.bootstrap, world.topic, [event(f"u{i}", f"n{i}", AT + i * MINUTE) for i in range(9)])
    run(world.settings(), until_end=True, finish_at=AT + 10 * MINUTE)
    assert world.members() == folded(world.log()) and world.members() != whole


def test_what_is_refused_is_named(world: World, tmp_path: Path) -> None:
    rows = everything()[:4]
    later = event("u1", "later", AT + MINUTE)
    path = as_file(tmp_path, "a.ndjson", [*rows, later])
    path.write_text("{oops\n" + path.read_text())
    with pytest.raises(Refused, match="2 rows are refused") as refused:
        load(world, path, strict=True)
    assert {row.reason for row in refused.value.rows} == {"not_json", "not_history"}
    done = load(world, path)
    assert (done.counts.taken, done.counts.refused) == (4, 2)
    assert not (world.settings().storage_url / "backfill").exists()


#: The others with TIDEGATE_LONG=1.
POINTS = ["journal:4", "committed:1"]
if "TIDEGATE_LONG" in os.environ:
    POINTS += ["chunk:3", "journal:1", "link:2", "commit:1"]


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_it_goes_on(world: World, whole: set[tuple[str, str]], tmp_path: Path, point: str) -> None:
    path = as_file(tmp_path, "a.parquet", everything()[: EVENTS * 2 // 3])
    killed = subprocess.run(
        [sys.executable, "-m", "tests.flows.killed_backfill", point, str(path)], cwd=ROOT, env=world.environment(),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    done = load(world, path)
    assert done.resumed == (point != "committed:1")
    assert (done.rows == EVENTS * 2 // 3) == (point in ("journal:1", "committed:1")), "only what is missing is read"
    check(world, whole)


def test_an_engine_that_ran_in_between_has_it_begun_anew(
    world: World, whole: set[tuple[str, str]], tmp_path: Path
) -> None:
    path = as_file(tmp_path, "a.parquet", everything()[: EVENTS * 2 // 3])
    killed = subprocess.run(
        [sys.executable, "-m", "tests.flows.killed_backfill", "commit:1", str(path)], cwd=ROOT,
        env=world.environment(), capture_output=True, timeout=120,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    produce(world.bootstrap, world.topic, [event("new", "n", AT)])
    run(world.settings(), until_end=True, finish_at=AT)
    done = load(world, path)
    assert not done.resumed and done.counts.taken == EVENTS * 2 // 3
    assert {pair for pair in world.members() if pair[1] != "new"} == whole


def test_what_was_dropped_is_not_guessed_at(make_world: Make, embedded_broker: str, tmp_path: Path) -> None:
    """With the live clock events older than the horizon leave the reservoir: a file may hold them again."""
    world = make_world(embedded_broker, dedupe_horizon=60, shards=1, partitions=1)
    for name in DEFINITIONS.keys() - {"buyers"}:
        (world.folder / "definitions" / f"{name}.sql").unlink()
    now = now_us()
    produce(world.bootstrap, world.topic, [event("a", 1, now - 20_000_000), event("b", 1, now - 5_000_000)])
    run(world.settings(), until_end=True)
    path = as_file(tmp_path, "a.ndjson", [event("a", 1, now - 20_000_000), event("a", 0, now - 80_000_000, amount=9)])
    done = load(world, path)
    assert (done.counts.taken, done.counts.repeated) == (1, 1) and world.members() == {("buyers", "a")}
    produce(world.bootstrap, world.topic, [event("a", 2, now_us())])
    run(world.settings(), until_end=True)
    with pytest.raises(TidegateError, match="have left the reservoir"):
        load(world, as_file(tmp_path, "b.ndjson", [event("a", 0, now - 80_000_000, amount=9)]))
    run(world.settings(), until_end=True)
    assert world.members() == {("buyers", "a")}
