"""Full disks: below storage_url the engine ends with a clear word, PostgreSQL's is waited for; nothing is damaged."""

import logging
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from flows.clock import now_us
from storage.checkpoints import CheckpointStore
from storage.disk import DiskFull, check
from storage.engine_state import take_over
from tests.fix_kafka import produce
from tests.flows.conftest import Running, World, ended, until
from tests.flows.oracle import folded, settled_members
from tests.flows.test_flow import some_events

Make = Callable[..., World]
Start = Callable[..., Running]
Spawn = Callable[..., "subprocess.Popen[str]"]

MESSAGES, USERS = 6_000, 3_000


class Tmpfs:
    """A disk of its own that holds so many KiB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    def mount(self, kib: int) -> None:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(self.folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")

    def fill(self) -> None:
        """Leaves no space."""
        with suppress(OSError), (self.folder / "filler").open("ab", buffering=0) as file:
            while file.write(bytes(4_096)):
                pass

    def fill_until(self, emptied: threading.Event) -> None:
        """What is freed by others is filled again: an engine in the middle of a clean-up may delete files yet."""
        while not emptied.is_set():
            self.fill()
            emptied.wait(0.001)

    def empty(self) -> None:
        (self.folder / "filler").unlink()

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=False, capture_output=True)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Tmpfs]:
    disk = Tmpfs(tmp_path / "disk")
    disk.mount(64 * 1024)
    yield disk
    disk.unmount()


@contextmanager
def disk_that_fills(world: World, disk: Tmpfs, process: "subprocess.Popen[str]") -> Iterator[None]:
    emptied = threading.Event()
    filling = threading.Thread(target=disk.fill_until, args=(emptied,))
    filling.start()
    try:
        yield
    finally:
        emptied.set()
        filling.join()
        disk.empty()


@contextmanager
def limit_of_files(world: World, disk: None, process: "subprocess.Popen[str]") -> Iterator[None]:
    """As `ulimit -f` sets it, for the running process."""
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4_096, 4_096))
    yield


@pytest.mark.parametrize(("kind", "words"), [("tmpfs", "the disk is full"), ("limit", "ulimit -f")])
def test_the_engine_ends_and_goes_on_when_there_is_space(
    make_world: Make, spawn: Spawn, embedded_broker: str, kind: str, words: str, request: pytest.FixtureRequest
) -> None:
    disk: Any = request.getfixturevalue("tmpfs") if kind == "tmpfs" else None
    more = {"storage_url": str(disk.folder / "storage")} if disk else {}
    world = make_world(embedded_broker, checkpoint_every=0.5, **more)
    end = now_us()
    events = some_events(MESSAGES, USERS, end)
    half = MESSAGES // 2
    produce(world.bootstrap, world.topic, events[:half])
    first = spawn(world.environment())
    saved = "SELECT count(*) FROM tidegate.shards WHERE checkpoint IS NOT NULL"
    until(lambda: world.taken() == half and world.query(saved) == [(4,)], "taken and saved", alive=[first])
    filling = disk_that_fills if disk else limit_of_files
    with filling(world, disk, first):
        produce(world.bootstrap, world.topic, events[half:])
        said = ended(first, code=2, number=None)
        last = said.strip().splitlines()[-1]
        assert "No space for the state file" in last and words in last and "Traceback" not in said, said
        # What the database names is there and whole; what could not be written has left nothing.
        store = CheckpointStore(Path(world.values["storage_url"]))
        for each in take_over(world.url, range(4)).values():
            assert each.checkpoint is not None and store.load(each.checkpoint)
        assert not list(store.folder.parent.rglob("*.tmp"))
    # States are saved beside the commits, so the first engine may have taken everything.
    reached = max(end, world.watermark())
    second = spawn(world.environment())
    until(lambda: world.taken() == MESSAGES, "all taken", alive=[second])
    until(lambda: world.watermark() > reached, "time goes on", alive=[second])
    ended(second)
    assert folded(world.log()) == world.members() == settled_members(world)


def test_a_database_without_space_is_waited_for(
    make_world: Make, embedded_broker: str, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(embedded_broker)
    end = now_us()
    events = some_events(2_000, 300, end)
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, events[:1_000])
    until(lambda: world.taken() == 1_000, "taken", alive=[engine])
    # In the middle of a transaction, after most of its rows were written.
    world.execute(
        "CREATE SEQUENCE tidegate.attempts",
        "CREATE FUNCTION tidegate.full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM nextval('tidegate.attempts'); "
        "RAISE EXCEPTION 'could not extend file \"base/5/1\": No space left on device' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER no_space BEFORE INSERT ON tidegate.steps EXECUTE FUNCTION tidegate.full()",
    )
    before, members = world.log(), world.members()
    with caplog.at_level(logging.WARNING):
        produce(world.bootstrap, world.topic, events[1_000:])
        until(lambda: caplog.text.count("the database's disk is full") >= 3, "three attempts", alive=[engine])
    assert "Free some space there" in caplog.text and "Trying the same commit again" in caplog.text
    attempts = world.query("SELECT last_value FROM tidegate.attempts")[0][0]
    assert attempts < 20, "each attempt waits longer than the one before"
    assert world.log() == before and world.members() == members, "nothing of a commit is there"
    world.execute("DROP TRIGGER no_space ON tidegate.steps")
    until(lambda: world.taken() == 2_000, "all taken", alive=[engine])
    until(lambda: world.watermark() > end, "time goes on", alive=[engine])
    engine.end()
    assert folded(world.log()) == world.members() == settled_members(world)


def test_a_folder_is_tried_before_anything_begins(tmp_path: Path, tmpfs: Tmpfs) -> None:
    check(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []
    tmpfs.fill()
    with pytest.raises(DiskFull, match=r"the disk is full; 0\.0 MiB are free"):
        check(tmpfs.folder)
    assert os.listdir(tmpfs.folder) == ["filler"]
