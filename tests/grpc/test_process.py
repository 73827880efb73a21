"""The server as a process: what it says, health and reflection, metrics, and an end that costs no call."""

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from grpc_server import database
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.generated.tidegate.v1 import membership_pb2_grpc as rpc
from segmentation.errors import TidegateError
from storage import postgres
from tests.grpc.proxy import eventually
from tests.grpc.serving import Serving, bearer, failure, serving
from tests.grpc.shop import Shop
from tests.grpc.test_database_away import waiting_queries

CHECK = pb.CheckMembershipRequest(user_id="ann", segment="big_spenders")
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Process:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.lines = process, list[str]()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line)

    def says(self, pattern: str) -> re.Match[str]:
        """Waits for a line that `pattern` fits."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            found[:] = [match for line in list(self.lines) if (match := re.search(pattern, line))]
            return bool(found) or self.process.poll() is not None

        eventually(look, f"the server says {pattern}", 60)
        assert found, f"the server ended: {self.lines}"
        return found[0]

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join()
        return code


@contextmanager
def process(url: str, folder: Path, **variables: str) -> Iterator[Process]:
    root = Path(__file__).parents[2]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")},
        "PYTHONPATH": str(root), "TIDEGATE_DATABASE_URL": url, "TIDEGATE_GRPC_LISTEN": "127.0.0.1:0",
        "TIDEGATE_SERVER_METRICS_PORT": "0", "TIDEGATE_GRPC_DRAIN": "0", **variables,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "grpc_server"], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as popen:
        try:
            yield Process(popen)
        finally:
            popen.kill()


@pytest.mark.postgres
def test_a_process_that_serves_and_ends(shop: Shop, tmp_path: Path) -> None:
    shop.fill()
    with process(shop.url, tmp_path) as server:
        port = server.says(r"gRPC on 127\.0\.0\.1:(\d+) \(no TLS, no tokens\)")[1]
        server.says(r"reading from database \S+ at 127\.0\.0\.1:\d+")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            assert rpc.MembershipServiceStub(channel).CheckMembership(CHECK).member
        assert server.end() == 0
        assert not any("Traceback" in line for line in server.lines)


def test_without_a_database_it_says_where_it_looks_and_still_ends_well(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        closed = held.getsockname()[1]
    with process(f"postgresql://ann:s3cret@127.0.0.1:{closed}/shop", tmp_path) as server:
        port = server.says(r"gRPC on 127\.0\.0\.1:(\d+)")[1]
        server.says(rf"Cannot reach database shop at 127\.0\.0\.1:{closed}: .*trying again")
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            failed = failure(rpc.MembershipServiceStub(channel).CheckMembership, CHECK)
            assert (failed.code, failed.retry_s) == (grpc.StatusCode.UNAVAILABLE, 1.0)
        assert server.end(signal.SIGINT) == 0
        assert not any("s3cret" in line or "Traceback" in line for line in server.lines)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"TIDEGATE_GRPC_LISTEN": "0.0.0.0:0"}, "which other machines can reach, without grpc_tls_cert"),
        ({"TIDEGATE_GRPC_LISTEN": "nowhere"}, "HOST:PORT"),
        ({"TIDEGATE_GRPC_CONNECTIONS": "many"}, "settings: grpc_connections"),
    ],
)
def test_wrong_settings_are_one_line_and_code_2(tmp_path: Path, variables: dict[str, str], reason: str) -> None:
    with process("postgresql://localhost/none", tmp_path, **variables) as server:
        server.says(reason)
        assert server.process.wait(30) == 2
        assert not any("Traceback" in line for line in server.lines)


@pytest.mark.postgres
def test_health_and_reflection(shop: Shop, server: Serving) -> None:
    for service in ("", "tidegate.v1.MembershipService", "tidegate.v1.SegmentService"):
        answer = server.health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as unknown:
        server.health.Check(health_pb2.HealthCheckRequest(service="tidegate.v1.Nothing"))
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    described = ProtoReflectionDescriptorDatabase(server.channel)
    assert {"tidegate.v1.MembershipService", "tidegate.v1.SegmentService", "grpc.health.v1.Health"} <= set(
        described.get_services()
    )
    assert described.FindFileContainingSymbol("tidegate.v1.MembershipService").name == "tidegate/v1/membership.proto"
    with serving(shop.url, grpc_reflection=False) as silent, pytest.raises(grpc.RpcError) as off:
        ProtoReflectionDescriptorDatabase(silent.channel).get_services()
    assert off.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.postgres
def test_metrics(shop: Shop) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        port = held.getsockname()[1]
    with serving(shop.url, server_metrics_port=port, grpc_tokens={"reader-secret": "read"}) as server:
        assert server.running.metrics_port == port
        token = bearer("reader-secret")
        server.membership.CheckMembership(CHECK, metadata=token)
        failure(server.membership.CheckMembership, pb.CheckMembershipRequest(segment="x"), metadata=token)
        failure(server.membership.ListMembers, pb.ListMembersRequest(segment="nosuch"), metadata=token)
        failure(server.membership.CheckMembership, CHECK)
        with pytest.raises(grpc.RpcError):
            server.raw("/made.Up/Label")(b"", timeout=20)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
            text = response.read().decode()
    method = 'method="MembershipService/CheckMembership"'
    assert f'tidegate_rpc_total{{code="OK",{method}}} 1.0' in text
    assert f'tidegate_rpc_total{{code="INVALID_ARGUMENT",{method}}} 1.0' in text
    assert f'tidegate_rpc_total{{code="UNAUTHENTICATED",{method}}} 1.0' in text
    assert 'tidegate_rpc_total{code="NOT_FOUND",method="MembershipService/ListMembers"} 1.0' in text
    assert f"tidegate_rpc_seconds_count{{{method}}} 3.0" in text
    assert "tidegate_database_up 1.0" in text
    assert "made.Up" not in text


@pytest.mark.postgres
def test_calls_in_flight_end_before_the_server(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_WATCH_EVERY_S", 3_600)
    shop.fill()
    with serving(shop.url) as server, closing(postgres.connect(shop.url)) as holder:
        watching = server.health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        holder.execute("LOCK TABLE tidegate.members IN ACCESS EXCLUSIVE MODE")
        call = server.membership.CheckMembership.future(CHECK, timeout=30)
        eventually(lambda: waiting_queries(shop.url) == 1, "the query waits")
        stopping = threading.Thread(target=lambda: server.run(server.running.stop(grace=20)))
        stopping.start()
        assert next(watching).status == NOT_SERVING
        watching.cancel()
        assert not call.done()
        holder.rollback()
        assert call.result(20).member
        stopping.join(20)
        assert not stopping.is_alive()


@pytest.mark.postgres
def test_an_end_under_load_fails_no_call(shop: Shop, tmp_path: Path) -> None:
    """Two servers behind one channel that heeds health, one of them ended while calls come as fast as they can."""
    shop.fill()
    service_config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "healthCheckConfig": {"serviceName": "tidegate.v1.MembershipService"},
    }
    with ExitStack() as stack:
        servers = [stack.enter_context(process(shop.url, tmp_path, TIDEGATE_GRPC_DRAIN="1")) for _ in range(2)]
        ports = [int(server.says(r"gRPC on 127\.0\.0\.1:(\d+)")[1]) for server in servers]
        for server in servers:
            server.says("reading from")
        both = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        channel = stack.enter_context(
            grpc.insecure_channel(both, [("grpc.service_config", json.dumps(service_config))])
        )
        check = rpc.MembershipServiceStub(channel).CheckMembership
        done, failed, ended = itertools.count(), list[Exception](), threading.Event()
        count = [0]

        def load() -> None:
            while not ended.is_set():
                try:
                    assert check(CHECK, timeout=20).member
                    count[0] = next(done)
                except Exception as error:
                    failed.append(error)
                    return

        threads = [threading.Thread(target=load) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: count[0] > 500 or bool(failed), "both servers are under load")
            code = servers[0].end()
            before = count[0]
            wait_for(lambda: count[0] > before + 500 or bool(failed), "the other one goes on")
        finally:
            ended.set()
            for thread in threads:
                thread.join(30)
        assert failed == []
        assert code == 0


def wait_for(condition: Callable[[], bool], what: str) -> None:
    eventually(condition, what, 60)


@pytest.mark.postgres
def test_several_servers_share_a_port_where_they_are_told_to(shop: Shop) -> None:
    shop.fill()
    with closing(socket.create_server(("127.0.0.1", 0))) as held:
        listen = f"127.0.0.1:{held.getsockname()[1]}"
    # A connection of its own each time.
    options = [("grpc.use_local_subchannel_pool", 1)]

    def ask() -> bool:
        with grpc.insecure_channel(listen, options) as channel:
            return rpc.MembershipServiceStub(channel).CheckMembership(CHECK, timeout=20).member

    with serving(shop.url, grpc_listen=listen, grpc_share_port=True):
        with serving(shop.url, grpc_listen=listen, grpc_share_port=True):
            assert all(ask() for _ in range(20))
            alone = serving(shop.url, grpc_listen=listen)
            with pytest.raises(TidegateError, match="Is another server running there"), alone:
                raise AssertionError("the port is taken")
        assert all(ask() for _ in range(20))
