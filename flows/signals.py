"""The end of a process: SIGTERM and SIGINT, or its supervisor, ask the flow to drain; a limit ends what hangs.

Python runs its signal handlers only between its own instructions, and Bytewax may be inside Rust
for long (waiting for the other processes of a cluster). So the signal is also written to a socket
that a thread reads.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flows.errors import AGAIN
from flows.supervised import Link

log = logging.getLogger("tidegate.engine")

#: Longest time from the first signal, or from the flow's decision to end, to the end of the process, s.
PATIENCE_SECONDS = 30.0
#: The same where nothing more is written, s.
BROKEN_SECONDS = 6.0
#: Longest time for a process that has taken its shards over to find the others of its cluster, s.
JOIN_SECONDS = 60.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Ending:
    """What is known of this process's end. Outside the main thread nothing here ends the process.

    stop: set when somebody asks. started: set once the flow can see `stop`; before that there is
    nothing to drain, and a process that does not end by itself at once is ended.
    """

    def __init__(self, stop: threading.Event, started: threading.Event) -> None:
        self.stop, self.started = stop, started
        self._ended = threading.Event()
        self._mine = threading.current_thread() is threading.main_thread()
        self._lock = threading.Lock()

    def ask(self) -> None:
        """To drain and end with 0; asking again changes nothing."""
        with self._lock:
            if self.stop.is_set() or self._ended.is_set():
                return
            self.stop.set()
        log.info("stopping")
        if not self.started.is_set():
            self._after(2, self._ended, 0, "")
        self._after(PATIENCE_SECONDS, self._ended, 1, "the flow did not end in %d s; nothing committed is lost")

    def limit(self, over: threading.Event, seconds: float, why: str) -> None:
        """A flow ends by itself, and sets `over` soon, or the process is ended and to be started again."""
        if not self.stop.is_set():
            self._after(seconds, over, AGAIN, f"{why}. The flow did not end in %d s; nothing committed is lost")

    def joining(self) -> None:
        """The other processes are waited for: one whose place another program has taken never comes."""
        self._after(JOIN_SECONDS, self.started, AGAIN, "the other processes of the cluster were not found in %d s")

    def ended(self) -> None:
        self._ended.set()

    def _after(self, seconds: float, unless: threading.Event, code: int, words: str) -> None:
        def wait() -> None:
            if not unless.wait(seconds) and not self._ended.is_set():
                if words:
                    log.error(words, seconds)
                _end_now(code)

        if self._mine:
            threading.Thread(target=wait, name="limit", daemon=True).start()


@contextmanager
def stopping(stop: threading.Event, started: threading.Event, link: Link | None = None) -> Iterator[Ending]:
    """Within the block signals, or the supervisor at `link`, set `stop`. Outside the main thread: nothing is changed.

    A second signal ends the process at once, except under a supervisor, which sees to that: signals
    may go to all processes of a group.
    """
    ending = Ending(stop, started)
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(reader, ending, link is None), name="signals", daemon=True)
    thread.start()
    if link is not None:
        link.when_told(ending.ask)
    try:
        yield ending
    finally:
        ending.ended()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        thread.join()
        reader.close()


def _watch(reader: socket.socket, ending: Ending, impatient: bool) -> None:
    received = 0
    while data := reader.recv(64):
        received += len([number for number in data if number in SIGNALS])
        if not received:
            continue
        if received > 1 and impatient:
            _end_now(130)
        ending.ask()


def _end_now(code: int) -> None:
    logging.shutdown()
    os._exit(code)
