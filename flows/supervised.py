"""A process's line to its supervisor: it says that it lives and how far it is, and is told to stop.

The line is a socket that both sides hold one end of, so each sees at once when the other is gone.
A process whose supervisor is gone ends, without draining: another supervisor may have begun.
Imports nothing that takes long: the line is up before the rest of the process is.
"""

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

#: Between two signs of life, s.
BEAT_SECONDS = 1.0
STOP = b"stop\n"
#: starting: until the shards are taken over. joining: until all processes have found each other.
State = Literal["starting", "joining", "running", "done", "failed"]


class Link:
    """fd: this process's end of the line. A thread looks after it until the process ends."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self._socket.settimeout(BEAT_SECONDS)
        self._lock = threading.Lock()
        self._last: State = "starting"
        self._told = False
        self._call: Callable[[], None] | None = None
        #: Set by the flow.
        self.joining, self.started = threading.Event(), threading.Event()
        threading.Thread(target=self._watch, name="supervisor", daemon=True).start()

    def when_told(self, call: Callable[[], None]) -> None:
        """`call` when told to stop, now if that was before."""
        with self._lock:
            self._call = call
            told = self._told
        if told:
            call()

    def done(self) -> None:
        """All work is done: this process is not to be started again."""
        self._say("done")

    def failed(self, words: str) -> None:
        """Somebody has to read this."""
        self._say("failed", words)

    def _say(self, state: State, words: str = "") -> None:
        with self._lock, suppress(OSError):  # the watching thread sees it too
            if self._last not in ("done", "failed"):
                self._last = state
                self._socket.sendall(json.dumps([state, words]).encode() + b"\n")

    def _watch(self) -> None:
        while True:
            self._say("running" if self.started.is_set() else "joining" if self.joining.is_set() else "starting")
            try:
                data = self._socket.recv(64)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if not data:
                os._exit(1)
            with self._lock:
                self._told, call = True, self._call
            if call is None:
                os._exit(0)  # nothing has begun
            call()
