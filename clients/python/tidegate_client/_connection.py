"""How a server is reached: channels, TLS, the token. The same for both clients."""

from collections.abc import Sequence
from pathlib import Path

import grpc

Metadata = tuple[tuple[str, str], ...]

#: Seconds, for a call without a `timeout` of its own.
TIMEOUT_S = 2.0
CHANNELS = 2
BATCH_MAX = 1_000
PAGE_SIZE = 1_000

OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.use_local_subchannel_pool", 1),  # else all channels would share one connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A server that vanished without a word is noticed by those who only listen.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
)


def credentials(tls: bool | Path | bytes) -> grpc.ChannelCredentials | None:
    """None: plain text. True: the machine's authorities; a path or PEM bytes: these."""
    if tls is False:
        return None
    if tls is True:
        return grpc.ssl_channel_credentials()
    return grpc.ssl_channel_credentials(tls.read_bytes() if isinstance(tls, Path) else tls)


def metadata(target: str, token: str | None, tls: bool | Path | bytes, plaintext_token: bool) -> Metadata:
    if token is None:
        return ()
    if tls is False and not plaintext_token and not _local(target):
        raise ValueError(
            f"The token would go to {target} in plain text. Give tls=True or tls=Path('ca.pem'), or say "
            "plaintext_token=True where the network itself is trusted."
        )
    return (("authorization", f"Bearer {token}"),)


def _local(target: str) -> bool:
    host = target.removeprefix("dns:").lstrip("/").rpartition(":")[0].strip("[]")
    return target.startswith("unix:") or host in ("localhost", "::1") or host.startswith("127.")
