"""Start the engine: what `tidegate run` and `python -m bytewax.run` have in common."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta

from bytewax.run import cli_main

from flows import kafka, metrics, relay
from flows.auditing import audit_forever
from flows.backlog import watch_outbox
from flows.dataflow import build
from flows.deploying import begin_switch, conclude, take_up, watch_deployments
from flows.engine import Engine, Goal
from flows.errors import AGAIN, StartAgain, unexpected
from flows.holding import watch_holds
from flows.partitions import there_are, topic_of
from flows.placement import Placement, bytewax_placement
from flows.progress import Progress, follow
from flows.pruning import prune_forever
from flows.rebuild import rebuild_all
from flows.signals import BROKEN_SECONDS, PATIENCE_SECONDS, Ending, stopping
from flows.supervised import Link
from segmentation import native
from segmentation.errors import TidegateError
from storage import disk
from storage.commits import Fenced
from storage.interpreter import undisturbed
from storage.settings import Settings, load

log = logging.getLogger("tidegate.engine")

#: Bytewax's epochs serve its recovery store, which nothing here needs; each new one makes the source
#: wait until everything before it has gone through.
EPOCH = timedelta(hours=1)
#: Set when a cluster's flow has broken off: threads of Bytewax's may still run, and one that comes back to Python
#: while the interpreter ends aborts the process. So it is to end without that, by os._exit.
broken_off = threading.Event()
#: How long one thread keeps the interpreter while others want it, s; its default is what a whole evaluation takes.
SWITCH_SECONDS = 0.0005
#: Between looks at the number of partitions, s.
PARTITIONS_SECONDS = 5.0
#: How long after the flow began to end what runs beside it may go on, s: in order, after an error, and in any case.
#: What is left then, in the outbox say, is done after the next start.
BESIDE_SECONDS, ERROR_SECONDS, LEAST_SECONDS = 7.0, 3.0, 1.0


def run(
    settings: Settings,
    threads: int = 1,
    process_id: int | None = None,
    addresses: Sequence[str] | None = None,
    until_end: bool = False,
    finish_at: int | None = None,
    rebuild: bool = False,
    then_end: bool = False,
    stop: threading.Event | None = None,
    link: Link | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`, then drain and return.

    Raises TidegateError, with `passing` where a new start goes on (a lost process of the cluster,
    more partitions, a database that broke off); otherwise somebody has to do something first.

    threads: Bytewax workers of this process. process_id, addresses ("host:port" of every process, in
    order): a cluster. until_end: read to the end of the topic as it is now and return. finish_at: with
    clock "event" and until_end, the time (µs) up to which windows are expired then. rebuild: read the
    topic from its beginning with the present definitions and write only the differences; then_end:
    and return. link: to the supervisor of this process.
    """
    log.info("events are evaluated by %s", native.STATE)
    placement = Placement(settings.shards, threads, process_id or 0, len(addresses) if addresses else 1)
    stop, started = stop or threading.Event(), link.started if link is not None else threading.Event()
    with stopping(stop, started, link) as ending, _explained(stop), _metrics(settings, placement):
        if rebuild:
            if placement.processes > 1:
                raise TidegateError("a rebuild is done by one process: start it alone, then the cluster without it.")
            rebuild_all(settings, stop)
        if not (rebuild and then_end):
            while _once(settings, placement, Goal(until_end, finish_at), addresses, ending, link):
                pass
        if link is not None and not stop.is_set():
            link.done()


def _once(
    settings: Settings,
    placement: Placement,
    goal: Goal,
    addresses: Sequence[str] | None,
    ending: Ending,
    link: Link | None,
) -> bool:
    """One flow, from its beginning to its end; is there to be another one?"""
    ending.started.clear()
    take_up(settings, placement, goal, ending.stop)
    engine = Engine.open(settings, placement, goal, ending.stop)
    over = _connect(engine, ending)
    if link is not None:
        link.joining.set()
    with _around(engine):
        _run(engine, addresses)
    over.set()
    error, alone = _error(engine), placement.processes == 1
    conclude(engine, ending.stop)
    if error is not None and not (error.passing and engine.again and alone):
        raise error
    if ending.stop.is_set() or engine.again is None:
        return False
    if not alone:
        raise StartAgain(f"{engine.again.rstrip('.')}. This process has ended in order; start it again.")
    log.info("%s: starting again", engine.again)
    return True


def _error(engine: Engine) -> TidegateError | None:
    error = engine.fatal
    if error is not None and not isinstance(error, TidegateError):
        error = unexpected(error)
    if engine.placement.processes > 1 and (error.passing if error is not None else engine.again is not None):
        # Where all processes were replaced, one of them finds out, and the others only that it ended. Whoever
        # starts again then would shut the new ones out.
        return engine.shut_out() or error
    return error


def _connect(engine: Engine, ending: Ending) -> threading.Event:
    """The event is to be set when the flow is over."""
    over = threading.Event()
    engine.started = ending.started

    def limit() -> None:
        error = engine.fatal
        ending.limit(over, PATIENCE_SECONDS if error is None else BROKEN_SECONDS, str(error or engine.again))

    engine.on_end = limit
    if engine.placement.processes > 1:
        ending.joining()
    return over


@contextmanager
def _unhindered() -> Iterator[None]:
    """The interpreter meanwhile: it is not searched for garbage more than needed, and a thread that has waited for the
    database need not wait long for the one that evaluates."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with undisturbed():
            yield
    finally:
        sys.setswitchinterval(before)


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
        # The last line is the first cause.
        words = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        if engine.placement.processes > 1:
            broken_off.set()
            words += "; another process of the cluster has probably ended"
        engine.fail(StartAgain(f"the flow broke off: {words}. Start it again: it goes on where the database says."))


@contextmanager
def _explained(stop: threading.Event) -> Iterator[None]:
    """Which errors are ends like any other, and which a new start cures."""
    try:
        yield
    except kafka.Stopped:
        log.info("stopped before it began")
    except Exception as error:
        if not isinstance(error, TidegateError):
            log.error("unexpected error", exc_info=error)
            error = unexpected(error)
        if not (error.passing and stop.is_set()):
            raise error from None
        log.warning("%s What is not stored is read again at the next start.", error)


@contextmanager
def _metrics(settings: Settings, placement: Placement) -> Iterator[None]:
    """Every process of a machine at a port of its own."""
    metrics.storage_free.set_function(lambda: disk.free_bytes(settings.storage_url) or 0)
    port = settings.engine_metrics_port
    end = metrics.serve(settings.metrics_host, port + placement.process if port else 0)
    try:
        yield
    finally:
        end()


@contextmanager
def _around(engine: Engine) -> Iterator[None]:
    """What runs beside the flow: in the first process relay and watches; in a cluster the others' progress."""
    end = threading.Event()
    beside = []
    if engine.placement.process == 0:
        beside.append(threading.Thread(target=relay.relay_forever, args=(engine.settings, end), name="relay"))
        beside.append(threading.Thread(target=watch_outbox, args=(engine.settings, end), name="outbox"))
        if not engine.goal.until_end:
            # Not waited for: it changes nothing.
            for looks in (watch_partitions, watch_deployments, watch_holds):
                threading.Thread(target=looks, args=(engine, end), name=looks.__name__, daemon=True).start()
            for tends in (audit_forever, prune_forever):
                threading.Thread(target=tends, args=(engine.settings, end), name=tends.__name__, daemon=True).start()
    if engine.placement.processes > 1:
        watch = Renewal(engine)
        beside.append(threading.Thread(target=follow, args=(engine.url, engine.pace, watch, end), name="progress"))
    for thread in beside:
        thread.daemon = True
        thread.start()
    try:
        with _unhindered():
            yield
    finally:
        engine.close()
        begin_switch(engine)
        end.set()
        seconds = BESIDE_SECONDS if engine.fatal is None else ERROR_SECONDS
        deadline = time.monotonic() + max(LEAST_SECONDS, seconds - engine.ending_seconds())
        for thread in beside:
            thread.join(max(0.0, deadline - time.monotonic()))


def watch_partitions(engine: Engine, end: threading.Event) -> None:
    """Partitions that nobody reads would make the answers wrong: the flow ends, the next one reads them too."""
    while not end.wait(PARTITIONS_SECONDS):
        try:
            now = there_are(engine.settings, end)
        except (TidegateError, kafka.Stopped):
            continue
        new = sorted(set(now) - engine.starts.keys())
        if new:
            topic = topic_of(engine.settings, new[0])
            count, before = (sum(topic_of(engine.settings, p) == topic for p in some) for some in (now, engine.starts))
            engine.end(f"topic {topic} has {count} partitions now and had {before}")
            return


class Renewal:
    """Tells whether shards have got another writer since this process's flow began.

    When it began all processes were there, with their shards taken over. So a later take-over means
    that one of them was lost and is back, and waits for the others. Bytewax does not always notice:
    a host that vanished closes no connection.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._begun = False
        self._tokens: dict[int, int] | None = None

    def __call__(self, found: Mapping[int, Progress]) -> bool:
        """found: read after the last call."""
        engine = self._engine
        tokens = {shard: each.token for shard, each in found.items()}
        for shard, mine in engine.takeovers.items():
            if tokens.get(shard) == mine.token + 1 and engine.again is not None:
                return True  # the switch for which the flow has ended
            if tokens.get(shard) != mine.token:
                engine.fail(Fenced(f"Shard {shard} was taken over by another engine. This one stops."))
                return True
        if self._begun and self._tokens is None:
            self._tokens = tokens
        self._begun = engine.started.is_set()
        if self._tokens is None or tokens == self._tokens:
            return False
        engine.fail(StartAgain("another process of the cluster was lost and is back: all of them have to start again."))
        return True


def open_for_bytewax() -> Engine:
    """The engine for `python -m bytewax.run`, which calls nothing of ours when the flow ends."""
    settings = load()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    placement = bytewax_placement(settings.shards)
    opened = ExitStack()
    try:
        ending = opened.enter_context(stopping(stop, threading.Event()))
        opened.enter_context(_metrics(settings, placement))
        take_up(settings, placement, Goal(), stop)
        engine = Engine.open(settings, placement, Goal(), stop)
    except TidegateError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(AGAIN if error.passing else 2) from None
    except kafka.Stopped:
        raise SystemExit(0) from None
    over = _connect(engine, ending)
    opened.enter_context(_around(engine))

    def end() -> None:
        over.set()
        opened.close()
        error = _error(engine) or (StartAgain(engine.again) if engine.again is not None else None)
        conclude(engine, stop)
        if error is not None and not (error.passing and stop.is_set()):
            log.error("%s", error)
            logging.shutdown()
            os._exit(AGAIN if error.passing else 2)

    # Not atexit: threads are waited for before it runs, and ours end only when told.
    threading._register_atexit(end)  # type: ignore[attr-defined]
    return engine
