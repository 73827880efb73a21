"""PostgreSQL, the broker, the engine and the gRPC server of the demo: started in order, stopped in reverse."""

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from console.demo.children import Child, plain_environment, tidegate
from console.options import load_settings
from flows.embedded_broker import EmbeddedBroker
from segmentation.errors import TidegateError
from storage.embedded import EmbeddedPostgres
from storage.migrate import migrate
from storage.settings import Settings

PARTITIONS = 4
READY_SECONDS = 60

Say = Callable[[str], None]
Pause = Callable[[float], None]


class Stack:
    """`with Stack(folder, definitions, say) as stack:` has PostgreSQL and the broker; `start` adds the rest.

    folder: for settings and logs. Ports are the usual ones where they are free, so that commands work
    without naming them. pause(seconds) is called wherever it is safe to end, and may raise.
    """

    def __init__(self, folder: Path, definitions: Path, say: Say, pause: Pause = time.sleep) -> None:
        self.folder, self._definitions, self._say, self._pause = folder, definitions, say, pause
        self._open = contextlib.ExitStack()
        self.children: list[Child] = []
        self.config = folder / "tidegate.yml"
        self.settings: Settings
        self.postgres: EmbeddedPostgres

    def __enter__(self) -> "Stack":
        try:
            self._enter()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _enter(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        # Real commit times, so that the latency shown is the one until others can see the membership.
        self.postgres = EmbeddedPostgres(options={"track_commit_timestamp": "on"})
        self._open.enter_context(self.postgres)
        self._pause(0)
        migrate(self.postgres.url)
        self._say(f"PostgreSQL is up ({time.monotonic() - began:.1f} s)")
        began = time.monotonic()
        topics = {"events": PARTITIONS, "profiles": 1, "segment-transitions": PARTITIONS, "events-dead-letter": 1}
        broker = EmbeddedBroker(topics=topics)
        self._open.callback(broker.stop)
        broker.start()
        self._pause(0)
        self._say(f"the Kafka-compatible broker is up ({time.monotonic() - began:.1f} s)")
        self._configure(broker.bootstrap)

    def _configure(self, bootstrap: str) -> None:
        storage = self._open.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-demo-"))
        content = {
            "definitions": str(self._definitions.absolute()),
            "database_url": self.postgres.url,
            "storage_url": storage,
            "kafka": bootstrap,
            "grpc_listen": f"127.0.0.1:{_port(50_051)}",
            "engine_metrics_port": _port(9_101),
            "server_metrics_port": _port(9_201),
        }
        self.config.unlink(missing_ok=True)
        # The password of the database is in it.
        with open(os.open(self.config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write("# Settings of the latest `tidegate demo`.\n")
            yaml.safe_dump(content, file, sort_keys=False)
        saved = {name: os.environ.pop(name) for name in list(os.environ) if name.upper().startswith("TIDEGATE_")}
        try:
            self.settings = load_settings(self.config)
        finally:
            os.environ.update(saved)

    def start(self) -> None:
        """The engine and the server; returns when the server answers."""
        for name, command in (("engine", "run"), ("server", "serve")):
            child = Child(
                name, tidegate(command, "--config", str(self.config.absolute())), plain_environment(),
                self.folder / f"{name}.log",
            )  # fmt: skip
            self._open.callback(child.stop)
            self.children.append(child)
        began = time.monotonic()
        self._wait_for_server()
        self._say(f"engine and gRPC server are up ({time.monotonic() - began:.1f} s), logs in {self.folder}/")

    def check(self) -> None:
        """Raises ChildDied if the engine or the server has ended."""
        for child in self.children:
            child.check()

    def _wait_for_server(self) -> None:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        deadline = time.monotonic() + READY_SECONDS
        with grpc.insecure_channel(self.settings.grpc_listen) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            while time.monotonic() < deadline:
                self.check()
                with contextlib.suppress(grpc.RpcError):
                    answer = health.Check(health_pb2.HealthCheckRequest(), timeout=1.0, wait_for_ready=True)
                    if answer.status == health_pb2.HealthCheckResponse.SERVING:
                        return
                self._pause(0.05)
        raise TidegateError(f"the gRPC server was not ready within {READY_SECONDS} s; see {self.folder}/server.log.")


def _port(usual: int) -> int:
    """The usual port, or a free one where that is taken."""
    for wanted in (usual, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", wanted))
            port: int = probe.getsockname()[1]
            return port
    raise TidegateError("no free port on 127.0.0.1.")
