"""What is done with the compose file's services once they run, and what is written down about it."""

import json
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from confluent_kafka import Consumer, Producer

from grpc_server.generated.tidegate.v1.membership_pb2 import ListUserSegmentsRequest
from grpc_server.generated.tidegate.v1.membership_pb2_grpc import MembershipServiceStub
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
    report["metrics"] = {name: metrics_lint(stack, port) for name, port in (("engine", 9101), ("server", 9201))}
    report["member"] = member()
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
        if (seen and "unknown" not in seen.values()) or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def metrics_lint(stack: Stack, port: int) -> str:
    """What promtool has to say about the names and types of our metrics."""
    with urllib.request.urlopen(f"http://localhost:{port}/metrics") as answer:
        stack.root.inside("/tmp/metrics").write_bytes(answer.read())
    done = stack.call(stack.services["prometheus"], ["bash", "-c", "/opt/promtool check metrics < /tmp/metrics"])
    return done.stdout + done.stderr


def member() -> dict[str, Any]:
    """One event through everything: sent by a producer on this machine, asked for by a caller on this machine."""
    kafka = {"bootstrap.servers": "localhost:29092"}
    event = {
        "user_id": "compose-1", "event_id": "compose-1", "event_type": "purchase",
        "event_time": datetime.now(UTC).isoformat(), "properties": {"amount": 12345.00},
    }  # fmt: skip
    producer = Producer({**kafka, "partitioner": "murmur2_random"})
    producer.produce("events", key="compose-1", value=json.dumps(event))
    assert producer.flush(WAIT_SECONDS) == 0
    with grpc.insecure_channel("localhost:50051") as channel:
        stub: Any = MembershipServiceStub(channel)
        deadline = time.monotonic() + WAIT_SECONDS
        found: list[str] = []
        while not found and time.monotonic() < deadline:
            answer = stub.ListUserSegments(ListUserSegmentsRequest(user_id="compose-1"), timeout=5)
            found = [segment.definition.segment for segment in answer.segments]
            time.sleep(0.05)
    return {"segments": found, "told": told(kafka)}


def told(kafka: dict[str, str]) -> dict[str, Any]:
    """The first message of the topic of transitions."""
    consumer = Consumer({**kafka, "group.id": "compose", "auto.offset.reset": "earliest"})
    consumer.subscribe(["segment-transitions"])
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                value: dict[str, Any] = json.loads(message.value() or b"{}")
                return value
    finally:
        consumer.close()
    return {}
