"""Apache Flink on this machine: fetched once, and one SQL job in a process of its own, watched while it runs.

Flink itself is the archive of requirements.txt, unpacked into the user's cache; connectors come from Maven (pom.xml).
Progress is asked of Flink's own REST interface: how many records its source has given out.
"""

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CACHE = Path.home() / ".cache" / "tidegate" / "peers"
LOOK_SECONDS, LIMIT_SECONDS = 0.1, 1_800
FEWEST_LOOKS = 10

#: The same for every job: Flink's documented advice for speed. Objects are reused between chained operators, state is
#: on the heap (its fastest), and checkpoints are taken as the engine saves its state.
SETTINGS = {
    "pipeline.object-reuse": "true",
    "state.backend.type": "hashmap",
    "execution.checkpointing.interval": "10 s",
    "table.local-time-zone": "UTC",
    "taskmanager.memory.managed.size": "64m",
    "taskmanager.memory.network.min": "128m",
    "taskmanager.memory.network.max": "128m",
    "rest.bind-address": "127.0.0.1",
    "metrics.fetcher.update-interval": "100",
}
#: For aggregates without a window: rows are gathered, so that a user's row is read and written once for several.
MINI_BATCH = {
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "500 ms",
    "table.exec.mini-batch.size": "5000",
}
_OPENED = ("java.base/java.lang", "java.base/java.util", "java.base/java.time", "java.base/java.nio")


class Unavailable(Exception):
    """Why there can be no Flink on this machine."""


@dataclass(slots=True)
class Progress:
    """What was seen of a run: (seconds since it `began`, events taken) again and again, and when it had all `ended`."""

    began: float
    seen: list[tuple[float, int]] = field(default_factory=list)
    ended: float = 0.0

    def seconds_after(self, events: int) -> float:
        """From the moment at which `events` were taken to the end; between two looks the moment is interpolated."""
        if sum(count > events for _, count in self.seen) < FEWEST_LOOKS:
            raise SystemExit("The measured part was too short to be measured; give it more events.")
        before = (0.0, 0)
        for moment, count in self.seen:
            if count >= events:
                share = (events - before[1]) / max(count - before[1], 1)
                return self.ended - (before[0] + share * (moment - before[0]))
            before = moment, count
        raise SystemExit(f"only {before[1]} of {events} events were seen to be taken")


def classpath() -> str:
    """Fetches what is missing. Raises Unavailable."""
    for program in ("java", "mvn", "taskset"):
        if shutil.which(program) is None:
            raise Unavailable(f"no `{program}` here; the comparison needs Java 17, Maven and Linux' taskset")
    flink, connectors = CACHE / f"flink-{version()}", CACHE / f"connectors-{_digest()}"
    if not flink.exists():
        print(f"fetching Apache Flink {version()} (300 MB) into {CACHE} ...", file=sys.stderr, flush=True)
        _fetch_flink(flink)
    if not connectors.exists():
        _call(["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
               f"-DoutputDirectory={connectors}", "-DincludeScope=runtime"])  # fmt: skip
    return f"{flink}/lib/*:{connectors}/*"


def version() -> str:
    return (HERE / "requirements.txt").read_text().split("==")[1].split()[0]


def _digest() -> str:
    return hashlib.sha256((HERE / "pom.xml").read_bytes()).hexdigest()[:12]


def _fetch_flink(target: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _call([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--no-build-isolation", "--no-binary", ":all:", "--require-hashes", "-r", str(HERE / "requirements.txt"),
               "-d", folder])  # fmt: skip
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (jars,) = Path(folder).glob("*/deps/lib")
        target.mkdir()
        jars.rename(target / "lib")


def _call(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"`{' '.join(command[:4])} ...` failed: {(done.stderr or done.stdout).strip()[-500:]}")


def run(statements: Sequence[str], settings: dict[str, str], parallelism: int, cores: str | None = None) -> Progress:
    """Runs a bounded job to its end. cores: the cores it may use, as for taskset.

    Raises SystemExit with Flink's own words where it fails.
    """
    port = _free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "job.sql").write_text("\n;\n".join(statements) + "\n;\n")
        given = {
            **SETTINGS, **settings, "parallelism.default": str(parallelism), "rest.port": str(port),
            "execution.checkpointing.dir": f"file://{folder}/checkpoints",
        }  # fmt: skip
        command = [
            *(["taskset", "-c", cores] if cores else []), "java", "-Xmx4g",
            *(f"--add-opens={each}=ALL-UNNAMED" for each in _OPENED), "-cp", classpath(),
            str(HERE / "RunSql.java"), str(folder / "job.sql"), *(f"{key}={value}" for key, value in given.items()),
        ]  # fmt: skip
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                progress = _watch(process, port)
            finally:
                process.kill()
                process.wait()
        said = (folder / "log").read_text(errors="replace")
        if process.returncode != 0 or "job ended " not in said:
            raise SystemExit(f"Flink failed:\n{said[:1_500]}\n...\n{said[-1_500:]}")
        progress.ended = int(said.split("job ended ")[1].split()[0]) / 1000 - progress.began
        return progress


def _watch(process: subprocess.Popen[bytes], port: int) -> Progress:
    """Until the process has ended."""
    progress, source = Progress(time.time()), None
    base = f"http://127.0.0.1:{port}/jobs"
    while process.poll() is None:
        if time.time() - progress.began > LIMIT_SECONDS:
            raise SystemExit(f"Flink did not end in {LIMIT_SECONDS} s")
        time.sleep(LOOK_SECONDS)
        try:
            source = source or _source(base)
            if source is not None:
                values = _get(f"{base}/{source[0]}/vertices/{source[1]}/subtasks/metrics?get={source[2]}&agg=sum")
                progress.seen.append((time.time() - progress.began, int(values[0]["sum"]) if values else 0))
        except OSError:
            continue  # not up yet, or ending
    return progress


def _source(base: str) -> tuple[str, str, str] | None:
    """(job, vertex, name of the metric) of the records that the source has given out, once there is one."""
    for job in _get(base)["jobs"]:
        for vertex in _get(f"{base}/{job['id']}")["vertices"]:
            for metric in _get(f"{base}/{job['id']}/vertices/{vertex['id']}/subtasks/metrics"):
                if metric["id"].startswith("Source") and metric["id"].endswith(".numRecordsOut"):
                    return job["id"], vertex["id"], metric["id"]
    return None


def _get(url: str) -> Any:
    with urllib.request.urlopen(url.replace("[", "%5B").replace("]", "%5D"), timeout=5) as answer:
        return json.load(answer)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
