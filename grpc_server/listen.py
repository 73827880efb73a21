"""Where the server listens, and when it refuses to: beyond loopback only with TLS and tokens."""

import ipaddress
from pathlib import Path

import grpc

from segmentation.errors import TidegateError
from storage.settings import Settings


def host_of(listen: str) -> str:
    """The host of `HOST:PORT`, without the brackets of IPv6. Raises TidegateError for anything else."""
    host, colon, port = listen.rpartition(":")
    plain = host.removeprefix("[").removesuffix("]")
    if not colon or not plain or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise _bad(listen)
    if ":" in plain and not host.startswith("["):
        raise _bad(listen)
    return plain


def require_safe(settings: Settings) -> None:
    """Raises TidegateError if strangers could reach the server and nothing would keep them out."""
    host = host_of(settings.grpc_listen)
    if (settings.grpc_tls_cert is None) != (settings.grpc_tls_key is None):
        raise TidegateError("TLS needs both grpc_tls_cert and grpc_tls_key; one of them is missing.")
    if settings.grpc_insecure or _loopback(host):
        return
    missing = [name for name, there in (("grpc_tls_cert and grpc_tls_key", settings.grpc_tls_cert),
                                        ("grpc_tokens", settings.grpc_tokens)) if not there]  # fmt: skip
    if missing:
        raise TidegateError(
            f"grpc_listen is {settings.grpc_listen}, which other machines can reach, without {' and '.join(missing)}. "
            "Set them, or listen on 127.0.0.1, or say grpc_insecure: true where the network itself is trusted."
        )


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """TLS as the settings say; None: plain text."""
    if settings.grpc_tls_cert is None or settings.grpc_tls_key is None:
        return None
    cert, key = _pem(settings.grpc_tls_cert, "grpc_tls_cert"), _pem(settings.grpc_tls_key, "grpc_tls_key")
    return grpc.ssl_server_credentials([(key, cert)])


def bind(server: grpc.aio.Server, settings: Settings) -> int:
    """Binds and returns the port, which is another than the settings' only where that is 0."""
    secret = credentials(settings)
    try:
        if secret is None:
            port = server.add_insecure_port(settings.grpc_listen)
        else:
            port = server.add_secure_port(settings.grpc_listen, secret)
    except RuntimeError:
        port = 0
    if not port:
        raise TidegateError(
            f"Cannot listen on {settings.grpc_listen}. Is another server running there? "
            "Set grpc_listen, and check the certificate if there is one."
        )
    return port


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _pem(path: Path, setting: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TidegateError(f"{setting}: cannot read {path}: {error.strerror}.") from None
    if b"-----BEGIN" not in data:
        raise TidegateError(f"{setting}: {path} is not a PEM file.")
    return data


def _bad(listen: str) -> TidegateError:
    return TidegateError(f"grpc_listen: {listen!r} is not HOST:PORT, such as 127.0.0.1:50051 or [::1]:50051.")
