"""Start the engine: what `tidegate run` and `python -m bytewax.run` have in common."""

import logging
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

from bytewax.run import cli_main

from flows import kafka, metrics, relay
from flows.dataflow import build
from flows.engine import Engine, Goal
from flows.placement import Placement, bytewax_placement
from flows.progress import follow
from flows.rebuild import rebuild_all
from flows.signals import stopping
from segmentation.errors import TidegateError
from storage import disk
from storage.settings import Settings, load

log = logging.getLogger("tidegate.engine")

#: Bytewax's epochs serve its recovery store, which nothing here needs; each new one makes the source
#: wait until everything before it has gone through.
EPOCH = timedelta(hours=1)
#: Between looks at the number of partitions, s.
PARTITIONS_SECONDS = 5.0


def run(
    settings: Settings,
    workers: int = 1,
    process_id: int | None = None,
    addresses: Sequence[str] | None = None,
    until_end: bool = False,
    finish_at: int | None = None,
    rebuild: bool = False,
    stop: threading.Event | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`, then drain and return; raise TidegateError where it cannot go on.

    workers: Bytewax workers (threads) of this process. process_id, addresses ("host:port" of every
    process, in order): a cluster. until_end: read to the end of the topic as it is now and return.
    finish_at: with clock "event" and until_end, the time (µs) up to which windows are expired then.
    rebuild: read the topic from its beginning with the present definitions and write only the differences.
    """
    placement = Placement(settings.shards, workers, process_id or 0, len(addresses) if addresses else 1)
    stop = stop or threading.Event()
    started = threading.Event()
    with stopping(stop, started), _quietly_stopped():
        if rebuild:
            if placement.processes > 1:
                raise TidegateError("a rebuild is done by one process: start it alone, then the cluster without it.")
            rebuild_all(settings, stop)
        engine = Engine.open(settings, placement, Goal(until_end, finish_at), stop)
        engine.started = started
        with _around(engine):
            _run(engine, addresses)
        if engine.fatal is not None:
            raise engine.fatal


def _run(engine: Engine, addresses: Sequence[str] | None) -> None:
    try:
        cli_main(  # type: ignore[no-untyped-call]
            build(engine),
            workers_per_process=engine.placement.workers,
            process_id=engine.placement.process if addresses else None,
            addresses=list(addresses) if addresses else None,
            epoch_interval=EPOCH,
        )
    except BaseException as error:
        # What the operators have to say is in engine.fatal. This is Bytewax itself: in a cluster, mostly a
        # lost process, of which it speaks by a panic, which is no Exception.
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        words = str(error).splitlines()[0] if str(error) else type(error).__name__
        if engine.placement.processes > 1:
            words += "; another process of the cluster has probably ended. Start all of them again"
        else:
            words += ". Start it again"
        engine.fail(TidegateError(f"the flow broke off: {words}: it goes on where the database says."))


@contextmanager
def _quietly_stopped() -> Iterator[None]:
    """A stop while something was waited for is an end like any other."""
    try:
        yield
    except kafka.Stopped:
        log.info("stopped before it began")


@contextmanager
def _around(engine: Engine) -> Iterator[None]:
    """What runs beside the flow: metrics; in the first process the relay; in a cluster the others' progress."""
    metrics.storage_free.set_function(lambda: disk.free_bytes(engine.settings.storage_url) or 0)
    end_metrics = metrics.serve(engine.settings.metrics_host, engine.settings.engine_metrics_port)
    end = threading.Event()
    beside = []
    if engine.placement.process == 0:
        beside.append(threading.Thread(target=relay.relay_forever, args=(engine.settings, end), name="relay"))
        beside.append(threading.Thread(target=watch_partitions, args=(engine, end), name="partitions"))
    if engine.placement.processes > 1:
        beside.append(threading.Thread(target=follow, args=(engine.settings, engine.pace, end), name="progress"))
    for thread in beside:
        thread.start()
    try:
        yield
    finally:
        engine.close()
        end.set()
        for thread in beside:
            thread.join()
        end_metrics()


def watch_partitions(engine: Engine, end: threading.Event) -> None:
    """Partitions that nobody reads would make the answers wrong, so a grown topic ends the flow."""
    topic = engine.settings.events_topic
    while not end.wait(PARTITIONS_SECONDS):
        try:
            count = kafka.partition_count(engine.settings, topic, stop=end)
        except (TidegateError, kafka.Stopped):
            continue
        if count > engine.partitions:
            engine.fail(
                TidegateError(
                    f"topic {topic} has {count} partitions now and had {engine.partitions} when the engine started. "
                    "Start the engine again; it goes on where it is and reads the new ones too."
                )
            )
            return


def open_for_bytewax() -> Engine:
    """The engine for `python -m bytewax.run`, which calls nothing of ours when the flow ends."""
    settings = load()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop, started = threading.Event(), threading.Event()
    signals = stopping(stop, started)
    signals.__enter__()
    try:
        engine = Engine.open(settings, bytewax_placement(settings.shards), Goal(), stop)
    except TidegateError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except kafka.Stopped:
        raise SystemExit(0) from None
    around = _around(engine)
    engine.started = started
    around.__enter__()

    def end() -> None:
        around.__exit__(None, None, None)
        signals.__exit__(None, None, None)
        if engine.fatal is not None:
            log.error("%s", engine.fatal)
            logging.shutdown()
            os._exit(2)

    # Not atexit: threads are waited for before it runs, and ours end only when told.
    threading._register_atexit(end)  # type: ignore[attr-defined]
    return engine
