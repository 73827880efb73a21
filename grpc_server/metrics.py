"""Per-RPC counts and seconds for Prometheus, on a port of their own.

`tidegate_rpc_total{method,code}` and `tidegate_rpc_seconds{method}`; method is `Service/Method`
without the package of our own services, code the name of the gRPC status as the server ended the
call. Only methods that exist are counted, so a caller cannot make up labels. One registry per
server: two servers in one process keep apart.
"""

from collections.abc import Callable
from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from segmentation.errors import TidegateError

_OWN_PACKAGE = "/tidegate.v1."
_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._total = Counter("tidegate_rpc", "Calls ended, by gRPC status", ["method", "code"], registry=self.registry)
        self._seconds = Histogram(
            "tidegate_rpc_seconds", "Seconds from a call's arrival to its end", ["method"],
            buckets=_BUCKETS_S, registry=self.registry,
        )  # fmt: skip
        self.database_up = Gauge(
            "tidegate_database_up", "1 while the database answers the server, else 0", registry=self.registry
        )

    def ended(self, path: str) -> Callable[[str, float], None]:
        """What records the end of one call of `path` ("/package.Service/Method"): (code, seconds)."""
        name = path.removeprefix(_OWN_PACKAGE).removeprefix("/")
        observe = self._seconds.labels(name).observe
        codes: dict[str, Callable[[], None]] = {}

        def record(code: str, seconds: float) -> None:
            if code not in codes:
                codes[code] = self._total.labels(name, code).inc
            codes[code]()
            observe(seconds)

        return record

    def listen(self, host: str, port: int) -> tuple[WSGIServer, Thread]:
        """Serves /metrics until the server is shut down; its port is `.server_port`."""
        try:
            return start_http_server(port, addr=host, registry=self.registry)
        except OSError as error:
            raise TidegateError(
                f"Cannot serve metrics on {host}:{port}: {error.strerror}. Set server_metrics_port (0: none)."
            ) from None
