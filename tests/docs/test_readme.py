"""Every snippet of README.md does what it says, against the embedded broker and database.

Where a snippet names `localhost:9092` or `localhost:50051`, it gets the ports that were free.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from flows.embedded_broker import EmbeddedBroker
from storage.embedded import EmbeddedPostgres
from tests.architecture.source import ROOT
from tests.docs.readme_blocks import Block, agrees, blocks

BIN = Path(sys.executable).parent
WAIT_SECONDS = 60
#: Asked for in the section for backend engineers.
MEMBER = {"user_id": "u-1842", "event_type": "purchase", "region": "California", "properties": {"amount": 600}}

RUN = [block for block in blocks() if block.mark and block.mark.startswith("run")]


@dataclass
class Shop:
    """A folder like a checkout's, with everything that the README starts running beside it."""

    folder: Path
    environment: dict[str, str]
    addresses: dict[str, str]

    def run(self, language: str, text: str) -> subprocess.CompletedProcess[str]:
        for usual, here in self.addresses.items():
            text = text.replace(usual, here)
        words = {"sh": ["bash", "-euo", "pipefail", "-c", text], "python": [str(BIN / "python"), "-c", text]}[language]
        return subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=WAIT_SECONDS
        )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    shutil.copytree(ROOT / "segment_defs", folder / "segment_defs")
    topics = {"events": 4, "segment-transitions": 4, "events-dead-letter": 1}
    with EmbeddedBroker(topics=topics) as broker, EmbeddedPostgres() as postgres:
        grpc_port, engine_port, server_port = free_ports(3)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        environment = {
            **ours,
            # The database's own psql, where the machine has none.
            "PATH": os.pathsep.join([str(BIN), os.environ["PATH"], str(postgres.psql.parent)]),
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "clients" / "python"))),
            "TIDEGATE_KAFKA": broker.bootstrap,
            "TIDEGATE_DATABASE_URL": postgres.url,
            "TIDEGATE_GRPC_LISTEN": f"127.0.0.1:{grpc_port}",
            "TIDEGATE_ENGINE_METRICS_PORT": str(engine_port),
            "TIDEGATE_SERVER_METRICS_PORT": str(server_port),
        }
        addresses = {"localhost:9092": broker.bootstrap, "localhost:50051": f"127.0.0.1:{grpc_port}"}
        shop = Shop(folder, environment, addresses)
        with Background(shop):
            sent = shop.run("sh", f"tidegate send --now --wait --timeout 60 {shlex.quote(json.dumps(MEMBER))}")
            assert sent.returncode == 0, sent.stdout + sent.stderr
            wait_until(lambda: shop.run("sh", "tidegate check u-1842 big_spenders").returncode == 0, "a member")
            yield shop


class Background:
    """The commands of the block marked `background`: `migrate` ends, the others stay."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> None:
        (block,) = (block for block in blocks() if block.mark and block.mark.startswith("background"))
        commands = [line.split("#")[0].strip() for line in block.text.splitlines()]
        for command in commands:
            log = (self._shop.folder / f"{command.split()[-1]}.log").open("wb")
            process = subprocess.Popen(
                shlex.split(command), cwd=self._shop.folder, env=self._shop.environment, stdout=log, stderr=log
            )
            if command.endswith("migrate"):
                assert process.wait(WAIT_SECONDS) == 0, Path(log.name).read_text()
            else:
                self._running.append(process)

    def __exit__(self, *error: object) -> None:
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(WAIT_SECONDS) for process in self._running]
        assert codes == [0, 0]


def free_ports(count: int) -> list[int]:
    import socket

    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {WAIT_SECONDS} s"
        time.sleep(0.05)


@pytest.mark.parametrize("block", RUN, ids=lambda block: f"line-{block.line}")
def test_snippet(block: Block, shop: Shop) -> None:
    done = shop.run(block.language, block.text)
    assert done.returncode == block.exit_code, done.stdout + done.stderr
    if block.output is not None:
        printed = done.stdout if done.stdout else done.stderr
        assert agrees(block.output, printed), f"expected:\n{block.output}\nprinted:\n{printed}"


def test_grpcurl_line(shop: Shop) -> None:
    """grpcurl learns the messages by reflection; here the same, by the words of its command line."""
    (block,) = (block for block in blocks() if block.mark and block.mark.startswith("grpcurl"))
    words = shlex.split(block.text)
    assert words[:3] == ["grpcurl", "-plaintext", "-d"]
    request, address, (service, method) = words[3], shop.addresses[words[4]], words[5].split("/")
    with grpc.insecure_channel(address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        described = pool.FindServiceByName(service).FindMethodByName(method)
        call: Any = channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(described.output_type).FromString,
        )
        answer = call(json_format.Parse(request, GetMessageClass(described.input_type)()), timeout=10)
    seen = json_format.MessageToDict(answer)
    assert "big_spenders" in [segment["definition"]["segment"] for segment in seen["segments"]]


def test_every_block_says_how_it_is_tested() -> None:
    unmarked = [block.line for block in blocks() if block.mark is None and block.language != "sql"]
    assert not unmarked, f"README.md, lines {unmarked}: put `<!-- test: run -->` above, or `<!-- test: none, WHY -->`"


def test_the_first_definition_is_the_one_in_the_folder() -> None:
    shown = next(block.text for block in blocks() if block.language == "sql")
    real = (ROOT / "segment_defs/big_spenders.sql").read_text()
    without_tags = re.sub(r"^tags:.*\n", "", real, flags=re.M)
    assert shown.strip() == without_tags.strip()


@pytest.mark.parametrize(("expected", "printed", "same"), [
    ("a … c\n", "a b c\n", True), ("a\n…\nc\n", "a\nx\ny\nc\n", True), ("a\n…\n", "a\n", True),
    ("a\n", "a\nb\n", False), ("a … c\n", "a\nc\n", False),
])  # fmt: skip
def test_comparing_output(expected: str, printed: str, same: bool) -> None:
    assert agrees(expected, printed) is same
