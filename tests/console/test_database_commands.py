"""migrate, status and dead-letter on a real PostgreSQL."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from storage import postgres
from tests.console.run_command import Done, tidegate
from tests.fix_postgres import PostgresServer

pytestmark = pytest.mark.postgres


def run(url: str, *arguments: str) -> Done:
    return tidegate(*arguments, env={"TIDEGATE_DATABASE_URL": url})


def execute(url: str, *statements: str) -> None:
    with closing(postgres.connect(url, autocommit=True)) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def engine_url(database_url: str) -> str:
    """A database as an engine leaves it that stopped an hour ago."""
    execute(
        database_url,
        "INSERT INTO tidegate.engine (definitions, schema, segments, shards, options) "
        """VALUES ('d', 's', '{"vip": "x"}', 2, '{"clock": "live"}')""",
        "INSERT INTO tidegate.shards (shard, watermark, offsets, updated_at, step) "
        """SELECT n, (extract(epoch FROM now() - interval '1 hour') * 1e6)::bigint, '{"0": 7}',
                  now() - interval '1 hour', 5 FROM generate_series(0, 1) AS n""",
        "INSERT INTO tidegate.definitions (name, version, digest, sql, description, owner, tags, enabled, state) "
        "VALUES ('vip', 3, 'x', 'SELECT', '', 'growth', '{}', true, 'complete')",
        "INSERT INTO tidegate.member_counts SELECT id, n, 20 + n, now() "
        "FROM tidegate.definitions, generate_series(0, 1) AS n",
    )
    return database_url


def test_migrate_says_what_it_did_and_then_that_there_is_nothing_to_do(postgres_server: PostgresServer) -> None:
    url = postgres_server.create("template0")
    try:
        assert run(url, "status").code == 2
        first, second = run(url, "migrate"), run(url, "migrate")
        assert (first.code, second.code) == (0, 0)
        assert first.out.startswith("applied: membership")
        assert second.out == "nothing to do: the tables are up to date\n"
        assert json.loads(run(url, "migrate", "--json").out) == {"applied": []}
    finally:
        postgres_server.drop(url)


def test_status_says_that_no_engine_ever_ran(database_url: str) -> None:
    done = run(database_url, "status")
    assert done.code == 1
    assert done.out.startswith("! No engine has ever run")


def test_status_says_first_what_is_wrong(engine_url: str) -> None:
    done = run(engine_url, "status")
    assert done.code == 1
    first = done.out.splitlines()[0]
    assert "The engine has written nothing for 60 min (shards 0, 1)" in first
    assert any(line.split()[:4] == ["vip", "41", "3", "complete"] for line in done.out.splitlines())
    found = json.loads(run(engine_url, "status", "--json").out)
    assert found["segments"][0]["members"] == 41
    assert [shard["offsets"] for shard in found["shards"]] == [{"0": 7}] * 2
    assert 3_600 <= found["shards"][0]["watermark_age_seconds"] < 3_700


def test_status_is_content_with_a_running_engine(engine_url: str) -> None:
    execute(
        engine_url,
        "UPDATE tidegate.shards SET updated_at = now(), watermark = (extract(epoch FROM now()) * 1e6)::bigint",
    )
    done = run(engine_url, "status")
    assert (done.code, done.out.splitlines()[0]) == (0, "All is well.")


def test_status_has_rates_and_costs(engine_url: str) -> None:
    flip = "INSERT INTO tidegate.transitions SELECT 'u' || n, 1, id, n % 3 > 0, now(), 'event', 3, n % 2, n"
    execute(
        engine_url,
        f"{flip} FROM tidegate.definitions, generate_series(1, 30) AS n",
        f"{flip}, now() - interval '5 minutes' FROM tidegate.definitions, generate_series(31, 60) AS n",
        "UPDATE tidegate.shards SET position = 60",
        "INSERT INTO tidegate.segment_costs (segment, shard, pairs, bytes) VALUES ('vip', 0, 30, 100), "
        "('vip', 1, 30, 44), ('other', 0, 20, 7)",
    )
    (vip,) = json.loads(run(engine_url, "status", "--json").out)["segments"]
    assert (vip["entered_per_minute"], vip["left_per_minute"], vip["state_bytes"]) == (20, 10, 144)
    assert vip["work_share"] == 1 and 3_600 <= vip["behind_seconds"] < 3_700
    assert ["vip", "41", "3", "complete", "20", "10"] in [
        line.split()[:6] for line in run(engine_url, "status").out.splitlines()
    ]


def test_status_shows_what_is_being_built(engine_url: str) -> None:
    execute(
        engine_url,
        "INSERT INTO tidegate.deployments (version, files, digest, made_by, state, switched_at) "
        "VALUES (1, '{}', 'd', 'ann', 'complete', now())",
        "INSERT INTO tidegate.deployments (version, files, digest, made_by, state, progress) "
        """VALUES (2, '{}', 'e', 'bob', 'building', '{"done": 1000, "total": 4000}')""",
    )
    said = run(engine_url, "status").out
    assert "Version 2 of the definitions, by bob, is being built, 1,000 of 4,000 rows; until then" in said
    found = json.loads(run(engine_url, "status", "--json").out)
    assert (found["deployed"]["version"], found["building"]["rows"]) == (1, 4_000)


def test_watch_looks_again_and_again(engine_url: str) -> None:
    looks = run(engine_url, "watch", "--json", "--count", "3", "--every", "0.1").out.splitlines()
    assert [json.loads(look)["segments"][0]["members"] for look in looks] == [41] * 3
    assert all("has written nothing" in json.loads(look)["problems"][0] for look in looks)
    (line,) = run(engine_url, "watch", "--count", "1").out.splitlines()
    assert "! The engine has written nothing" in line and "41 memberships in 1 segments" in line


def test_watch_outlasts_a_database_that_is_away() -> None:
    done = run("postgresql://127.0.0.1:1/none", "watch", "--json", "--count", "2", "--every", "0.1")
    assert done.code == 0
    assert all("Cannot reach" in json.loads(look)["problems"][0] for look in done.out.splitlines())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_ends_in_order(engine_url: str, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "console.main", "watch", "--json", "--every", "600"],
        env=os.environ | {"TIDEGATE_DATABASE_URL": engine_url}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["problems"]
        process.send_signal(number)
        assert process.wait(60) == 0 and process.communicate()[1] == ""
    finally:
        process.kill()
        process.communicate()


def test_refused_events_are_listed_and_counted(engine_url: str) -> None:
    assert run(engine_url, "dead-letter", "list").out == "no refused events\n"
    execute(
        engine_url,
        r"""
        INSERT INTO tidegate.dead_letters (topic, partition, "offset", key, value, reason, detail)
        SELECT 'events', 1, n, 'u1', '{"user_id": 5, "x": "\\377"}',
               CASE WHEN n < 3 THEN 'wrong_type' ELSE 'not_json' END,
               'user_id: expected text' FROM generate_series(1, 4) AS n
        """,
    )
    listed = run(engine_url, "dead-letter", "list", "--limit", "3")
    assert listed.code == 0
    assert "the newest 3 of 4" in listed.err
    assert "events/1@4" in listed.out and "user_id: expected text" in listed.out
    letters = json.loads(run(engine_url, "dead-letter", "list", "--reason", "wrong_type", "--json").out)
    assert [letter["offset"] for letter in letters] == [2, 1]
    assert letters[0]["key"] == "u1"
    assert "4 events were refused in the last hour" in run(engine_url, "status").out
