"""The gRPC side of commands that ask the server: one channel, and errors a person can act on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from grpc_server.generated.tidegate.v1 import definition_pb2, membership_pb2_grpc, segments_pb2_grpc
from segmentation.errors import TidegateError

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

DEADLINE_S = 10.0


def server_flags(command: Decorated) -> Decorated:
    """--server, --token and --tls-ca, as keyword arguments of those names."""
    command = click.option(
        "--tls-ca", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
        help="Certificate authority (PEM) of a server with TLS.",
    )(command)
    command = click.option(
        "--token", envvar="TIDEGATE_TOKEN", metavar="TOKEN", help="Access token. Better: variable TIDEGATE_TOKEN."
    )(command)
    return click.option(
        "--server", envvar="TIDEGATE_SERVER", metavar="HOST:PORT",
        help="gRPC server.  [default: grpc_listen of the settings, 127.0.0.1:50051]",
    )(command)


@dataclass(frozen=True, slots=True)
class Server:
    """Stubs of one server; `ask` makes a call and turns its failure into a TidegateError."""

    address: str
    token: str | None
    membership: Any
    segments: Any

    def ask(self, method: Callable[..., Any], request: Any) -> Any:
        metadata = [("authorization", f"Bearer {self.token}")] if self.token else None
        try:
            return method(request, timeout=DEADLINE_S, metadata=metadata)
        except grpc.RpcError as error:
            raise TidegateError(_words(error, self.address)) from None


@contextmanager
def connect(address: str, token: str | None, tls_ca: Path | None) -> Iterator[Server]:
    if tls_ca is not None:
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(tls_ca.read_bytes()))
    else:
        channel = grpc.insecure_channel(address)
    with channel:
        yield Server(
            address, token, membership_pb2_grpc.MembershipServiceStub(channel),
            segments_pb2_grpc.SegmentServiceStub(channel),
        )  # fmt: skip


def server_address(server: str | None, config: Path | None) -> str:
    """The flag, else what the settings let the server listen on (0.0.0.0 is reached as 127.0.0.1)."""
    if server:
        return server
    from console.options import load_settings

    listen: str = load_settings(config).grpc_listen
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("0.0.0.0", "[::]", "") else listen


def state_name(definition: definition_pb2.DefinitionStatus) -> str:
    """`complete`, `building`, ..."""
    name: str = definition_pb2.SegmentState.Name(definition.state)
    return name.removeprefix("SEGMENT_STATE_").lower()


def definition_object(definition: definition_pb2.DefinitionStatus) -> dict[str, Any]:
    result: dict[str, Any] = {"version": definition.version, "state": state_name(definition)}
    if definition.HasField("complete_since"):
        result["complete_since"] = time_text(definition.complete_since)
    if definition.HasField("held_since"):
        result["held_since"] = time_text(definition.held_since)
    return result


def time_text(stamp: Any) -> str:
    from console.output import rfc3339

    return rfc3339(stamp.seconds * 1_000_000 + stamp.nanos // 1_000)


def _words(error: grpc.RpcError, address: str) -> str:
    code, details = error.code(), error.details() or ""
    info, near = _info(error)
    if code is grpc.StatusCode.UNAVAILABLE and info is None:
        return f"no gRPC server answers at {address}. Start it with `tidegate serve`, or give --server HOST:PORT."
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the gRPC server at {address} did not answer within {DEADLINE_S:.0f} s."
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return f"{address}: {details} Give --token, or set TIDEGATE_TOKEN."
    if near and near not in details:
        details += f" Did you mean {near!r}?"
    return details or f"{address}: {code.name}"


def _info(error: grpc.RpcError) -> tuple[str | None, str]:
    """(reason, name that is close) of google.rpc.ErrorInfo; (None, "") without one."""
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # a failed call is both
    except ValueError:
        return None, ""
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Is(info.DESCRIPTOR) and detail.Unpack(info):
            return info.reason, info.metadata.get("did_you_mean", "")
    return None, ""
