"""Versions of the definitions folder: the first one is the engine's, numbers have no gaps, one is built at a time."""

from contextlib import closing
from pathlib import Path

import pytest

from storage import deployments, postgres
from storage.column_history import columns_since
from storage.definitions_folder import DefinitionsFolder, read_definitions
from storage.deployments import BUILDING, COMPLETE, DeploymentError
from storage.engine_state import prepare
from tests.storage.world import definitions, record

pytestmark = pytest.mark.postgres
FILES = {"a.sql": "SELECT user_id FROM events GROUP BY user_id", "schema.yml": "events: {}\n"}


def test_the_first_start_deploys_the_folder(database_url: str) -> None:
    assert deployments.deployed(database_url) is None
    for _ in range(2):
        prepare(database_url, record(["a"], 1), definitions(["a"]), FILES)
    (only,) = deployments.versions(database_url)
    assert only == deployments.deployed(database_url) == deployments.version(database_url, 1)
    assert (only.version, only.files, only.by, only.state) == (1, FILES, "engine", COMPLETE)
    assert only.at == only.switched_at
    assert only.folder.files == {"a.sql": FILES["a.sql"]}


def test_an_engine_that_ran_before_there_were_versions_is_known(database_url: str) -> None:
    prepare(database_url, record(["a"], 1), definitions(["a"]))
    prepare(database_url, record(["a"], 1), definitions(["a"]), FILES)
    assert [found.by for found in deployments.versions(database_url)] == [deployments.UPGRADED]


def test_what_is_adopted_ends_what_was_being_built(database_url: str) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        deployments.adopt(connection, FILES)
        deployments.add(connection, FILES, "ann", BUILDING)
        deployments.adopt(connection, FILES)
        with pytest.raises(DeploymentError, match="was withdrawn"):
            deployments.complete(connection, 2, {})
    assert [found.state for found in deployments.versions(database_url)] == [COMPLETE, "withdrawn", COMPLETE]


def test_since_when_columns_have_values(database_url: str) -> None:
    def schema(*names: str, users: str = "") -> str:
        return f"events: {{{', '.join(f'{name}: {{type: bigint}}' for name in names)}}}\n{users}"

    users = "users: {tier: {type: bigint}, age: {type: bigint}}\n"
    reads = {"a.sql": "SELECT user_id FROM users WHERE tier = 1"}
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        deployments.adopt(connection, reads | {"schema.yml": schema("x", users=users)}, deployments.UPGRADED)
        for names in (("x", "y"), ("x",), ("x", "y")):
            number = deployments.add(connection, reads | {"schema.yml": schema(*names, users=users)}, "ann", BUILDING)
            deployments.complete(connection, number, {})
    found = deployments.versions(database_url)
    last = DefinitionsFolder.of_texts(reads | {"schema.yml": schema("x", "y", "z", users=users)})
    at = [round(version.switched_at.timestamp() * 1_000_000) for version in found if version.switched_at]
    since = columns_since(found, last.schema, 7)
    assert since.keys() == {"y", "z", "users.age"} and since["z"] == 7
    assert abs(since["y"] - at[3]) <= 1 and abs(since["users.age"] - at[0]) <= 1


def test_one_is_built_at_a_time_and_does_not_count_before(database_url: str) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        deployments.add(connection, FILES, "engine", COMPLETE)
        assert deployments.add(connection, FILES | {"b.sql": ""}, "ann", BUILDING, rebuilt=["a"]) == 2
        with pytest.raises(DeploymentError, match="Version 2, applied by ann, is being built"):
            deployments.add(connection, FILES, "bob", BUILDING)
    now, new = deployments.deployed(database_url), deployments.building(database_url)
    assert now is not None and now.version == 1
    assert new is not None and (new.version, new.by, new.rebuilt, new.switched_at) == (2, "ann", ("a",), None)
    with pytest.raises(DeploymentError, match="no version 7"):
        deployments.version(database_url, 7)


def test_a_folder_survives_the_way_through_its_texts(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    found = read_definitions(tmp_path)
    assert found.texts == FILES
    again = DefinitionsFolder.of_texts(found.texts)
    assert again.texts == FILES and again.schema.digest == found.schema.digest


def test_the_digest_tells_names_from_texts() -> None:
    assert deployments.digest_of({"a": "bc"}) != deployments.digest_of({"ab": "c"})
