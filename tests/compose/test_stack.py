"""Every service of docker-compose.yml started as written there, outside Docker, and looked at.

Shown: the Dockerfile's steps, our image's contents under its user with a read-only root; every
command, environment and health check; the order; Apache Kafka configured by the KAFKA_* variables;
the database by POSTGRES_*; Prometheus with its configuration reading both our services; names and
ports as the services use them. Not shown: the images that are not ours (their entrypoints are
redone in stack.py), Docker's own networks, restart policies and published ports.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.architecture.source import ROOT
from tests.compose import prometheus
from tests.kafka_node.node import classpath

#: The image is built and seven services are started, perhaps beside other tests on the same cores.
pytestmark = pytest.mark.timeout(900)


def missing() -> str | None:
    """Why this machine cannot do it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root, for mount namespaces"
    for program in ("unshare", "setpriv", "java", "mvn"):
        if shutil.which(program) is None:
            return f"needs the program {program}"
    allowed = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True)
    return None if allowed.returncode == 0 else "needs the right to make namespaces (unshare)"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    reason = missing() or (None if prometheus.find("prometheus") else prometheus.MISSING)
    if reason:
        if "CI" in os.environ:
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("compose")
    environment = {**os.environ, "KAFKA_CLASSPATH": classpath()}
    python = [sys.executable, "-m", "tests.compose.up"]
    built = subprocess.run(
        ["unshare", "--mount", *python, "build", folder], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stdout[-4000:] + built.stderr[-4000:]
    namespaces = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    subprocess.run([*namespaces, *python, "up", folder], cwd=ROOT, env=environment, check=True)
    seen = json.loads((folder / "report.json").read_text())
    assert "failure" not in seen, seen["failure"]
    yield seen
    shutil.rmtree(folder, ignore_errors=True)


def test_every_service_starts_and_is_healthy(report: dict[str, Any]) -> None:
    assert set(report["started"]) == {"postgres", "migrate", "kafka", "topics", "engine", "server", "prometheus"}
    assert set(report["health"].values()) == {0}


def test_a_stopped_service_is_not_healthy(report: dict[str, Any]) -> None:
    assert 0 not in report["unwell"].values()


def test_services_end_in_order_when_told_to(report: dict[str, Any]) -> None:
    assert report["stopped"] == {"engine": 0, "server": 0}, report["logs"]


def test_our_services_run_as_a_user_without_rights(report: dict[str, Any]) -> None:
    assert report["users"] == {"engine": ["10001", "0" * 16], "server": ["10001", "0" * 16]}


def test_topics_are_made_as_the_file_says(report: dict[str, Any]) -> None:
    text = "\n".join(report["topics"])
    for topic, partitions in (("events", 8), ("profiles", 2), ("segment-transitions", 8), ("events-dead-letter", 1)):
        assert any(
            line.startswith(f"Topic: {topic}\t") and f"PartitionCount: {partitions}\t" in line
            for line in report["topics"]
        ), text


def test_an_event_of_a_producer_reaches_a_caller_and_the_topic_of_transitions(report: dict[str, Any]) -> None:
    seen = report["member"]
    assert seen["segments"]
    assert seen["told"]["user_id"] == "compose-1"
    assert sorted(seen["told"]["entered"]) == sorted(seen["segments"])


def test_prometheus_reads_both_services(report: dict[str, Any]) -> None:
    assert report["config"] == 0
    assert report["targets"] == {"tidegate-engine": "up", "tidegate-server": "up"}
    assert report["metrics"] == {"engine": "", "server": ""}


def test_no_password_in_any_log(report: dict[str, Any]) -> None:
    for name, text in report["logs"].items():
        assert "w%20o'r" not in text, name
