"""Versions of the definitions folder: the first one is the engine's, numbers have no gaps, one is built at a time."""

from contextlib import closing
from pathlib import Path

import pytest

from storage import deployments, postgres
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


def test_another_folder_is_adopted_once(database_url: str) -> None:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        for text in ("1", "1", "2", "1"):
            deployments.adopt(connection, FILES | {"a.sql": text})
    assert [found.files["a.sql"] for found in deployments.versions(database_url)] == ["1", "2", "1"]


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
