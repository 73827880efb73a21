"""The engine's processes: started as users start them, watched, killed, started again."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.torture.world import World

ROOT = Path(__file__).parents[2]
#: Survivors of a lost process may take this long to end by themselves, s; then they are ended.
GRACE_SECONDS = 3.0
WAIT_SECONDS = 90.0


class Unwell(Exception):
    """The engine does not do what it should: the torture ends here, and the verifier has the word."""


@dataclass(slots=True)
class Member:
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Cluster:
    """`start` gives it processes; afterwards it is a list of them. At most one cluster at a time is `current`."""

    count = 0

    def __init__(self, world: World, processes: int, armed: str | None = None, off: str | None = None) -> None:
        """armed: the fail-point of one of them, `name:n`; off: the protection that is taken away."""
        addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(processes))
        Cluster.count += 1
        self.world = world
        self.members: list[Member] = []
        self._tokens = world.tokens()
        logs = world.folder / "logs"
        logs.mkdir(exist_ok=True)
        #: Is there when the fail-point has been reached.
        self.mark = logs / f"{Cluster.count:04d}-{armed}"
        for number in range(processes):
            more: dict[str, str] = {}
            if armed and number == _armed_process(armed, processes):
                more = {"TORTURE_POINT": armed, "TORTURE_MARK": str(self.mark)}
            if off:
                more["TORTURE_OFF"] = off
            place = ["-i", str(number), "-a", addresses] if processes > 1 else []
            log = logs / f"{Cluster.count:04d}-{number}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.torture.worker", "run", *place], cwd=ROOT,
                    env=world.environment(**more), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                )  # fmt: skip
            self.members.append(Member(process, log))

    @property
    def ended(self) -> list[Member]:
        return [member for member in self.members if not member.alive]

    def kill(self, number: int) -> bool:
        """SIGKILL to one of them; False where it had ended before."""
        member = self.members[number]
        alive = member.alive
        member.process.kill()
        member.process.wait()
        return alive

    def clear(self, grace: float = GRACE_SECONDS) -> None:
        """After one was lost: the others end by themselves, or are ended."""
        deadline = time.monotonic() + grace
        while len(self.ended) < len(self.members) and time.monotonic() < deadline:
            time.sleep(0.02)
        for member in self.members:
            member.process.kill()
            member.process.wait()

    def terminate(self) -> None:
        """SIGTERM to the first ends all of them in order, each with code 0; before they began, to each."""
        begun = self.begun
        for member in self.members[: 1 if begun else None]:
            member.process.send_signal(signal.SIGTERM)
        until(lambda: len(self.ended) == len(self.members), "all processes end after SIGTERM")
        codes = [member.process.returncode for member in self.members]
        if begun and any(codes):
            raise Unwell(f"after SIGTERM the processes ended with {codes}; see {self.members[0].log}")

    @property
    def begun(self) -> bool:
        """Have all shards been taken over, which comes after everything that may fail at a start?"""
        tokens = self.world.tokens()
        return bool(tokens) and (not self._tokens or all(now > then for now, then in zip(tokens, self._tokens)))

    def signal(self, number: signal.Signals) -> None:
        for member in self.members:
            member.process.send_signal(number)


def until(
    condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS, cluster: Cluster | None = None
) -> None:
    """Waits; Unwell after that time, or when a process of the cluster ends meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        if cluster is not None and cluster.ended:
            member = cluster.ended[0]
            last = member.said.strip().splitlines()[-1:] or ["nothing"]
            raise Unwell(f"a process ended with {member.process.returncode}, saying {last[0]!r} ({member.log})")
        if time.monotonic() > deadline:
            raise Unwell(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


def _armed_process(point: str, processes: int) -> int:
    """The relay runs in the first process; the rest is to be found in every one."""
    return 0 if "publish" in point else processes - 1


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
