"""Several server processes on one port of this machine, kept running without a person.

Each has an event loop, a memory and a metrics port of its own; the system deals out new connections among them. One
that ends, however it does, is started again, alone, after a pause that grows while it fails soon; its callers come back
to the others meanwhile. Only code 2 (an error that no new start cures) ends them all, with that code.

SIGTERM or SIGINT: every process says NOT_SERVING, drains and ends (`serve`), and so does this one; a second signal ends
them at once. A process ends, too, when its standard input does: nobody is left behind when the supervisor is killed.
"""

import asyncio
import logging
import signal
import socket
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

from grpc_server import listen
from grpc_server.serve import GRACE_S
from segmentation.errors import TidegateError
from storage.settings import Settings

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
WRONG = 2


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds before a new start: first, doubled up to longest; first again after a process ran for `well`."""

    first: float = 0.1
    longest: float = 30
    well: float = 60


def supervise(
    command: Sequence[str], processes: int, settings: Settings, environment: Mapping[str, str], pauses: Pauses
) -> int:
    """Runs until SIGTERM or SIGINT; the exit code. command: starts one process, with its number put to the end.

    Raises TidegateError where the port is taken or strangers could reach it."""
    listen.require_safe(settings)
    with closing(reserved(settings.grpc_listen)) as held:
        host, port = settings.grpc_listen.rpartition(":")[0], held.getsockname()[1]
        # What differs goes on as variables: a URL may hold a password, and arguments can be seen by all.
        ours = {**environment, "TIDEGATE_GRPC_LISTEN": f"{host}:{port}", "TIDEGATE_GRPC_SHARE_PORT": "true"}
        log.info("%d processes on %s:%d", processes, host, port)
        return asyncio.run(_Supervisor(command, processes, settings, ours, pauses).run())


def reserved(address: str) -> socket.socket:
    """Bound to HOST:PORT (port 0: any free one), so that others fail who do not mean to share it, and taking no
    connections. Raises TidegateError where somebody listens there."""
    host = listen.host_of(address)
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host, int(address.rpartition(":")[2]), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with closing(socket.socket(family, kind)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            where = probe.getsockname()
        held = socket.socket(family, kind)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(where)
    except OSError as error:
        raise TidegateError(
            f"Cannot listen on {address}: {error.strerror}. Is another server running there? Set grpc_listen."
        ) from None
    return held


class _Supervisor:
    def __init__(
        self, command: Sequence[str], processes: int, settings: Settings, environment: Mapping[str, str], pauses: Pauses
    ) -> None:
        self._command, self._processes, self._settings = list(command), processes, settings
        self._environment, self._pauses = environment, pauses
        self._stop = asyncio.Event()
        self._running: dict[int, Process] = {}
        self._at_once = False
        self._code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signalled)
        await asyncio.gather(*(self._keep(number) for number in range(self._processes)))
        log.info("ended")
        return self._code

    def _signalled(self) -> None:
        if self._stop.is_set():
            self._at_once = True
            for process in self._running.values():
                _tell(process, signal.SIGKILL)
        self._end()

    def _end(self) -> None:
        self._stop.set()
        if not self._at_once:
            for process in self._running.values():
                _tell(process, signal.SIGTERM)

    async def _keep(self, number: int) -> None:
        """One process, started again and again until the end."""
        pause = self._pauses.first
        while not self._stop.is_set():
            started = time.monotonic()
            code = await self._run_one(number)
            if self._stop.is_set():
                if code and not self._code:
                    self._code = 1
                return
            if code == WRONG:
                self._code = WRONG  # its own words stand in the log already
                self._end()
                return
            if time.monotonic() - started >= self._pauses.well:
                pause = self._pauses.first
            log.warning("process %d %s; starting it again in %.1f s", number, _fate(code), pause)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stop.wait()
            pause = min(pause * 2, self._pauses.longest)

    async def _run_one(self, number: int) -> int:
        metrics = self._settings.server_metrics_port
        process = await asyncio.create_subprocess_exec(
            *self._command, str(number), stdin=PIPE,
            env={**self._environment, "TIDEGATE_SERVER_METRICS_PORT": str(metrics + number if metrics else 0)},
            # Ctrl-C in a terminal goes to the supervisor alone.
            process_group=0,
        )  # fmt: skip
        self._running[number] = process
        if self._stop.is_set():  # told so while it was started
            _tell(process, signal.SIGTERM)
        ended, stopped = asyncio.create_task(process.wait()), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
            longest = self._settings.grpc_drain + 2 * GRACE_S
            if not (await asyncio.wait({ended}, timeout=longest))[0]:
                log.warning("process %d does not end; killing it", number)
                _tell(process, signal.SIGKILL)
            return await ended
        finally:
            stopped.cancel()
            del self._running[number]


def _tell(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(number)


def _fate(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
