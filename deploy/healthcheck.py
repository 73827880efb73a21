"""Is the engine or the server of this container well? Exit code 0: yes; 1: no, and why on one line.

    python healthcheck.py metrics http://localhost:9101/metrics
    python healthcheck.py grpc localhost:50051

Stands alone, so that the image needs no other tools. For a server with TLS, `grpc` trusts the
certificate that the server itself was given.
"""

import os
import sys
import urllib.error
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 4


def metrics(url: str) -> str | None:
    """None, or why the engine is not well. It answers before its first event, and while it rebuilds."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            text: str = answer.read().decode()
    except (urllib.error.URLError, OSError) as error:
        return f"{url}: {error}"
    return None if "tidegate_" in text else f"{url}: answers, but has no metrics of Tidegate"


def grpc(target: str) -> str | None:
    """None, or why the server does not serve, as its own health service tells."""
    import grpc as library
    from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
    from grpc_health.v1.health_pb2_grpc import HealthStub

    cert = os.environ.get("TIDEGATE_GRPC_TLS_CERT")
    if cert:
        with open(cert, "rb") as file:
            credentials = library.ssl_channel_credentials(file.read())
        channel = library.secure_channel(target, credentials)
    else:
        channel = library.insecure_channel(target)
    with channel:
        try:
            health: Any = HealthStub(channel)
            answer = health.Check(HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except library.RpcError as error:
            return f"{target}: {error.code().name}: {error.details()}"
    status = HealthCheckResponse.ServingStatus.Name(answer.status)
    return None if status == "SERVING" else f"{target}: {status}"


def main(arguments: list[str]) -> int:
    checks = {"metrics": metrics, "grpc": grpc}
    if len(arguments) != 2 or arguments[0] not in checks:
        print(__doc__, file=sys.stderr)
        return 2
    problem = checks[arguments[0]](arguments[1])
    if problem:
        print(problem, file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
