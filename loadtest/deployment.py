"""A whole deployment on this machine for measurements: broker, database, engine and server, each a process.

As shipped, the database flushes to disk. `with Deployment(files) as line:` returns when the server
answers; `line.bootstrap`, `line.grpc` and `line.url` are where. It ends with the block, whatever happened.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

import grpc
import psutil

from flows import kafka
from flows.embedded_broker import EmbeddedBroker
from loadtest import workload
from storage.embedded import EmbeddedPostgres, end_with_parent
from storage.settings import Settings

TOPIC = "events"
_READY_S = 120.0


class Deployment:
    """files: definitions by file name, schema.yml not among them; variables: TIDEGATE_* settings on top.

    engine_options: words for `tidegate run`. apache: the broker is Apache Kafka where it can be started here (Java,
    Maven); `broker` says which one it is. The embedded one takes longer for each fetch the more messages it has got.
    """

    def __init__(
        self, files: Mapping[str, str], variables: Mapping[str, str] | None = None,
        partitions: int = workload.PARTITIONS, engine_options: tuple[str, ...] = (), schema: str = workload.SCHEMA,
        apache: bool = False,
    ) -> None:  # fmt: skip
        self._files, self._variables, self._partitions = dict(files), dict(variables or {}), partitions
        self._options, self._schema, self._apache = engine_options, schema, apache
        self._stack = ExitStack()
        self.processes: dict[str, psutil.Process] = {}

    def __enter__(self) -> "Deployment":
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-line-")))
        definitions = self.folder / "defs"
        definitions.mkdir()
        (definitions / "schema.yml").write_text(self._schema)
        for name, text in self._files.items():
            (definitions / name).write_text(text)
        database = EmbeddedPostgres(self.folder / "db")
        self.url = self._stack.enter_context(database).url
        self._start_broker()
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.grpc = f"127.0.0.1:{free.getsockname()[1]}"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        self._environment = ours | {
            "TIDEGATE_DEFINITIONS": str(definitions), "TIDEGATE_DATABASE_URL": self.url,
            "TIDEGATE_KAFKA": self.bootstrap, "TIDEGATE_STORAGE_URL": str(self.folder / "storage"),
            "TIDEGATE_GRPC_LISTEN": self.grpc, "TIDEGATE_ENGINE_METRICS_PORT": "0",
            "TIDEGATE_SERVER_METRICS_PORT": "0", **self._variables,
        }  # fmt: skip
        self.tidegate("migrate")
        self._spawn("engine", "run", *self._options)
        self._spawn("server", "serve")
        self._wait_for_server()

    def _start_broker(self) -> None:
        self.broker = "embedded"
        if self._apache:
            # Here, for it is a part of the tests.
            from tests.kafka_node.node import KafkaNode, Unavailable

            try:
                node = self._stack.enter_context(KafkaNode(measured=True))
            except Unavailable:
                pass
            else:
                self.broker, self.bootstrap = "Apache Kafka", node.bootstrap
                self.processes["broker"] = psutil.Process(node.pid)
                kafka.ensure_topics(Settings.model_construct(kafka=node.bootstrap), {TOPIC: self._partitions})
                return
        broker = self._stack.enter_context(EmbeddedBroker(topics={TOPIC: self._partitions}))
        self.bootstrap = broker.bootstrap
        self.processes["broker"] = psutil.Process(broker.pid)

    def tidegate(self, *words: str) -> None:
        command = [sys.executable, "-m", "console.main", *words]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"tidegate {' '.join(words)} failed: {done.stderr[-2_000:]}")

    def _spawn(self, name: str, *words: str) -> None:
        log = self._stack.enter_context((self.folder / f"{name}.log").open("ab"))
        popen = subprocess.Popen(
            [sys.executable, "-m", "console.main", *words], env=self._environment, stdout=log, stderr=log,
            preexec_fn=end_with_parent(signal.SIGTERM),
        )  # fmt: skip
        self._stack.callback(_end, popen)
        self.processes[name] = psutil.Process(popen.pid)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def _wait_for_server(self) -> None:
        deadline = time.monotonic() + _READY_S
        with grpc.insecure_channel(self.grpc) as channel:
            while True:
                try:
                    grpc.channel_ready_future(channel).result(timeout=1)
                    return
                except grpc.FutureTimeoutError:
                    for name, process in self.processes.items():
                        if name in ("engine", "server") and not _alive(process):
                            raise SystemExit(f"the {name} ended: {self.log(name)[-2_000:]}") from None
                    if time.monotonic() > deadline:
                        raise SystemExit(f"the server did not begin to serve: {self.log('server')[-2_000:]}") from None

    def cpu_seconds(self) -> dict[str, float]:
        """Of each process so far, children included; the database's too."""
        found = {}
        for name, process in self.processes.items():
            found[name] = sum(_cpu(each) for each in [process, *process.children(recursive=True)])
        found["database"] = sum(
            _cpu(each) for each in psutil.Process().children(recursive=True) if each.name().startswith("postgres")
        )
        return found


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _end(popen: "subprocess.Popen[bytes]") -> None:
    popen.terminate()
    try:
        popen.wait(15)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
