"""The sink: one writer thread per worker, so that the database is waited for while shards go on.

What has gathered while one transaction was under way goes into the next, of all shards of the
worker together. When too much has gathered, `write_batch` waits, and with it the worker. States are
saved by a thread of their own, so that commits go on meanwhile (flows.storing).
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from numpy.typing import NDArray

from flows import clock, metrics
from flows.engine import Engine
from flows.items import Work
from flows.late_messages import late_letters
from flows.steps import count_rejects
from flows.storing import Saving, store
from storage import reservoir
from storage.commits import Commit
from storage.guarding import limits_of
from storage.postgres import DatabaseAway, address
from storage.writer import ShardWriter

log = logging.getLogger("tidegate.sink")

Keyed = tuple[str, Work]

#: What may gather: rows (see Work.rows), and steps.
WAITING_ROWS, WAITING_STEPS = 400_000, 512
#: Rows of one transaction, and bytes of its dead letters, about.
COMMIT_ROWS, COMMIT_BYTES = 100_000, 16 << 20
#: When the flow ends: how long a database that is away is waited for, and one that does not answer, s; what it has
#: not taken then is read again at the next start.
AWAY_SECONDS, SILENT_SECONDS = 3.0, 5.0


class PostgresSink(DynamicSink[Keyed]):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def build(self, step_id: str, worker_index: int, worker_count: int) -> StatelessSinkPartition[Keyed]:
        return WriterPartition(self._engine, worker_index)


class WriterPartition(StatelessSinkPartition[Keyed]):
    def __init__(self, engine: Engine, worker: int) -> None:
        self._writer = Writer(engine, worker)
        engine.on_close(self._writer.close)

    def write_batch(self, items: list[Keyed]) -> None:
        self._writer.put([work for _, work in items])

    def close(self) -> None:
        self._writer.close()


class Writer:
    """A bounded queue and the thread that empties it into the database."""

    def __init__(self, engine: Engine, worker: int) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._waiting: list[Work] = []
        self._rows = 0
        self._closing = False
        self._give_up = threading.Event()  # ends the waiting for a database that is away
        self._writing_since: float | None = None
        shards = engine.placement.shards_of_worker(worker)
        tokens = {shard: found.token for shard, found in engine.takeovers.items() if shard in shards}
        self._database = ShardWriter(
            engine.url, tokens, engine.segments, stop=self._give_up, user_field=engine.user_path[-1],
            limits=limits_of(engine.plan.segments, engine.settings.guard),
        )  # fmt: skip
        self._saver = ThreadPoolExecutor(1, f"saver-{worker}")
        self._saving = Saving(engine.checkpoints, self._saver, engine.save_costs)
        self._thread = threading.Thread(target=self._run, name=f"writer-{worker}", daemon=True)
        self._thread.start()

    def put(self, works: Sequence[Work]) -> None:
        """Waits while too much is waiting already."""
        with self._changed:
            while self._waiting and (self._rows >= WAITING_ROWS or len(self._waiting) >= WAITING_STEPS):
                if self._engine.fatal is not None:
                    return
                if self._engine.ending_seconds() > AWAY_SECONDS:
                    self._give_up.set()
                self._give_up_hanging()
                self._changed.wait(0.1)
            self._waiting.extend(works)
            self._rows += sum(work.rows for work in works)
            self._changed.notify_all()

    def close(self) -> None:
        """Returns when everything is committed or, where the flow was to end, when the database is not there."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        while self._thread.is_alive() and self._engine.fatal is None:
            if self._engine.ending_seconds() > AWAY_SECONDS:
                self._give_up.set()
            self._give_up_hanging()
            self._thread.join(0.1)

    def _give_up_hanging(self) -> None:
        """Where the flow is to end and one transaction takes longer than that can wait for."""
        since = self._writing_since
        if since is None or min(self._engine.ending_seconds(), time.monotonic() - since) < SILENT_SECONDS:
            return
        self._engine.fail(DatabaseAway(f"{address(self._engine.url)} does not answer."))

    def _run(self) -> None:
        try:
            while works := self._next():
                self._write(works)
        except Exception as error:
            self._engine.fail(error)
            with self._changed:
                self._waiting.clear()
                self._changed.notify_all()
        finally:
            self._saver.shutdown(wait=False, cancel_futures=True)
            self._database.close()

    def _next(self) -> list[Work]:
        """What is to be written together; empty at the end."""
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            if self._engine.fatal is not None:
                return []
            works: list[Work] = []
            rows = size = 0
            while self._waiting and rows < COMMIT_ROWS and size < COMMIT_BYTES:
                works.append(self._waiting.pop(0))
                rows, size = rows + works[-1].rows, size + works[-1].letter_bytes
            self._rows -= rows
            self._changed.notify_all()
            return works

    def write(self, commits: Sequence[Commit]) -> None:
        """One transaction, by the clock."""
        self._writing_since = began = time.monotonic()
        self._database.write(commits)
        self._writing_since = None
        metrics.commit_seconds.observe(time.monotonic() - began)

    def _write(self, works: Sequence[Work]) -> None:
        engine = self._engine
        store(
            works, self._saving, self,
            partial(reservoir.clean, engine.settings.storage_url), partial(late_letters, engine),
        )  # fmt: skip
        now = clock.now_us()
        for work in works:
            self._count(work, now)
            commit = work.commit
            engine.pace.reached(
                commit.shard, {part.partition: part.next_offset for part in commit.parts}, commit.number
            )

    def _count(self, work: Work, now: int) -> None:
        metrics.watermark_age.set(work.commit.shard, work.commit.watermark)
        if work.commit.scattered is not None:
            metrics.scattered.labels(str(work.commit.shard)).set(work.commit.scattered[0])
        count_rejects(work.commit.dead_letters)
        stamps = work.stamps[work.stamps >= 0]
        if len(stamps):
            metrics.event_to_commit.observe((now - stamps) / 1e6)
        flips = work.transitions
        for direction, chosen in (("entered", flips.entered), ("left", ~flips.entered)):
            counts: NDArray[np.int64] = np.bincount(flips.segment[chosen])
            for segment in np.flatnonzero(counts).tolist():
                name = self._engine.plan.segments[segment].name
                metrics.transitions.labels(name, direction).inc(int(counts[segment]))



