"""The relay: what was committed with the membership goes to its Kafka topics, each message once.

Whoever holds the outbox's lock is the relay; others wait for their turn. It works in batches: fix
which messages one has (PostgreSQL), send it with the record that it was sent (Kafka, one
transaction), delete its messages (PostgreSQL, together with fixing the next one). Any error ends
the turn, and a new one begins by finding out what became of the last batch.

| it ends after | what the next one finds | and does |
|---|---|---|
| fixing | a batch that Kafka has no record of | frees its messages: they are sent with the next |
| sending, in part or whole | Kafka aborts the transaction that was left; as above | as above |
| Kafka's commit | the batch's token in Kafka's record | deletes its messages |
| deleting | no batch | goes on |

A message that Kafka refuses for itself (too large, say) is held, and with it the user's later ones;
it is tried again every minute. All others go on.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing

from confluent_kafka import KafkaError

from flows import kafka, metrics
from flows.relay_repeats import Repeats
from flows.relay_sending import CAREFULLY, Last, NotSent, Publisher, topic_of
from flows.relay_transactions import TOPIC_CONFIG, Fenced, Transactions, Unfit, topic_of_records
from segmentation.errors import TidegateError
from storage import postgres
from storage.outbox import DEAD_LETTER, Batch, Message, Outbox
from storage.settings import Settings

log = logging.getLogger("tidegate.relay")

#: Between looks into an empty outbox, s.
PAUSE_SECONDS = 0.01
#: After a batch of fewer messages than this, so many times as long as it took, at least and at most so long, s: the
#: cost of a batch, in the engine, the database and the broker, is that of its transactions, and while events come there
#: would always be one under way.
SMALL_ROWS, GATHER_TIMES, GATHER_SECONDS, GATHER_MOST_SECONDS = 1_000, 5, 0.03, 0.2
TURN_SECONDS = 1.0
#: After a stop: how long what is there is still sent, s.
DRAIN_SECONDS = 3.0
#: Held messages are tried again so often, s.
HELD_SECONDS = 60.0
#: Messages of a batch whose refused ones are to be found.
CAREFUL_ROWS = 1_000
REQUEST_BYTES, REQUEST_BYTES_MIN = 1_000_000, 10_000
PARTITIONS = {"transitions": 4, "dead_letters": 1}


def relay_forever(settings: Settings, stop: threading.Event) -> None:
    """Returns when `stop` is set and what was in the outbox then is sent, or cannot be sent in time."""
    relay, pause = Relay(settings, stop), 0.1
    while True:
        try:
            relay.turn()
            if stop.is_set():
                return
            continue
        except kafka.Stopped:
            return
        except Refused:
            if stop.is_set():
                return
            continue
        except Fenced as error:
            log.warning("no longer the relay: %s Waiting for the next turn.", error)
            if stop.wait(TURN_SECONDS):
                return
            continue
        except Exception as error:
            pause = 0.1 if relay.sent else pause
            if isinstance(error, TidegateError):
                log.warning("announcing transitions: %s Trying again in %.1f s; nothing is lost.", error, pause)
            else:
                log.exception("announcing transitions failed; trying again in %.1f s, nothing is lost", pause)
        if stop.wait(pause):
            return
        pause = min(pause * 2, 10.0)


def ensure_topics(settings: Settings, stop: threading.Event | None = None) -> None:
    wanted = {
        settings.transitions_topic: PARTITIONS["transitions"],
        settings.dead_letter_topic: PARTITIONS["dead_letters"],
    }
    for name in kafka.ensure_topics(settings, wanted, stop=stop):
        log.info("created topic %s at %s", name, settings.kafka)


class Refused(Exception):
    """Kafka refused messages, and what is to be done about it is done; the next turn goes on."""


class Relay:
    """One process's relay: turn after turn."""

    def __init__(self, settings: Settings, stop: threading.Event) -> None:
        self._settings, self._stop, self._last = settings, stop, Last(stop, DRAIN_SECONDS)
        #: Messages of this turn.
        self.sent = 0
        #: Messages of a refused request; the next turn is to find out which of them Kafka does not take.
        self._suspects: set[int] = set()
        #: Most bytes of a request. Less where a topic takes less, which is found out.
        self._request_bytes = REQUEST_BYTES
        #: Per topic (dead letters or not) the least size that was refused as too large.
        self._too_large: dict[bool, int] = {}
        self._told_unfit = False
        self._look_at_held = 0.0

    def turn(self) -> None:
        """Wait until this is the relay, and be it until `stop`; any error ends the turn."""
        self.sent = 0
        ensure_topics(self._settings, self._stop)
        url = self._settings.database_url.get_secret_value()
        with ExitStack() as stack:
            connection = stack.enter_context(
                closing(
                    postgres.connect(url, application="tidegate relay", wait=None, stop=self._stop, autocommit=True)
                )
            )
            mine = Outbox(connection)
            while not mine.acquire():
                if self._stop.wait(TURN_SECONDS):
                    return
            if self._suspects:
                with closing(self._publisher(mine, careful=True)) as publisher:
                    self._find(mine, publisher)
            with closing(self._publisher(mine, careful=False)) as publisher:
                self._work(mine, publisher)

    def _work(self, mine: Outbox, publisher: Publisher) -> None:
        sent: Batch | None = None
        while not self._last.over():
            if time.monotonic() > self._look_at_held:
                if sent is not None:
                    mine.settle(sent.token)
                    sent = None
                self._again(mine, publisher)
            for dead_letters, size in self._too_large.items():
                mine.hold_large(dead_letters, size, "too large, as one before it")
            began = time.monotonic()
            sent = mine.next(sent)
            if sent is not None:
                self._publish(mine, publisher, sent, certain=False)
                if len(sent.messages) < SMALL_ROWS:
                    took = time.monotonic() - began
                    self._stop.wait(min(max(GATHER_SECONDS, GATHER_TIMES * took), GATHER_MOST_SECONDS))
            elif self._stop.is_set():
                return
            else:
                self._stop.wait(PAUSE_SECONDS)
        if sent is not None:
            mine.settle(sent.token)

    def _find(self, mine: Outbox, publisher: Publisher) -> None:
        suspects, self._suspects = self._suspects, set()
        batch = mine.next(rows=CAREFUL_ROWS)
        if batch is None:
            return
        self._publish(mine, publisher, batch, certain=True)
        mine.settle(batch.token)
        if any(message.id in suspects for message in batch.messages):
            # Each by itself is taken: together they were too large.
            self._request_bytes = max(self._request_bytes // 2, REQUEST_BYTES_MIN)

    def _again(self, mine: Outbox, publisher: Publisher) -> None:
        """Try the held message that has waited longest; if it passes, its limit was raised, so all are free."""
        self._look_at_held = time.monotonic() + HELD_SECONDS
        batch = mine.next_held(HELD_SECONDS)
        if batch is not None:
            self._publish(mine, publisher, batch, certain=True)
            mine.settle(batch.token)
            mine.release_held()
            self._too_large.clear()
        metrics.held.set(mine.held())

    def _publish(self, mine: Outbox, publisher: Publisher, batch: Batch, certain: bool) -> None:
        """Raises NotSent with the batch dropped, and what Kafka refuses held, if that is known.

        certain: what was refused was refused for itself, not for what else was in the same request.
        """
        try:
            with metrics.publish_seconds.time():
                publisher.publish(batch)
        except NotSent as error:
            certain = certain or len(batch.messages) == 1
            known = error.refused if certain else {}
            mine.drop(batch.token, error.sent, {id: refused.str() for id, refused in known.items()})
            self._suspects = set() if certain else set(error.refused)
            self._hold(mine, [message for message in batch.messages if message.id in known], known)
            if error.refused:
                raise Refused from error
            raise
        self.sent += len(batch.messages)
        for kind, count in Counter(message.kind for message in batch.messages).items():
            metrics.published.labels(kind).inc(count)

    def _hold(self, mine: Outbox, messages: list[Message], errors: Mapping[int, KafkaError]) -> None:
        for message in messages:
            error, dead = errors[message.id], message.kind == DEAD_LETTER
            log.error(
                "Kafka at %s refuses a message of %d bytes for topic %s: %s. It waits, and what belongs after it; "
                "it is tried again every minute. Raise the topic's max.message.bytes, or see docs/operations.md.",
                self._settings.kafka, len(message.value or b""), topic_of(self._settings, message), error.str(),
            )
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                size = len(message.value or b"")
                self._too_large[dead] = min(size, self._too_large.get(dead, size))
        if messages:
            metrics.held.set(mine.held())

    def _publisher(self, mine: Outbox, careful: bool) -> Publisher:
        """The way of sending that settings and broker allow, with the last turn's batch settled."""
        pending = mine.under_way()
        options = CAREFULLY if careful else {"batch.size": self._request_bytes}
        if self._settings.relay != "at_least_once":
            kafka.ensure_topics(self._settings, {topic_of_records(self._settings): 1}, TOPIC_CONFIG, stop=self._stop)
            publisher = Transactions(self._settings, mine.identity(), options, self._last)
            try:
                publisher.open()
                if pending is not None:
                    (mine.settle if publisher.sent() == pending else mine.drop)(pending)
                    pending = None
                publisher.check()
                return publisher
            except Unfit as reason:
                publisher.close()
                self._unfit(reason)
            except BaseException:
                publisher.close()
                raise
        if pending is not None:
            mine.drop(pending)
        return Repeats(self._settings, options, self._last)

    def _unfit(self, reason: Unfit) -> None:
        words = f"Kafka at {self._settings.kafka}: {reason}, so messages cannot be sent by transactions"
        if self._settings.relay == "transactions":
            raise TidegateError(f"{words}. Use Apache Kafka, or set `relay` to auto.")
        if not self._told_unfit:
            self._told_unfit = True
            log.warning("%s: they are sent at least once, and readers must drop repeats by user_id and seq", words)
