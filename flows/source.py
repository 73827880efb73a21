"""The Kafka source: one Bytewax partition per Kafka partition, one item per read.

Offsets are assigned, never committed to a group: the database says where to begin. A reader holds
back while too much of its partition awaits its commit. At the end of a quiet partition it sends
reads without messages, whose watermark is the clock less the lateness, so that windows expire.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from flows import clock, kafka, metrics
from flows.engine import Engine, share_of_bytes
from flows.items import Control, RawPoll
from flows.pace import Pace
from flows.partitions import in_topic
from segmentation.errors import TidegateError
from segmentation.events.rows import PROFILES, partition_name
from segmentation.types import FOREVER

log = logging.getLogger("tidegate.source")

Item = RawPoll | Control

#: Between reads, so that a read that follows a small one finds more than a few messages, µs: what an evaluation of a
#: few takes, several times over, so that at a moderate load most of the processor is left to the others.
PAUSE_US = 8_000
#: From one read to the next it is at least so many times as long as the last evaluation took; so long at most, µs.
REST_TIMES, REST_US = 4, 40_000
#: And per partition that a worker reads, for a look into an empty one is not free, µs.
PAUSE_EACH_US = 250
#: Between reads of a partition that has been idle, µs: a read without messages costs every shard a call.
IDLE_US = 100_000
LAG_SECONDS = 1.0
#: Values of one item, about: what is made of it, dead letters say, is several times as large for a moment.
POLL_BYTES = 8 << 20

READ_AHEAD: dict[str, Any] = {
    "enable.partition.eof": True,
    # The beginning is given; another one must be an error, never a silent jump.
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    # A broker that answers a waiting fetch late (the embedded one) must not be waited for long.
    "fetch.wait.max.ms": 20,
    "fetch.queue.backoff.ms": 5,
    "queued.min.messages": 50_000,
    "fetch.message.max.bytes": 4_194_304,
}


class KafkaSource(FixedPartitionedSource[Item, None]):
    """Every Kafka partition, shared out among the workers by Bytewax, and a `control` for this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._ticks = engine, Ticks(engine.pace, engine.placement.workers)

    def list_parts(self) -> list[str]:
        parts = [f"{partition:07d}" for partition in sorted(self._engine.starts)]
        return [*parts, f"control-{self._engine.placement.process}"]

    def build_part(
        self, step_id: str, for_part: str, resume_state: None
    ) -> StatefulSourcePartition[Item, None]:
        if for_part.startswith("control"):
            return ControlPartition(self._engine)
        return KafkaPartition(self._engine, int(for_part), self._ticks)


class Ticks:
    """When partitions read again: those that were due at one instant will be at one instant, however long the look
    into each takes, so that what they find is evaluated together. An evaluation has its cost, however few events: the
    longer the last one took, on a busy machine say, the longer the pause, so that others, the database too, get their
    turn and the next one finds more."""

    def __init__(self, pace: Pace | None = None, workers: int = 1) -> None:
        """pace: knows how long evaluations took, of so many workers together; None: that does not matter."""
        self._pace, self._workers = pace, workers
        self._last = (0, 0)

    def after(self, due: int, now: int, pause: int) -> int:
        """For a partition that was due then and has been read now, µs. pause: the least one."""
        last, then = self._last
        if due != last or then <= now:
            rest = 0 if self._pace is None else min(REST_TIMES * self._pace.spent() // self._workers, REST_US)
            then = ((now + max(0, rest - pause)) // pause + 1) * pause
            self._last = due, then
        return then


class ControlPartition(StatefulSourcePartition[Item, None]):
    """Opens the shards at the start, and passes the end of this process's flow on to all of them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._todo = [Control(open=True)] if engine.placement.process == 0 else []
        self._told = False
        engine.started.set()

    def next_batch(self) -> Iterable[Item]:
        if not self._engine.ending and not self._engine.goal.until_end:
            todo, self._todo = self._todo, []
            return todo
        if self._told:
            raise StopIteration
        self._told = True
        todo, self._todo = self._todo, []
        why = self._engine.why_it_ends()
        return [*todo, Control(open=False, why=why)] if why else todo

    def next_awake(self) -> datetime | None:
        return clock.as_datetime(clock.now_us() + 20_000)

    def snapshot(self) -> None:
        return None


class KafkaPartition(StatefulSourcePartition[Item, None]):
    def __init__(self, engine: Engine, partition: int, ticks: Ticks | None = None) -> None:
        self._engine, self._partition, self._ticks = engine, partition, ticks or Ticks()
        self._settings = engine.settings
        self._position = engine.starts[partition]
        self._begun = False  # the first read goes out even if it is empty
        self._at_end = False
        self._newest_us = clock.now_us()  # when a message, or the end, was last seen
        self._idle_tick = 0
        self._pause_us = max(PAUSE_US, PAUSE_EACH_US * len(engine.starts) // engine.placement.all_workers)
        self._awake_us = 0
        self._lag_at = 0.0
        self._unsure = False  # a connection failed: what looks like a quiet end may be an unreachable broker
        self._ask_at = 0.0
        self._complaints = kafka.Complaints(engine.settings.kafka)
        self._consumer: Consumer | None = None

    def next_batch(self) -> Iterable[Item]:
        engine = self._engine
        if engine.ending or (engine.goal.until_end and self._at_end and self._begun):
            raise StopIteration
        found: list[Item] = []
        engine.guarded(lambda: found.extend(self._read()))
        return found

    def next_awake(self) -> datetime | None:
        return clock.as_datetime(self._awake_us) if self._awake_us else None

    def snapshot(self) -> None:
        return None

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()

    @property
    def at_end(self) -> bool:
        """Whether the last that was seen is the partition's end."""
        return self._at_end

    def _read(self) -> list[Item]:
        consumer = self._consumer or self._assigned()
        self._watch_lag(consumer)
        if not self._engine.pace.may_read(self._partition, self._position):
            self._awake_us = (clock.now_us() // self._pause_us + 1) * self._pause_us
            return []
        first = self._position
        messages = consumer.consume(self._settings.poll_rows, 0)
        now = clock.now_us()
        if any(message.error() is not None for message in messages):
            messages = self._without_errors(messages)
        elif messages:
            self._at_end = False
        if messages:
            self._unsure = False
            last = messages[-1].offset()
            assert last is not None
            self._position = max(self._position, last + 1)
            self._newest_us = now
        self._awake_us = 0 if len(messages) >= self._settings.poll_rows // 2 else self._next_tick(now)
        if messages or self._position > first or (not self._begun and self._at_end):
            self._begun = True
            return self._sent(first, now, messages)
        return self._idle(now)

    def _next_tick(self, now: int) -> int:
        return self._ticks.after(self._awake_us, now, self._pause_us)

    def _idle(self, now: int) -> list[Item]:
        """A read without messages where the partition has been quiet at its end."""
        if not self._engine.live or not self._at_end or not self._begun:
            return []
        # By the clock's tenths of a second, so that the quiet partitions of a worker are evaluated together.
        tick = now // IDLE_US
        if now - self._newest_us < self._settings.idle_after * 1_000_000 or tick == self._idle_tick:
            return []
        if (self._unsure and not self._answers()) or not self._engine.pace.may_tick():
            return []
        self._idle_tick = tick
        watermark = now - self._settings.lateness_us
        return [RawPoll(self._partition, self._position, self._position, now, [], watermark, True)]

    def _answers(self) -> bool:
        """Does the partition's leader answer? Asked twice a second while a connection is known to have failed."""
        if time.monotonic() < self._ask_at or self._consumer is None:
            return False
        self._ask_at = time.monotonic() + 0.5
        try:
            self._consumer.get_watermark_offsets(in_topic(self._settings, self._partition), timeout=0.2)
        except KafkaException:
            return False
        self._unsure = False
        return True

    def _on_error(self, error: KafkaError) -> None:
        self._unsure = True
        self._complaints(error)

    def _sent(self, first: int, now: int, messages: list[Message]) -> list[Item]:
        """What was read from offset `first` up to the position, as items of some POLL_BYTES."""
        items: list[Item] = []
        for some, size, last in _portions(messages):
            end = self._position if last else (some[-1].offset() or 0) + 1
            at_end = last and self._at_end
            items.append(RawPoll(self._partition, first, end, now, some, self._said(now, at_end), at_end, size))
            self._engine.pace.emitted(self._partition, end, size + 100 * len(some))
            first = end
        return items

    def _said(self, now: int, at_end: bool) -> int | None:
        """The watermark that a partition of profiles has at its end, without waiting there.

        What is written to it later has a later time, which is Kafka's own. With the clock of the events
        there is nothing that such a time could be compared with: what comes later is late, and until then
        nothing waits for it. Where the run ends with the topics, nothing comes."""
        if self._partition < PROFILES or not at_end:
            return None
        if not self._engine.live:
            return FOREVER
        return now - self._settings.lateness_us if self._engine.goal.until_end else None

    def _assigned(self) -> Consumer:
        ahead_kb = share_of_bytes(len(self._engine.starts)) // 2_048
        self._consumer = kafka.consumer(
            self._settings, **READ_AHEAD, **{"queued.max.messages.kbytes": ahead_kb}, error_cb=self._on_error
        )
        self._consumer.assign([in_topic(self._settings, self._partition, self._position)])
        return self._consumer

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        kept = []
        for message in messages:
            error = message.error()
            if error is None:
                self._at_end = False
                kept.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                self._at_end = True
                end = message.offset()
                if end is not None:
                    self._position = max(self._position, end)
            else:
                self._complain(error)
        return kept

    def _complain(self, error: KafkaError) -> None:
        place, where = in_topic(self._settings, self._partition), self._settings.kafka
        topic, partition = place.topic, place.partition
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise TidegateError(
                f"topic {topic} at {where} has no offset {self._position} in partition {partition}: its messages "
                "were deleted before they were counted, or it was created anew. Start with --rebuild on a topic that "
                "holds all events, or name another topic and database."
            )
        if error.code() in kafka.HOPELESS:
            raise TidegateError(f"Kafka at {where} does not let us read topic {topic}: {error.str()}.")
        log.warning("partition %d of topic %s at %s: %s; still trying", partition, topic, where, error.str())

    def _watch_lag(self, consumer: Consumer) -> None:
        now = time.monotonic()
        if now < self._lag_at:
            return
        self._lag_at = now + LAG_SECONDS
        _, end = consumer.get_watermark_offsets(in_topic(self._settings, self._partition), cached=True)
        if end >= 0:
            # Those that are read and wait for the database lag too. Before the first commit nothing is done.
            done = max(self._engine.pace.done(self._partition), self._engine.starts[self._partition])
            metrics.lag.labels(partition_name(self._partition)).set(max(0, end - done))


def _portions(messages: list[Message]) -> Iterator[tuple[list[Message], int, bool]]:
    """(messages, bytes of their values, are these the last?); one portion at least."""
    start = size = 0
    for place, message in enumerate(messages):
        if size and size + len(message) > POLL_BYTES:
            yield messages[start:place], size, False
            start, size = place, 0
        size += len(message)
    yield messages[start:], size, True
