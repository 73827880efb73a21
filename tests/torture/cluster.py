"""The engine as users run it: one process, several under `--workers`, or several hosts; watched, killed, started again.

Where there is no supervisor of the product's own, this is the service manager: what ends with code 75 is started
again, anything else that ends by itself is an error.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from storage.embedded import end_with_parent
from tests.torture.world import World

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 300.0
AGAIN = 75
#: A service manager would go on for ever.
RESTARTS = 20
#: `supervised`: `tidegate run --workers N`. `hosts`: N times `tidegate run -i I -a ADDRESSES`.
Manner = Literal["alone", "supervised", "hosts"]


class Unwell(Exception):
    """The engine does not do what it should: the torture ends here, and the verifier has the word."""


@dataclass(slots=True)
class Member:
    """A process that we started."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def last_words(self) -> str:
        lines = self.said.strip().splitlines()
        return f"ended with {self.process.returncode}, saying {lines[-1] if lines else ''!r} ({self.log})"


class Cluster:
    count = 0

    def __init__(
        self, world: World, processes: int, manner: Manner, armed: str | None = None, off: str | None = None
    ) -> None:
        """armed: the fail-point of one of them, `name:n`; off: the protection that is taken away."""
        self.world, self.processes, self.manner, self._off = world, processes, manner, off
        self._armed = armed
        self._logs = world.folder / "logs"
        self._logs.mkdir(exist_ok=True)
        #: Is there when the fail-point has been reached.
        self.mark = self._logs / f"{Cluster.count + 1:04d}-{armed}"
        self.members: list[Member] = []
        self.kills = self._restarts = 0
        self._start()

    def _start(self) -> None:
        Cluster.count += 1
        self._tokens = self.world.tokens()
        more = {"TORTURE_OFF": self._off} if self._off else {}
        if self._armed:
            # The relay runs in the first process; the rest is to be found in every one.
            number = 0 if "publish" in self._armed else self.processes - 1
            more |= {
                "TORTURE_POINT": self._armed, "TORTURE_MARK": str(self.mark), "TORTURE_PROCESS": str(number),
            }  # fmt: skip
        arguments: list[list[str]] = [[]]
        if self.manner == "supervised":
            arguments = [["--workers", str(self.processes)]]
        elif self.manner == "hosts":
            addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(self.processes))
            arguments = [["-i", str(number), "-a", addresses] for number in range(self.processes)]
        self.members = []
        for number, given in enumerate(arguments):
            log = self._logs / f"{Cluster.count:04d}-{number}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.torture.worker", "run", *given], cwd=ROOT,
                    env=self.world.environment(**more), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    preexec_fn=end_with_parent(signal.SIGKILL),
                )  # fmt: skip
            self.members.append(Member(process, log))

    @property
    def ended(self) -> list[Member]:
        return [member for member in self.members if not member.alive]

    @property
    def begun(self) -> bool:
        """Have all shards been taken over, which comes after everything that may fail at a start?"""
        tokens = self.world.tokens()
        return bool(tokens) and (not self._tokens or all(now > then for now, then in zip(tokens, self._tokens)))

    def tend(self) -> None:
        """The service manager's round: starts again what ended for a reason that passes; Unwell for any other."""
        if not self.ended:
            return
        if any(member.process.returncode != AGAIN for member in self.ended):
            raise Unwell(f"a process {self.ended[0].last_words}")
        until(lambda: len(self.ended) == len(self.members), "the other processes of the cluster end too")
        self._restarts += 1
        if self._restarts > RESTARTS:
            raise Unwell(f"started {RESTARTS} times in vain: a process {self.ended[0].last_words}")
        print(f"            a process {self.ended[0].last_words}; starting it again", flush=True)
        self._start()

    def kill(self, place: float) -> None:
        """SIGKILL to one of the processes that do the work; place in [0, 1) says which."""
        pids: list[int] = []

        def found() -> bool:
            pids[:] = self._workers()
            return bool(pids)

        until(found, "there is a process to kill", cluster=self)
        psutil.Process(pids[int(place * len(pids))]).kill()
        self.kills += 1

    def _workers(self) -> list[int]:
        if self.manner == "supervised":
            return [child.pid for child in psutil.Process(self.members[0].process.pid).children()]
        return [member.process.pid for member in self.members if member.alive]

    def lost(self, patient: bool) -> None:
        """After a process was killed: a supervisor goes on by itself, hosts break off and are started again.

        patient: or else all of them are killed before they know.
        """
        if self.manner == "supervised":
            return
        if patient:
            until(lambda: len(self.ended) == len(self.members), "those that are left over end by themselves")
            codes = {member.process.returncode for member in self.members}
            if not codes <= {-signal.SIGKILL, AGAIN}:
                raise Unwell(f"after one was killed, the processes ended with {codes}; see {self.members[0].log}")
        self.clear()

    def clear(self) -> None:
        """SIGKILL to all that is left."""
        for member in self.members:
            member.process.kill()
            member.process.wait()

    def terminate(self) -> None:
        """SIGTERM to those that we started: all end in order. Before they have begun they may just end."""
        begun = self.begun
        for member in self.members:
            member.process.send_signal(signal.SIGTERM)
        until(lambda: len(self.ended) == len(self.members), "all processes end after SIGTERM")
        codes = [member.process.returncode for member in self.members]
        fine = {0}
        if self.manner == "hosts":
            fine |= {AGAIN}  # of those that learned it from another one first
        if self.manner == "supervised" and self.kills:
            fine |= {1}  # where one was killed and the others are not started again yet
        if begun and not set(codes) <= fine:
            raise Unwell(f"after SIGTERM the processes ended with {codes}; see {self.members[0].log}")

    def signal(self, number: signal.Signals) -> None:
        for member in self.members:
            member.process.send_signal(number)


def command(world: World, arguments: list[str], armed: str | None = None) -> Member:
    """Another command of the product's, started; armed: a fail-point of it."""
    Cluster.count += 1
    log = world.folder / "logs" / f"{Cluster.count:04d}-{arguments[0]}.log"
    more = {} if armed is None else {
        "TORTURE_POINT": armed, "TORTURE_MARK": str(log.with_suffix(".mark")), "TORTURE_PROCESS": "0",
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.worker", *arguments], cwd=ROOT, env=world.environment(**more),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=end_with_parent(signal.SIGKILL),
        )  # fmt: skip
    return Member(process, log)


def until(
    condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS, cluster: Cluster | None = None
) -> None:
    """Waits, and tends the cluster meanwhile; Unwell after that time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if cluster is not None:
            cluster.tend()
        if time.monotonic() > deadline:
            raise Unwell(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
