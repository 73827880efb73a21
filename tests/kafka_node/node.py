"""One real Apache Kafka node (KRaft) in a child process, from the artifacts that pom.xml names.

    python -m tests.kafka_node.node [PORT]     runs one until Ctrl-C and prints its address

Needs Java 17 and Maven; Maven fetches the artifacts from wherever it is set up to, once.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from types import TracebackType

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from storage.embedded import end_with_parent

POM = Path(__file__).with_name("pom.xml")
#: Where the answer of Maven is kept; not under version control.
KNOWN = Path(__file__).parents[2] / "build"
START_SECONDS, MAVEN_SECONDS = 60, 300
#: Options of the virtual machine: up soon, which is what most of a test's broker has to be; and as Kafka's own start
#: script has them, for whoever measures what a broker takes (its compiler needs half a minute of load).
_SOON_UP = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
_AS_SHIPPED = (
    "-Xms1G", "-Xmx1G", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
)  # fmt: skip


class Unavailable(Exception):
    """Why there can be no node on this machine."""


class KafkaNode:
    """`with KafkaNode() as node: ... node.bootstrap`. `kill` and `start` again keep topics and messages.

    It ends with the process that started it, also when that is killed (Linux).

    proxied: the port of a proxy in front of `proxied_port`, a second way to the node that clients who come by it
    never leave. measured: with Kafka's own options of the virtual machine.
    """

    def __init__(
        self, folder: Path | None = None, port: int = 0, proxied: int | None = None, measured: bool = False
    ) -> None:
        self._temporary = folder is None
        self._options = _AS_SHIPPED if measured else _SOON_UP
        self._proxied, self.proxied_port = proxied, _free_port() if proxied else 0
        self.folder = folder or Path(tempfile.mkdtemp(prefix="tidegate-kafka-"))
        self.port, self._controller_port = port or _free_port(), _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._formatted = False

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> "KafkaNode":
        if not self._formatted:
            self._format()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("kafka.Kafka", str(self._properties)),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=end_with_parent(signal.SIGKILL),
            )  # fmt: skip
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200})
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(KafkaException):
                if admin.list_topics(timeout=1).brokers:
                    return self
        self.kill()
        raise Unavailable(f"Apache Kafka did not start:\n{(self.folder / 'log').read_text()[-2000:]}")

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As if the machine had stopped (its disk has not)."""
        self._end(signal.SIGKILL)

    def __enter__(self) -> "KafkaNode":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, *arguments: str) -> list[str]:
        return [
            "java", *self._options,
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath(), *arguments,
        ]  # fmt: skip

    def _format(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller_port}",
            **self._listeners(),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.cleaner.enable": "false",
            # A node that was killed and comes back is let in soon.
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "300",
        }
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        done = subprocess.run(
            self._java("kafka.tools.StorageTool", "format", "-t", "VGlkZWdhdGVUZXN0Tm9kZQ", "-c",
                       str(self._properties)),
            capture_output=True, text=True, timeout=START_SECONDS, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Unavailable(f"Apache Kafka could not format its storage: {done.stderr.strip()[-500:]}")
        self._formatted = True

    def _listeners(self) -> dict[str, str]:
        listeners = [f"PLAINTEXT://127.0.0.1:{self.port}"]
        advertised = list(listeners)
        if self._proxied:
            listeners.append(f"PROXIED://127.0.0.1:{self.proxied_port}")
            advertised.append(f"PROXIED://127.0.0.1:{self._proxied}")
        return {
            "listeners": ",".join([*listeners, f"CONTROLLER://127.0.0.1:{self._controller_port}"]),
            "advertised.listeners": ",".join(advertised),
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@lru_cache(maxsize=1)
def classpath() -> str:
    """Raises Unavailable."""
    for program, needed in (("java", "Java 17"), ("mvn", "Maven")):
        if shutil.which(program) is None:
            raise Unavailable(f"no `{program}` here; Apache Kafka's tests need {needed}")
    known = KNOWN / f"kafka-classpath-{sha256(POM.read_bytes()).hexdigest()[:16]}"
    if known.exists() and all(map(os.path.exists, (found := known.read_text()).split(os.pathsep))):
        return found
    found = _from_maven()
    # Maven takes seconds to say the same again to every process that asks.
    KNOWN.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=KNOWN, delete=False) as file:
        file.write(found)
    os.replace(file.name, known)
    return found


def _from_maven() -> str:
    with tempfile.NamedTemporaryFile("r") as file:
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:build-classpath",
                   "-DincludeScope=runtime", f"-Dmdep.outputFile={file.name}"]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=MAVEN_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"Maven did not fetch Apache Kafka's artifacts in {MAVEN_SECONDS} s") from None
        if done.returncode:
            raise Unavailable(f"Maven could not fetch Apache Kafka's artifacts: {done.stdout.strip()[-300:]}")
        return Path(file.name).read_text().strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with KafkaNode(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as node:
            print(node.bootstrap, flush=True)
            while not stop.wait(0.5) and os.getppid() != 1:
                pass
    except Unavailable as reason:
        sys.exit(f"error: {reason}")


if __name__ == "__main__":
    main()
