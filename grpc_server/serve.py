"""The gRPC server: `serve` for a process, `start` for whoever has an event loop already.

Starts whether or not the database is there: it listens at once, says NOT_SERVING and UNAVAILABLE until
the database answers, and again whenever it stops answering.

On SIGTERM or SIGINT it says NOT_SERVING, serves `grpc_drain` seconds more, takes no further calls, lets those in
flight end (`GRACE_S` at most) and returns; a second signal ends it at once. The draining is for callers and load
balancers that heed health: gRPC drops calls that arrive in the instant of its shutdown (CANCELLED).
"""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Thread
from wsgiref.simple_server import WSGIServer

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from grpc_server import database, fast, listen, reflection
from grpc_server.auth import Tokens
from grpc_server.edge import Calls, Edge
from grpc_server.explainer import Explainer
from grpc_server.feed import Feed
from grpc_server.generated.tidegate.v1 import membership_pb2, membership_pb2_grpc, segments_pb2, segments_pb2_grpc
from grpc_server.keeping import Cache
from grpc_server.membership import MembershipService
from grpc_server.metrics import Metrics
from grpc_server.rates import Rates
from grpc_server.segments import SegmentService
from segmentation.errors import TidegateError
from storage.checking import Checks
from storage.interpreter import undisturbed
from storage.postgres import address
from storage.reader import MembershipReader, Pool, connection_arguments
from storage.settings import Settings

log = logging.getLogger(__name__)

#: Seconds that calls in flight are given when the server ends.
GRACE_S = 10.0

#: Calls in flight, per database connection; more are told OVERLOADED rather than let wait for long.
CALLS_PER_CONNECTION = 250

#: Seconds after which a connection to a shared port is ended in order (its calls go on), so that connections come to
#: the processes that were started last, too.
CONNECTION_AGE_S = 300.0

_MESSAGE_BYTES_MAX = 4 * 1024 * 1024
_OWN_SERVICES = (
    membership_pb2.DESCRIPTOR.services_by_name["MembershipService"].full_name,
    segments_pb2.DESCRIPTOR.services_by_name["SegmentService"].full_name,
)
_OPTIONS = (
    ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
    # Load balancers keep idle connections open with pings; the default calls that abuse.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass
class RunningServer:
    """A server that listens. `address` is HOST:PORT as bound; `metrics_port` None: no metrics."""

    address: str
    port: int
    metrics_port: int | None
    _server: grpc.aio.Server = field(repr=False)
    _health: health.aio.HealthServicer = field(repr=False)
    _watch: database.Watch = field(repr=False)
    _feed: Feed = field(repr=False)
    tasks: list[asyncio.Task[None]] = field(repr=False)
    _calls: Pool = field(repr=False)
    _metrics: tuple[WSGIServer, Thread] | None = field(repr=False)
    _cache: Cache | None = field(repr=False)
    _stopped: bool = field(default=False, repr=False)

    @property
    def watchers(self) -> int:
        """Streams of WatchTransitions that are open."""
        return self._feed.followers

    @property
    def answers_from_memory(self) -> bool:
        return self._cache is not None and self._cache.copy() is not None

    async def ready(self, timeout: float = 30.0) -> None:
        """Until the database answers; raises TimeoutError."""
        async with asyncio.timeout(timeout):
            await self._watch.up.wait()

    async def stop(self, grace: float = GRACE_S, drain: float = 0.0) -> None:
        """Says NOT_SERVING, ends the streams of watchers, serves `drain` seconds more, takes no further calls, waits up
        to `grace` seconds for those in flight, and lets go of everything.
        """
        if self._stopped:
            return
        self._stopped = True
        await self._health.enter_graceful_shutdown()
        self._feed.end()
        await asyncio.sleep(drain)
        await self._server.stop(grace)
        left = set(self.tasks)
        for _ in range(round(GRACE_S)):
            for task in left:
                task.cancel()
            # Again: where what a task waits for has just come about, the first request may pass it by; and one that
            # asks a silent database to drop a query waits for the answer, until it is asked once more.
            if left:
                _, left = await asyncio.wait(left, timeout=1.0)
        for task in left:
            log.warning("%s does not end; left behind", task.get_name())
        await self._calls.close(timeout=1.0)
        if self._metrics is not None:
            server, thread = self._metrics
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()


async def start(settings: Settings, further: Sequence[grpc.GenericRpcHandler] = ()) -> RunningServer:
    """Listens on `settings.grpc_listen` (port 0: any free one). further: other methods, behind the same edge.

    Raises TidegateError where it must not or cannot."""
    listen.require_safe(settings)
    url = settings.database_url.get_secret_value()
    calls = database.pool(url, settings.grpc_connections)
    metrics = Metrics()
    most = settings.grpc_connections * CALLS_PER_CONNECTION
    slots = Calls(most)
    themselves = fast.METHODS if settings.grpc_cache else ()
    edge = Edge(Tokens(settings.grpc_tokens), metrics, slots, Rates(settings.grpc_rate), themselves)
    server = grpc.aio.server(interceptors=[edge], options=[
        *_OPTIONS,
        # Two servers on one port share its calls at random; where nobody wants that, the second is to fail instead.
        ("grpc.so_reuseport", int(settings.grpc_share_port)),
        *([("grpc.max_connection_age_ms", round(CONNECTION_AGE_S * 1_000))] if settings.grpc_share_port else []),
    ])  # fmt: skip
    status = health.aio.HealthServicer()
    checks = Checks(connection_arguments(url))
    reader = MembershipReader(calls, address(url), checks)
    feed = Feed(reader)
    explainer = Explainer(settings)
    membership = MembershipService(reader, feed, explainer)
    cache = Cache(url, settings.grpc_cache_max_age) if settings.grpc_cache else None
    membership_pb2_grpc.add_MembershipServiceServicer_to_server(membership, server)
    if cache is not None:
        fast.add(server, cache, membership, slots)
    server.add_generic_rpc_handlers(tuple(further))
    segments_pb2_grpc.add_SegmentServiceServicer_to_server(SegmentService(reader), server)
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    if settings.grpc_reflection:
        reflection.enable((*_OWN_SERVICES, health.SERVICE_NAME), server)

    async def changed(up: bool) -> None:
        response = health_pb2.HealthCheckResponse
        for service in ("", *_OWN_SERVICES):
            await status.set(service, response.SERVING if up else response.NOT_SERVING)
        metrics.database_up.set(up)

    await changed(False)
    port = listen.bind(server, settings)
    host = settings.grpc_listen.rpartition(":")[0]
    serving = None
    try:
        if settings.server_metrics_port:
            serving = metrics.listen(settings.metrics_host, settings.server_metrics_port)
    except TidegateError:
        await server.stop(None)
        raise
    watch = database.Watch(url, calls, changed)
    await calls.open(wait=False)
    await server.start()
    running = RunningServer(
        f"{host}:{port}", port, serving and serving[0].server_port, server, status, watch, feed,
        [asyncio.create_task(watch.run(), name="database watch"), asyncio.create_task(feed.run(), name="feed"),
         asyncio.create_task(explainer.run(), name="explainer"), asyncio.create_task(checks.run(), name="checks")],
        calls, serving, cache,
    )  # fmt: skip
    if cache is not None:
        running.tasks.append(asyncio.create_task(cache.run(), name="cache"))
    log.info(
        "gRPC on %s (%s, %s)%s", running.address, "TLS" if settings.grpc_tls_cert else "no TLS",
        "tokens" if settings.grpc_tokens else "no tokens",
        f", metrics on {settings.metrics_host}:{running.metrics_port}" if serving else "",
    )  # fmt: skip
    return running


def serve(settings: Settings, supervised: bool = False) -> None:
    """Runs the server until SIGTERM or SIGINT, then returns. Raises TidegateError if it cannot start.

    supervised: standard input is a line to a supervisor; its end is the server's, too."""
    asyncio.run(_serve(settings, supervised))


async def _serve(settings: Settings, supervised: bool) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if supervised:
        end_with(0, ended)
    running = await start(settings)
    with undisturbed():
        await ended.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)  # a second one ends the process at once
    drain = settings.grpc_drain
    log.info("ending: NOT_SERVING now, no further calls in %g s, up to %g s for the last ones", drain, GRACE_S)
    await running.stop(drain=drain)
    log.info("ended")


def end_with(line: int, ended: asyncio.Event) -> None:
    """Sets `ended` when nobody holds the other end of the descriptor `line` any more."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        if not os.read(line, 1):
            loop.remove_reader(line)
            ended.set()

    loop.add_reader(line, look)
