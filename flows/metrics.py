"""The engine's Prometheus metrics, and the HTTP endpoint that shows them.

One registry per process. Histograms over events take a whole poll at once; nothing here is called
per event.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from wsgiref.simple_server import WSGIServer

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from flows import clock
from segmentation.errors import TidegateError
from segmentation.types import NEVER

REGISTRY = CollectorRegistry()

events = Counter("tidegate_events", "Events taken from Kafka and evaluated", registry=REGISTRY)
rejected = Counter("tidegate_events_rejected", "Messages refused", ["reason"], registry=REGISTRY)
repeated = Counter("tidegate_events_repeated", "Events that had been counted before", registry=REGISTRY)
dropped = Counter(
    "tidegate_events_dropped", "Events that are not after the erasure of their user", registry=REGISTRY
)
erased = Counter("tidegate_users_erased", "Tombstones that were followed", registry=REGISTRY)
late = Counter("tidegate_events_late", "Events behind the watermark when they arrived", registry=REGISTRY)
transitions = Counter(
    "tidegate_transitions", "Users entering and leaving segments", ["segment", "direction"], registry=REGISTRY
)
pruned = Counter("tidegate_pruned", "Entries and exits that left the log (setting history)", registry=REGISTRY)
lag = Gauge("tidegate_lag_messages", "Messages not in the membership yet", ["partition"], registry=REGISTRY)
scattered = Gauge(
    "tidegate_scattered_users", "Users who have had events in several partitions", ["shard"], registry=REGISTRY
)
outbox = Gauge("tidegate_outbox_messages", "Messages that wait to be sent to Kafka", registry=REGISTRY)
storage_free = Gauge("tidegate_storage_free_bytes", "Free space below storage_url", registry=REGISTRY)
batch_rows = Histogram(
    "tidegate_batch_rows",
    "Events of one evaluation of one shard",
    buckets=(1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
    registry=REGISTRY,
)
evaluation_seconds = Histogram(
    "tidegate_evaluation_seconds",
    "One evaluation of one shard",
    buckets=(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
    registry=REGISTRY,
)
commit_seconds = Histogram(
    "tidegate_commit_seconds",
    "One transaction of the database",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
    registry=REGISTRY,
)
publish_seconds = Histogram(
    "tidegate_publish_seconds",
    "One batch of messages to Kafka",
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30),
    registry=REGISTRY,
)
published = Counter("tidegate_messages_sent", "Messages sent to Kafka", ["kind"], registry=REGISTRY)
segments_held = Gauge("tidegate_segments_held", "Segments whose answers stand still until they are released",
                      registry=REGISTRY)  # fmt: skip
partitions_silent = Gauge("tidegate_partitions_silent", "Partitions of the events that had messages, and have none now",
                          registry=REGISTRY)  # fmt: skip
held = Gauge("tidegate_messages_held", "Messages that Kafka refuses; they wait in the outbox", registry=REGISTRY)

audit_answers = Counter("tidegate_audit_answers", "Answers that DuckDB was asked again, by outcome", ["outcome"],
                        registry=REGISTRY)  # fmt: skip
audit_rate = Gauge("tidegate_audit_mismatch_rate", "Share of wrong answers in the last round of the audit",
                   registry=REGISTRY)  # fmt: skip
audit_open = Gauge("tidegate_audit_mismatches", "Answers that the last round of the audit found wrong",
                   registry=REGISTRY)  # fmt: skip
audit_seconds = Counter("tidegate_audit_cpu_seconds", "Processor time of the audit", registry=REGISTRY)
audit_last = Gauge("tidegate_audit_last_timestamp_seconds", "When the last round of the audit was done",
                   registry=REGISTRY)  # fmt: skip


class _EventToCommit(Collector):
    """Histogram of seconds from a message's Kafka timestamp to the commit of its consequences."""

    BOUNDS = np.array([0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60])

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = np.zeros(len(self.BOUNDS) + 1, np.int64)
        self._sum = 0.0

    def observe(self, seconds: NDArray[np.float64]) -> None:
        counts = np.bincount(np.searchsorted(self.BOUNDS, seconds), minlength=len(self._counts))
        with self._lock:
            self._counts += counts
            self._sum += float(seconds.sum())

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            cumulated, total = self._counts.cumsum(), self._sum
        bounds = [*(f"{bound:g}" for bound in self.BOUNDS), "+Inf"]
        family = HistogramMetricFamily("tidegate_event_to_commit_seconds", "From the producer's stamp to the commit")
        family.add_metric([], [(bound, float(count)) for bound, count in zip(bounds, cumulated)], total)
        yield family


class _WatermarkAge(Collector):
    """Asked at each scrape, so that a stuck shard is seen to grow old."""

    def __init__(self) -> None:
        self._watermarks: dict[int, int] = {}

    def set(self, shard: int, watermark: int) -> None:
        self._watermarks[shard] = watermark

    def forget(self) -> None:
        self._watermarks.clear()

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "tidegate_watermark_age_seconds", "Wall time minus the committed watermark", labels=["shard"]
        )
        now = clock.now_us()
        for shard, watermark in sorted(dict(self._watermarks).items()):
            if watermark > NEVER:
                family.add_metric([str(shard)], (now - watermark) / 1e6)
        yield family


event_to_commit = _EventToCommit()
watermark_age = _WatermarkAge()
REGISTRY.register(event_to_commit)
REGISTRY.register(watermark_age)


def serve(host: str, port: int) -> Callable[[], None]:
    """Start the endpoint; call the result to end it. Port 0: none."""
    if port == 0:
        return lambda: None
    try:
        server, thread = start_http_server(port, host, registry=REGISTRY)
    except (OSError, OverflowError) as error:
        raise TidegateError(
            f"cannot offer metrics on {host}:{port} ({getattr(error, 'strerror', None) or error}). "
            "Set `engine_metrics_port` (TIDEGATE_ENGINE_METRICS_PORT) to a free port, or to 0 for none."
        ) from error
    return lambda: _end(server, thread)


def _end(server: WSGIServer, thread: threading.Thread) -> None:
    server.shutdown()
    server.server_close()
    thread.join()


def values(name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Samples of this process's metric, for status lines and tests."""
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name == name:
                yield dict(sample.labels), sample.value
