"""The embedded server: starts anywhere, is kept by its folder, asks for its password, ends with its owner."""

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from segmentation.errors import TidegateError
from storage import embedded, postgres
from storage.embedded import EmbeddedPostgres

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pg")


def test_the_folder_can_be_used_again(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server, closing(postgres.connect(server.url, autocommit=True)) as connection:
        connection.execute("CREATE TABLE kept (x int)")
        password = server.url.split(":")[2].split("@")[0]
        assert (folder / "password").stat().st_mode & 0o077 == 0
    with EmbeddedPostgres(folder) as server, closing(postgres.connect(server.url)) as connection:
        assert connection.execute("TABLE kept").fetchall() == []
        assert password in server.url


def test_nobody_comes_in_without_the_password(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        wrong = psycopg.conninfo.make_conninfo(server.url, password="guess")
        with pytest.raises(postgres.DatabaseError, match="password authentication failed"):
            postgres.connect(wrong)


def test_two_programs_do_not_share_a_folder(folder: Path) -> None:
    with EmbeddedPostgres(folder), pytest.raises(TidegateError, match="already runs in"):
        EmbeddedPostgres(folder).__enter__()


def test_its_psql_connects(folder: Path) -> None:
    with EmbeddedPostgres(folder) as server:
        out = subprocess.run([server.psql, server.url, "-Atc", "SELECT 6 * 7"], capture_output=True, text=True)
    assert out.stdout == "42\n", out.stderr


def test_an_interrupted_setting_up_is_made_good(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "half").touch()
    with EmbeddedPostgres(tmp_path) as server:
        postgres.connect(server.url).close()


def test_a_taken_port_leads_to_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], embedded._free_port()]
        monkeypatch.setattr(embedded, "_free_port", lambda: ports.pop(0))
        with EmbeddedPostgres(folder) as server:
            postgres.connect(server.url).close()
        assert ports == []


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(TidegateError, match=r"did not start: .*nonsense"):
        EmbeddedPostgres(tmp_path, {"nonsense": "1"}).__enter__()


def test_a_temporary_one_leaves_nothing() -> None:
    with EmbeddedPostgres() as server:
        assert (server.folder / "data").is_dir()
    assert not server.folder.exists()


def test_database_url_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://elsewhere/db")
    with embedded.server() as url:
        assert url == "postgresql://elsewhere/db"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_it_ends_when_its_owner_is_killed(folder: Path) -> None:
    program = (
        "import sys, pathlib, storage.embedded as e\n"
        "s = e.EmbeddedPostgres(pathlib.Path(sys.argv[1])).__enter__()\n"
        "print(s._process.pid, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen([sys.executable, "-c", program, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    # A pidfd becomes readable when the process has ended, whoever's child it is.
    handle = os.pidfd_open(pid)
    try:
        owner.send_signal(signal.SIGKILL)
        owner.communicate()
        assert select.select([handle], [], [], 20)[0], "the server outlived its owner"
    finally:
        os.close(handle)
    with EmbeddedPostgres(folder) as server:
        postgres.connect(server.url).close()
