"""Several processes of one engine on this machine, kept running without a person.

The processes are one Bytewax cluster over loopback. Bytewax cannot go on without one of them, nor
take one back: so when one is lost, the others are ended and all of them are started again, on
other ports, after a pause that grows while they fail soon. They go on where the database says. An
error that no new start cures (exit code 2) ends the supervisor, with its words.

Each process has a line to the supervisor (flows.supervised), by which it says that it lives, is
told to stop, and ends when the supervisor has gone.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from flows.errors import AGAIN
from flows.signals import PATIENCE_SECONDS, SIGNALS
from flows.supervised import STOP
from segmentation.errors import TidegateError
from storage.interpreter import python

log = logging.getLogger("tidegate.supervisor")


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. silence: a process that gives no sign of life for so long hangs. drain: what the processes get
    to end in when the supervisor was told to stop; clear: when one of them was lost. first_pause, doubled up to
    longest_pause, before a new start; back to the first after they ran for `well`."""

    silence: float = 60
    drain: float = PATIENCE_SECONDS + 5
    clear: float = 10
    first_pause: float = 0.1
    longest_pause: float = 30
    well: float = 60


@dataclass(slots=True)
class Pauses:
    limits: Limits
    _next: float = 0.0

    def after(self, ran_s: float) -> float:
        """The pause after a run in which all processes worked together for so long."""
        limits = self.limits
        pause = limits.first_pause if ran_s >= limits.well or not self._next else self._next
        self._next = min(pause * 2, limits.longest_pause)
        return pause


@dataclass(slots=True)
class Member:
    """One process. heard_at: its last sign of life, by the loop's clock."""

    number: int
    process: Process
    line: asyncio.StreamWriter
    heard_at: float
    state: str = "starting"
    words: str = ""
    reading: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def code(self) -> int | None:
        return self.process.returncode

    def tell(self) -> None:
        with suppress(OSError):
            self.line.write(STOP)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()

    def fate(self) -> str:
        code = self.code
        if code is None:
            return "hangs"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def supervise(
    command: Sequence[str],
    processes: int,
    environment: Mapping[str, str],
    log_format: str = "text",
    before: Sequence[str] = (),
    limits: Limits | None = None,
) -> int:
    """Runs until SIGTERM or SIGINT, or until the processes have done their work; the exit code.

    command: starts one process, with `-i N -a ADDRESSES --line FD` put to its end. before: what is
    put there instead for one process that is to do its work before the others start. Raises
    TidegateError where somebody has to do something before the next start.
    """
    return asyncio.run(_Supervisor(command, processes, environment, log_format, limits or Limits()).run(before))


class _Supervisor:
    def __init__(
        self, command: Sequence[str], processes: int, environment: Mapping[str, str], log_format: str, limits: Limits
    ) -> None:
        self._command, self._processes, self._environment = list(command), processes, dict(environment)
        self._log_format, self._limits = log_format, limits
        self._pauses = Pauses(limits)
        self._stop, self._at_once = asyncio.Event(), asyncio.Event()

    async def run(self, before: Sequence[str]) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        code = await self._until_done([list(before)]) if before else 0
        if code or self._stop.is_set():
            return code
        return await self._until_done(None)

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._at_once.set()
        self._stop.set()

    async def _until_done(self, arguments: list[list[str]] | None) -> int:
        """Processes with these arguments (None: a cluster), again and again until they are done."""
        while True:
            members = await self._start(arguments if arguments is not None else _cluster(self._processes))
            try:
                ran_s, lost = await self._watch(members)
            finally:
                # Whatever happens here, nobody is left behind.
                for member in members:
                    member.kill()
            for member in members:
                await asyncio.gather(*member.reading)
                member.line.close()
            for member in members:
                if member.code == 2:
                    raise TidegateError(member.words or f"process {member.number} {member.fate()}.")
            if self._stop.is_set():
                log.info("stopped")
                in_order = lost is not None or all(member.code in (0, AGAIN) for member in members)
                return 0 if in_order and not self._at_once.is_set() else 1
            if lost is None:
                return 0
            pause = self._pauses.after(ran_s)
            log.warning("%s; starting all of them again in %.1f s", lost, pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
                return 0

    async def _start(self, arguments: Sequence[Sequence[str]]) -> list[Member]:
        members: list[Member] = []
        try:
            for number, more in enumerate(arguments):
                members.append(await self._spawn(number, more))
        except BaseException:
            for member in members:
                member.kill()
            raise
        return members

    async def _spawn(self, number: int, arguments: Sequence[str]) -> Member:
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command, *arguments, "--line", str(theirs.fileno()), env=self._environment,
                pass_fds=[theirs.fileno()], stdin=DEVNULL, stdout=PIPE, stderr=STDOUT,
                # Ctrl-C in a terminal goes to the supervisor alone.
                process_group=0,
            )  # fmt: skip
        reader, line = await asyncio.open_connection(sock=ours)
        member = Member(number, process, line, time.monotonic())
        assert process.stdout is not None
        member.reading = [
            asyncio.create_task(_lines(reader, lambda text: _hear(member, text))),
            asyncio.create_task(_lines(process.stdout, lambda text: self._relay(number, text))),
        ]
        return member

    async def _watch(self, members: Sequence[Member]) -> tuple[float, str | None]:
        """Until all have ended. For how long all of them worked together, s; and who was lost, if anybody."""
        exits: dict[asyncio.Task[Any], Member] = {
            asyncio.create_task(member.process.wait()): member for member in members
        }
        stopped = asyncio.create_task(self._stop.wait())
        together_at, lost = None, None
        while lost is None and exits and not self._stop.is_set():
            done = await _first({stopped, *exits}, timeout=min(1.0, self._limits.silence / 4))
            for task in done - {stopped}:
                member = exits.pop(task)
                await member.reading[0]
                if not (member.code == 0 and member.state == "done"):
                    lost = f"process {member.number} {member.fate()}" + f": {member.words}".rstrip(": .")
            now = time.monotonic()
            for member in exits.values():
                if now - member.heard_at > self._limits.silence:
                    lost = f"process {member.number} gives no sign of life"
            if together_at is None and all(member.state == "running" for member in members):
                together_at = now
                log.info("%d processes are running", len(members))
        ran_s = 0.0 if together_at is None else time.monotonic() - together_at
        stopped.cancel()
        await self._end(exits)
        return ran_s, lost

    async def _end(self, exits: Mapping["asyncio.Task[Any]", Member]) -> None:
        """Tells these to end, and kills those that do not, or all when asked a second time."""
        for member in exits.values():
            member.tell()
        at_once = asyncio.create_task(self._at_once.wait())
        deadline = time.monotonic() + (self._limits.drain if self._stop.is_set() else self._limits.clear)
        left = set(exits)
        while left and not at_once.done() and (seconds := deadline - time.monotonic()) > 0:
            left -= await _first({at_once, *left}, timeout=seconds)
        at_once.cancel()
        for task in left:
            log.warning("process %d does not end; killing it. Nothing committed is lost.", exits[task].number)
            exits[task].kill()
        await asyncio.gather(*left)

    def _relay(self, number: int, text: str) -> None:
        try:
            print(labelled(text, number, self._log_format), file=sys.stderr, flush=True)
        except BrokenPipeError:
            # Nobody reads any more, and that is no reason to end: what is said from now on goes nowhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        except (OSError, ValueError):  # the log's disk is full, say, or stderr was closed
            pass


def labelled(text: str, number: int, log_format: str) -> str:
    """A line of a process with its number. As JSON it stays or becomes JSON (a panic of Rust's is none)."""
    if log_format != "json":
        return f"[{number}] {text}"
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return json.dumps({"process": number, **found}, ensure_ascii=False)
    return json.dumps({"process": number, "level": "error", "message": text}, ensure_ascii=False)


def _cluster(processes: int) -> list[list[str]]:
    """The arguments of every process. Somebody may take a port before it is bound: that start fails, the next has
    other ports."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(processes)]
    addresses = ";".join(f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes)
    for probe in probes:
        probe.close()
    return [["-i", str(number), "-a", addresses] for number in range(processes)]


def _hear(member: Member, text: str) -> None:
    member.heard_at = time.monotonic()
    with suppress(ValueError):
        member.state, member.words = json.loads(text)


async def _lines(reader: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    rest = b""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                take(line.decode(errors="replace"))
    if rest:
        take(rest.decode(errors="replace"))


async def _first(tasks: "set[asyncio.Task[Any]]", timeout: float) -> "set[asyncio.Task[Any]]":
    """Those that are done when the first is, or none when the time is up."""
    done, _ = await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    return done


def child_command(arguments: Sequence[str]) -> list[str]:
    """This program with other arguments, found where this process found it."""
    return [*python(), "-m", "console.main", *arguments]
