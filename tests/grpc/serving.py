"""A server in a thread of its own, real channels to it, and what its errors carry."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_status import rpc_status

from grpc_server.generated.tidegate.v1 import membership_pb2_grpc, segments_pb2_grpc
from grpc_server.serve import RunningServer, start
from storage.settings import Settings

T = TypeVar("T")
DEADLINE_S = 20.0


@dataclass
class Serving:
    running: RunningServer
    loop: asyncio.AbstractEventLoop
    channel: grpc.Channel

    def __post_init__(self) -> None:
        self.membership = membership_pb2_grpc.MembershipServiceStub(self.channel)
        self.segments = segments_pb2_grpc.SegmentServiceStub(self.channel)
        self.health: Any = health_pb2_grpc.HealthStub(self.channel)

    def raw(self, method: str) -> Callable[..., Any]:
        """A call of bytes, of any method: "/package.Service/Method"."""
        return raw(self.channel, method)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` in the server's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


def raw(channel: Any, method: str) -> Callable[..., Any]:
    call: Callable[..., Any] = channel.unary_unary(method)
    return call


def bearer(token: str) -> tuple[tuple[str, str | bytes], ...]:
    return (("authorization", f"Bearer {token}"),)


def settings(url: str, **given: Any) -> Settings:
    return Settings(**{"database_url": url, "grpc_listen": "127.0.0.1:0", "server_metrics_port": 0, **given})


@contextmanager
def serving(
    url: str, *, ready: bool = True, credentials: grpc.ChannelCredentials | None = None, **given: Any
) -> Iterator[Serving]:
    """A running server with `settings(url, **given)`; `credentials`: of the client, for TLS."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        running = asyncio.run_coroutine_threadsafe(start(settings(url, **given)), loop).result(60)
        try:
            if ready:
                asyncio.run_coroutine_threadsafe(running.ready(), loop).result(60)
            target = f"localhost:{running.port}"
            with grpc.secure_channel(target, credentials) if credentials else grpc.insecure_channel(target) as channel:
                yield Serving(running, loop, channel)
        finally:
            asyncio.run_coroutine_threadsafe(running.stop(grace=5), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass(frozen=True)
class Failure:
    code: grpc.StatusCode
    message: str
    reason: str
    metadata: dict[str, str]
    fields: list[str]
    retry_s: float | None


def failure(call: Callable[..., Any], request: Message, **options: Any) -> Failure:
    """Makes a call that must fail, and returns what the caller can find out from it."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, **{"timeout": DEADLINE_S, **options})
    return failure_of(caught.value)


def failure_of(error: Any) -> Failure:
    status = rpc_status.from_call(error)
    assert status is not None, f"no details in {error}"
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    found = {type(wanted) for detail in status.details for wanted in (info, bad, retry) if detail.Unpack(wanted)}
    assert info.domain == "tidegate"
    return Failure(
        error.code(), error.details(), info.reason, dict(info.metadata),
        [violation.field for violation in bad.field_violations],
        retry.retry_delay.ToTimedelta().total_seconds() if type(retry) in found else None,
    )  # fmt: skip
