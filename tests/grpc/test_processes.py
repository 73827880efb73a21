"""Several server processes on one port: one that is lost comes back, and an end fails no call."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import psutil
import pytest

from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.generated.tidegate.v1 import membership_pb2_grpc as rpc
from grpc_server.processes import reserved
from segmentation.errors import TidegateError
from tests.grpc.proxy import eventually
from tests.grpc.serving import serving
from tests.grpc.shop import Shop
from tests.grpc.test_process import Process

CHECK = pb.CheckMembershipRequest(user_id="ann", segment="big_spenders")
ROOT = Path(__file__).parents[2]


@contextmanager
def supervised(url: str, folder: Path, *words: str, **variables: str) -> Iterator[Process]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")},
        "PYTHONPATH": str(ROOT), "TIDEGATE_DATABASE_URL": url, "TIDEGATE_SERVER_METRICS_PORT": "0",
        "TIDEGATE_GRPC_DRAIN": "0.5", **variables,
    }  # fmt: skip
    command = [sys.executable, "-m", "console.main", "serve", "--listen", "127.0.0.1:0", "--processes", "2", *words]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as popen:
        started = psutil.Process(popen.pid)
        try:
            yield Process(popen)
        finally:
            children = started.children() if popen.poll() is None else []
            popen.kill()
            for child in children:
                child.kill()


def ask(port: str) -> bool:
    """By a connection of its own."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
        return rpc.MembershipServiceStub(channel).CheckMembership(CHECK, timeout=20, wait_for_ready=True).member


@pytest.mark.postgres
def test_one_that_is_lost_comes_back_and_all_end_in_order(shop: Shop, tmp_path: Path) -> None:
    shop.fill()
    with supervised(shop.url, tmp_path, TIDEGATE_GRPC_CACHE="true") as server:
        port = server.says(r"2 processes on 127\.0\.0\.1:(\d+)")[1]
        for number in (0, 1):
            server.says(rf"\[{number}\] .*gRPC on 127\.0\.0\.1:{port}")
            server.says(rf"\[{number}\] .*users in memory")
        assert all(ask(port) for _ in range(10))
        children = psutil.Process(server.process.pid).children()
        assert len(children) == 2
        children[1].kill()
        server.says(r"process \d was ended by SIGKILL; starting it again in 0\.1 s")
        eventually(lambda: sum("users in memory" in line for line in server.lines) == 3, "it serves again", 60)
        assert all(ask(port) for _ in range(10))
        failed = list[grpc.RpcError]()

        def load() -> None:
            """Until the server says that it ends: what comes after is for another server."""
            with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel:
                check = rpc.MembershipServiceStub(channel).CheckMembership
                while not any("ending: NOT_SERVING" in line for line in server.lines):
                    try:
                        check(CHECK, timeout=20)
                    except grpc.RpcError as error:
                        failed.append(error)
                        return

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert server.end() == 0
        for thread in threads:
            thread.join(60)
        assert failed == []
        assert not any(child.is_running() for child in children)
        assert not any("Traceback" in line for line in server.lines)


@pytest.mark.postgres
def test_nobody_is_left_behind(shop: Shop, tmp_path: Path) -> None:
    with supervised(shop.url, tmp_path) as server:
        for number in (0, 1):
            server.says(rf"\[{number}\] .*reading from")
        children = psutil.Process(server.process.pid).children()
        assert len(children) == 2
        server.process.send_signal(signal.SIGKILL)
        _, left = psutil.wait_procs(children, timeout=60)
        assert not left


def test_what_no_new_start_cures_ends_it(tmp_path: Path) -> None:
    missing = {"TIDEGATE_GRPC_TLS_CERT": "none.pem", "TIDEGATE_GRPC_TLS_KEY": "none.key"}
    with supervised("postgresql://localhost/none", tmp_path, **missing) as server:
        server.says("grpc_tls_cert: cannot read none.pem")
        assert server.process.wait(60) == 2


def test_a_port_that_is_taken() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening, closing(reserved("127.0.0.1:0")) as held:
        for taken in (listening, held):
            with pytest.raises(TidegateError, match="Is another server running there"):
                reserved(f"127.0.0.1:{taken.getsockname()[1]}")


@pytest.mark.postgres
def test_connections_of_a_shared_port_are_ended_without_a_failed_call(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_server.serve.CONNECTION_AGE_S", 0.1)
    shop.fill()
    with serving(shop.url, grpc_share_port=True, grpc_cache=True) as server:
        states = list[grpc.ChannelConnectivity]()
        server.channel.subscribe(states.append)

        def ask() -> bool:
            assert server.membership.CheckMembership(CHECK, timeout=20).member
            return states.count(grpc.ChannelConnectivity.READY) > 3

        eventually(ask, "connections have been ended and made anew", 60)
