"""`tidegate apply` and `rebuild` beside a database whose engine does not run: what is recorded, and what is refused."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from storage import deployments, postgres
from storage.deployments import COMPLETE
from tests.console.run_command import Done, tidegate

pytestmark = pytest.mark.postgres
SCHEMA = "events:\n  amount: {type: bigint}\n"
BUYERS = "SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "schema.yml").write_text(SCHEMA)
    (tmp_path / "buyers.sql").write_text(BUYERS)
    return tmp_path


def run(url: str, folder: Path, *arguments: str) -> Done:
    return tidegate(*arguments, env={"TIDEGATE_DATABASE_URL": url, "TIDEGATE_DEFINITIONS": str(folder)})


def test_versions_are_recorded_for_the_next_start(database_url: str, folder: Path) -> None:
    never = run(database_url, folder, "apply")
    assert never.code == 2 and "Its first start deploys its own folder" in never.err
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        deployments.adopt(connection, {"buyers.sql": BUYERS, "schema.yml": SCHEMA})
    same = run(database_url, folder, "apply")
    assert (same.code, same.out) == (0, "version 1 is deployed already: nothing to do\n")
    (folder / "buyers.sql").write_text(BUYERS + " HAVING count(*) > 1")
    done = run(database_url, folder, "apply", "--no-wait", "--by", "ann", "--json")
    assert done.code == 0
    assert json.loads(done.out)["state"] == "building"
    assert run(database_url, folder, "apply").code == 2, "another one is being built"
    assert run(database_url, folder, "apply", "--withdraw", "--by", "bob").code == 0
    found = deployments.version(database_url, 2)
    assert (found.state, found.reason, found.by) == ("withdrawn", "by bob", "ann")
    assert run(database_url, folder, "apply", "--version", "2").code == 2, "it was never deployed"
    assert run(database_url, folder, "apply", "--confirm").code == 2, "none is held"
    listed = json.loads(run(database_url, folder, "apply", "--versions", "--json").out)
    assert [(each["version"], each["state"]) for each in listed] == [(1, COMPLETE), (2, "withdrawn")]


def test_what_cannot_be_deployed_is_not_recorded(database_url: str, folder: Path) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        deployments.adopt(connection, {"buyers.sql": BUYERS, "schema.yml": SCHEMA})
    (folder / "schema.yml").write_text(SCHEMA.replace("bigint", "double"))
    retyped = run(database_url, folder, "apply")
    assert retyped.code == 2 and "column amount of events was bigint" in retyped.err
    (folder / "schema.yml").write_text(SCHEMA)
    (folder / "buyers.sql").write_text("SELECT nothing")
    assert run(database_url, folder, "apply").code == 2
    assert run(database_url, folder, "rebuild", "nobody").code == 2
    assert len(deployments.versions(database_url)) == 1


@pytest.mark.parametrize("command", [("apply",), ("rebuild", "buyers"), ("plan",), ("run", "--until-end")])
def test_a_database_that_is_not_migrated_is_said_to_be(
    database_url: str, folder: Path, command: tuple[str, ...]
) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        connection.execute(
            "DELETE FROM tidegate.schema_migrations WHERE version = (SELECT max(version) FROM "
            "tidegate.schema_migrations)"
        )
    done = run(database_url, folder, *command)
    assert done.code == 2 and "Migrate it first: `tidegate migrate`" in done.err
