"""A TCP proxy in front of something that stays at its address, so that tests can cut it off."""

import contextlib
import socket
import threading
from types import TracebackType


class TcpProxy:
    """Context manager; listens on `port` of 127.0.0.1 and passes everything on to `target`, which may be changed."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._flowing = threading.Event()
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> "TcpProxy":
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
        self.drop()

    def cut(self) -> None:
        """Ends all connections, and new ones as soon as they are made."""
        self._open.clear()
        self.drop()

    def restore(self) -> None:
        self._open.set()

    def freeze(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def drop(self) -> None:
        """Ends all connections; new ones are welcome."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            _end(each)

    def _accept(self) -> None:
        while not self._ended:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if not self._open.is_set():
                near.close()
                continue
            try:
                far = socket.create_connection(self.target)
            except OSError:  # what is behind us is away: so are we
                near.close()
                continue
            with self._lock:
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
        with self._lock:
            self._sockets = [each for each in self._sockets if each not in (source, sink)]


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
