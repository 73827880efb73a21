"""A TCP proxy in front of a database that stays at its address, so that tests can take the database away."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """Context manager; `url` is that of the database, by way of the proxy."""

    def __init__(self, url: str) -> None:
        there = conninfo_to_dict(url)
        self._target = (str(there.get("host") or "localhost"), int(there.get("port") or 5432))
        self._sockets: list[socket.socket] = []
        self._open = threading.Event()
        self._flowing = threading.Event()
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = make_conninfo(url, host="127.0.0.1", port=self.port)

    def __enter__(self) -> "Proxy":
        self._open.set()
        self._flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._flowing.set()
        self._listener.close()
        self._drop()

    def cut(self) -> None:
        """Ends all connections, and new ones as soon as they are made."""
        self._open.clear()
        self._drop()

    def restore(self) -> None:
        self._open.set()

    def freeze(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def _drop(self) -> None:
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._open.is_set():
                near.close()
                continue
            far = socket.create_connection(self._target)
            self._sockets += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                self._flowing.wait()
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def eventually(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Waits until `condition` holds; fails the test, saying `what` was awaited, if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain until {what}"
        time.sleep(0.01)
