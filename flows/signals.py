"""SIGTERM and SIGINT as a clean end: the first asks the flow to drain, the second or a long drain ends at once.

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

log = logging.getLogger("tidegate.engine")

#: Longest time from the first signal to the end, s.
PATIENCE_SECONDS = 30.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopping(stop: threading.Event, started: threading.Event) -> Iterator[None]:
    """Within the block the signals set `stop`. Outside the main thread: nothing is changed.

    started: set once the flow can see `stop`; before that a signal ends the process at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(reader, stop, started, ended), name="signals", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        writer.close()
        thread.join()
        reader.close()


def _watch(reader: socket.socket, stop: threading.Event, started: threading.Event, ended: threading.Event) -> None:
    received = 0
    while data := reader.recv(64):
        received += len([number for number in data if number in SIGNALS])
        if not received:
            continue
        stop.set()
        if received > 1:
            _end_now(130)
        if not started.is_set() and not ended.wait(2):
            _end_now(0)
        log.info("stopping")
        threading.Thread(target=_limit, args=(ended,), daemon=True).start()


def _limit(ended: threading.Event) -> None:
    if not ended.wait(PATIENCE_SECONDS):
        log.error("the flow did not end in %d s; ending it. Nothing committed is lost.", PATIENCE_SECONDS)
        _end_now(1)


def _end_now(code: int) -> None:
    logging.shutdown()
    os._exit(code)
