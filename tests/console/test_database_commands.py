"""migrate, status and dead-letter on a real PostgreSQL."""

import json
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
