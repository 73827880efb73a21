"""The demo: what it prints works while it runs, it ends by itself or when told, and leaves nothing running."""

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.console.run_command import environment

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120


class Demo:
    """The demo as a child; `wait_for` reads its output until a line has the text."""

    def __init__(self, folder: Path, *arguments: str, seconds: float | None = None) -> None:
        self.folder, self.lines = folder, list[str]()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "console.main", "demo", "--folder", str(folder), *arguments],
            cwd=ROOT, env=environment(None if seconds is None else {"DEMO_SECONDS": str(seconds)}),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.family: list[psutil.Process] = []

    def wait_for(self, text: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            line = self._queue.get(timeout=max(deadline - time.monotonic(), 0.01))
            assert line is not None, f"ended without {text!r}:\n{self.output}"
            if text in line:
                self.family = psutil.Process(self.process.pid).children(recursive=True)
                return line

    def end(self) -> int:
        """Waits for the end; the code. Nothing that the demo started may be left, whatever happened."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        _, alive = psutil.wait_procs(self.family, timeout=20)
        assert not alive, f"left running: {[one.cmdline() for one in alive]}"
        return code

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            self._queue.put(line)
        self._queue.put(None)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def shell(line: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_it_runs_by_itself_and_everything_it_prints_works(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path / "demo", seconds=15)
    demos.append(demo)
    began = time.monotonic()
    psql = demo.wait_for("psql")
    check = demo.wait_for("tidegate check")
    grpcurl = demo.wait_for("grpcurl -plaintext -d '")
    snippet = [demo.wait_for(text) for text in ("import grpc", "tidegate = ", "print(")]
    demo.wait_for("entries/s")
    assert time.monotonic() - began < 100

    listed = shell(psql)
    assert listed.returncode == 0 and "mobile_visitors_gone" in listed.stdout, listed.stderr
    checked = shell(check)
    assert checked.returncode == 0 and " is in " in checked.stdout, checked.stderr
    assert "tidegate.v1.MembershipService/CheckMembership" in grpcurl
    program = "".join(snippet)
    asked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "member: true" in asked.stdout, asked.stderr

    assert demo.end() == 0
    assert " live events in " in demo.output and "event to membership p50 " in demo.output
    assert ", 0 events refused." in demo.output
    assert "Traceback" not in demo.output
    # The settings, which hold the database's password, are readable by their owner only.
    assert (demo.folder / "tidegate.yml").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGTERM, "PostgreSQL is up"), (signal.SIGINT, "live traffic begins")]
)
def test_a_signal_ends_all_of_it(tmp_path: Path, demos: list[Demo], number: signal.Signals, moment: str) -> None:
    demo = Demo(tmp_path / "demo")
    demos.append(demo)
    demo.wait_for(moment)
    demo.process.send_signal(number)
    demo.process.send_signal(number)  # an impatient second one must not cut the ending short
    assert demo.end() == 0
    assert "everything that the demo started is stopped" in demo.output
    assert "Traceback" not in demo.output


def test_a_part_that_dies_is_named_with_its_log(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path / "demo")
    demos.append(demo)
    demo.wait_for("live traffic begins")
    engine = next(child for child in demo.family if "run" in child.cmdline())
    os.kill(engine.pid, signal.SIGKILL)
    assert demo.end() == 2
    assert "engine was killed by SIGKILL" in demo.output and str(demo.folder / "engine.log") in demo.output
    assert "Traceback" not in demo.output

