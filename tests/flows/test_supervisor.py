"""The supervisor: which ends of a process lead to a new start of all, which end it, and that nobody is left behind.

Its processes are `tests.flows.member`, which do as they are told; the real engine is in test_cluster.py.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.supervisor import Limits, Pauses, labelled
from tests.flows.conftest import ROOT, until

MAIN = """
import logging, os, sys
from flows.supervisor import Limits, supervise
logging.basicConfig(level="INFO", format="%(message)s")
plan, processes, silence, clear, *before = sys.argv[1:]
limits = Limits(silence=float(silence), clear=float(clear), drain=20, first_pause=0.01)
command = [sys.executable, "-m", "tests.flows.member", plan]
sys.exit(supervise(command, int(processes), os.environ, before=before, limits=limits))
"""


class Supervised:
    """A supervisor in a process of its own, and the processes that it has started so far."""

    def __init__(
        self, folder: Path, plan: list[list[str]], rebuild: bool = False, silence: float = 60, clear: float = 30
    ) -> None:
        self._plan = folder / "plan.json"
        self._plan.write_text(json.dumps(plan))
        self.process = subprocess.Popen(
            [sys.executable, "-c", MAIN, str(self._plan), str(len(plan[-1])), str(silence),
             str(clear), *(["--rebuild-only"] if rebuild else [])],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def told(self, suffix: str = ".log") -> list[dict[str, Any]]:
        log = self._plan.with_suffix(suffix)
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def when_started(self, count: int) -> list[dict[str, Any]]:
        return list(until(lambda: len(s := self.told()) >= count and s, f"{count} starts", alive=[self.process]))

    def when_ready(self, count: int) -> dict[int, int]:
        """The process ids of this many that have begun what they are to do, by number."""
        ready = until(lambda: len(s := self.told(".ready")) >= count and s, f"{count} ready", alive=[self.process])
        return {one["process"]: one["pid"] for one in ready}

    def alive(self) -> list[int]:
        return [one["pid"] for one in self.told() if _lives(one["pid"])]

    def end(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=60)
        left = self.alive()
        assert not left, f"processes left behind: {left}\n{said}"
        return self.process.returncode, said


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    made: list[Supervised] = []

    def make(*plan: list[str], **more: Any) -> Supervised:
        made.append(Supervised(tmp_path, list(plan), **more))
        return made[-1]

    yield make
    for one in made:
        one.process.kill()
        one.process.wait()
        if one.process.stdout is not None:
            one.process.stdout.close()


Make = Callable[..., Supervised]


@pytest.mark.parametrize("deed", ["die", "fail"])
def test_a_lost_process_is_a_new_start_of_all(supervised: Make, deed: str) -> None:
    run = supervised(["work", deed, "work"], [deed, "work", "work"], ["work"] * 3)
    first = run.when_started(9)
    run.process.send_signal(signal.SIGTERM)
    code, said = run.end()
    assert code == 0, said
    assert sorted(one["process"] for one in first) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({one["addresses"] for one in first}) == 3, "other ports each time"
    words = {"die": "was ended by SIGKILL", "fail": "ended with code 75: the flow broke off"}[deed]
    assert f"process 1 {words}; starting all of them again" in said
    assert f"process 0 {words}; starting all of them again" in said
    assert "[2] a line of its log" in said.splitlines()


def test_nobody_who_reads_what_it_says_does_not_end_it(supervised: Make) -> None:
    run = supervised(["work", "work"])
    ready = run.when_ready(2)
    assert run.process.stdout is not None
    run.process.stdout.close()
    for start in (2, 3):
        os.kill(ready[1], signal.SIGKILL)
        ready = run.when_ready(2 * start)
    run.process.send_signal(signal.SIGTERM)
    assert run.process.wait(60) == 0
    assert run.alive() == []


def test_one_that_hangs_is_lost(supervised: Make) -> None:
    run = supervised(["work", "freeze"], ["work", "work"], silence=5, clear=1)
    run.when_ready(4)
    run.process.send_signal(signal.SIGTERM)
    code, said = run.end()
    assert code == 0, said
    assert "process 1 gives no sign of life; starting all of them again" in said


def test_what_no_new_start_cures_ends_it(supervised: Make) -> None:
    run = supervised(["work", "refuse"])
    code, said = run.end()
    assert code == 1 and "TidegateError: shards was 4, now 8." in said, "raised; the command makes one line of it"
    assert len(run.told()) == 2


def test_all_done(supervised: Make) -> None:
    run = supervised(["finish", "finish"])
    assert run.end()[0] == 0
    assert len(run.told()) == 2


def test_one_that_ends_without_having_been_told_is_lost(supervised: Make) -> None:
    run = supervised(["work", "work"])
    os.kill(run.when_ready(2)[1], signal.SIGTERM)
    run.when_ready(4)
    run.process.send_signal(signal.SIGINT)
    assert run.end()[0] == 0


def test_a_rebuild_is_done_by_one_before_the_others_start(supervised: Make) -> None:
    run = supervised(["die", "finish"], ["finish", "finish"], rebuild=True)
    code, said = run.end()
    assert code == 0, said
    assert [(one["process"], one["rebuild"]) for one in run.told()[:2]] == [(0, True)] * 2
    assert sorted((one["process"], one["rebuild"]) for one in run.told()[2:]) == [(0, False), (1, False)]


def test_a_second_signal_kills(supervised: Make) -> None:
    run = supervised(["work", "deaf"])
    run.when_ready(2)
    run.process.send_signal(signal.SIGTERM)
    until(lambda: len(run.alive()) == 1, "the one that listens has ended")
    run.process.send_signal(signal.SIGTERM)
    code, said = run.end()
    assert code == 1 and "process 1 does not end; killing it" in said


def test_one_that_does_not_end_is_killed_for_the_new_start(supervised: Make) -> None:
    run = supervised(["work", "deaf"], ["work", "work"], clear=1)
    os.kill(run.when_ready(2)[0], signal.SIGKILL)
    run.when_ready(4)
    run.process.send_signal(signal.SIGTERM)
    code, said = run.end()
    assert code == 0 and "process 1 does not end; killing it" in said


def test_its_own_death_is_that_of_its_processes(supervised: Make) -> None:
    run = supervised(["work", "deaf"])
    run.when_ready(2)
    run.process.kill()
    until(lambda: not run.alive(), "its processes have ended")


def test_pauses_grow_while_it_fails_soon() -> None:
    pauses = Pauses(Limits(first_pause=0.1, longest_pause=1, well=60))
    assert [pauses.after(ran) for ran in (0, 1, 59, 0, 0, 0)] == [0.1, 0.2, 0.4, 0.8, 1, 1]
    assert [pauses.after(ran) for ran in (60, 0, 0)] == [0.1, 0.2, 0.4]


def test_lines_have_their_process() -> None:
    assert labelled("2026 INFO x", 3, "text") == "[3] 2026 INFO x"
    assert json.loads(labelled('{"level": "info", "message": "ä"}', 3, "json")) == {
        "process": 3, "level": "info", "message": "ä"
    }  # fmt: skip
    for text in ("thread panicked", "17", "{"):
        assert json.loads(labelled(text, 3, "json")) == {"process": 3, "level": "error", "message": text}


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
