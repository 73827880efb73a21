"""`tidegate reshard` where nothing has to be moved: what it says, as a table and as JSON."""

import json

import pytest

from segmentation.shards import shard_of
from tests.console.run_command import Done, tidegate
from tests.console.test_database_commands import execute

pytestmark = pytest.mark.postgres
USERS = [f"user-{number}" for number in range(50)]


@pytest.fixture
def stored_url(database_url: str) -> str:
    """Two shards with fifty users."""
    execute(
        database_url,
        "INSERT INTO tidegate.engine (definitions, schema, segments, shards, options) "
        "VALUES ('d', 's', '{}', 2, '{}')",
        *(f"INSERT INTO tidegate.users (user_id, shard) VALUES ('{user}', {shard_of(user, 2)})" for user in USERS),
    )
    return database_url


def run(url: str, *arguments: str) -> Done:
    return tidegate("reshard", *arguments, env={"TIDEGATE_DATABASE_URL": url, "TIDEGATE_KAFKA": "127.0.0.1:1"})


def test_a_dry_run_needs_no_kafka_and_changes_nothing(stored_url: str) -> None:
    expected = [sum(shard_of(user, 3) == shard for user in USERS) for shard in range(3)]
    done = run(stored_url, "3", "--dry-run", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out) == {"before": 2, "shards": 3, "changed": False, "moved": None, "users": expected}
    done = run(stored_url, "3", "--dry-run")
    lines = done.out.splitlines()
    assert [line.split() for line in lines[1:4]] == [[str(shard), str(users)] for shard, users in enumerate(expected)]
    assert lines[4] == "there are 2 shards now; nothing was changed"
    assert done.err == "", "no hint to change a setting"


def test_as_many_as_there_are(stored_url: str) -> None:
    done = run(stored_url, "2")
    assert (done.code, done.out.splitlines()[-1]) == (0, "there are 2 shards already; nothing was changed")
    assert done.err == "set `shards: 2` for every process, then start the engine: tidegate run\n"


@pytest.mark.parametrize("count", ["0", "1025", "four"])
def test_other_numbers_are_refused(stored_url: str, count: str) -> None:
    done = run(stored_url, count)
    assert done.code == 2 and ("1<=x<=1024" in done.err or "not a valid integer" in done.err)


def test_nothing_stored(database_url: str) -> None:
    done = run(database_url, "2")
    assert done.code == 2 and "holds no membership yet" in done.err
