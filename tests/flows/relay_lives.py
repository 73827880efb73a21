"""Relays that end themselves at a named step: the entry script of tests/flows/test_relay.py.

Reads plans from stdin, one JSON object a line, and for each forks a process that is a relay with the
settings of the environment; writes its id. A plan:

at: [[step, count, action], ...], one after the other: at the count-th time that `step` is done, `kill`
(SIGKILL), `stop` (SIGSTOP) or `cut` (PostgreSQL ends the session of whoever is the relay). The steps of a turn:
`acquired`, `opened`, `settled` (where the last turn's batch was sent); of a batch: `fixed`, `producing` (half of
it), `flushed`, `committed`.
rows: most messages of a batch. forgetful: what Kafka has recorded is not looked at.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from flows import relay
from flows.relay_sending import Answers
from flows.relay_transactions import Transactions
from storage import postgres
from storage.outbox import Outbox
from storage.settings import Settings, load


class Plan:
    def __init__(self, settings: Settings, at: list[tuple[str, int, str]]) -> None:
        self._settings, self._at = settings, at
        self._seen = 0

    def done(self, step: str) -> None:
        """The step was done just now."""
        if not self._at or self._at[0][0] != step:
            return
        self._seen += 1
        if self._seen == self._at[0][1]:
            action = self._at.pop(0)[2]
            self._seen = 0
            os.write(2, f"{action} at {step}\n".encode())
            if action == "cut":
                cut(self._settings)
            else:
                os.kill(os.getpid(), signal.SIGKILL if action == "kill" else signal.SIGSTOP)

    def expects(self, step: str) -> bool:
        return bool(self._at) and self._at[0][0] == step


def cut(settings: Settings) -> None:
    """End the session that holds the relay's lock, and return when it is gone."""
    held = "FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database " \
           "WHERE datname = current_database())"  # fmt: skip
    with closing(postgres.connect(settings.database_url.get_secret_value(), autocommit=True)) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid, 30000) {held}".encode())


def half_of(messages: list[Any]) -> Any:
    return messages[len(messages) // 2] if messages else None


def install(plan: Plan, rows: int, forgetful: bool) -> None:
    publishing = False

    def wrap(owner: type, name: str, step: str, when: Callable[[Any], bool] = lambda _: True) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **more: Any) -> Any:
            result = original(*arguments, **more)
            if when(result):
                plan.done(step)
            return result

        setattr(owner, name, wrapped)

    def publish(self: Transactions, batch: Any) -> None:
        nonlocal publishing
        publishing = True
        original_publish(self, batch)
        publishing = False

    def produce(self: Answers, producer: Any, topic: str, message: Any, partition: int = -1) -> bool:
        # In the middle, with the first half at the broker.
        if plan.expects("producing") and publishing and message is half_of(self._batch.messages):
            producer.flush(30)
            plan.done("producing")
        return original_produce(self, producer, topic, message, partition)

    original_publish, original_produce, original_next = Transactions.publish, Answers.send, Outbox.next
    Transactions.publish, Answers.send = publish, produce  # type: ignore[method-assign]
    Outbox.next = lambda self, sent=None, **_: original_next(self, sent, rows=rows)  # type: ignore[method-assign]
    wrap(Outbox, "acquire", "acquired", bool)
    wrap(Transactions, "open", "opened")
    wrap(Outbox, "next", "fixed", lambda batch: batch is not None)
    # Not where the broker is tried out.
    wrap(Transactions, "_flush", "flushed", lambda _: publishing)
    wrap(Transactions, "_commit", "committed", lambda _: publishing)
    wrap(Outbox, "settle", "settled")
    if forgetful:
        Transactions.sent = lambda self: None  # type: ignore[method-assign]


def live(settings: Settings, given: dict[str, Any]) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {os.getpid()} %(levelname)s %(name)s: %(message)s")
    install(Plan(settings, given.get("at", [])), given.get("rows", 50), given.get("forgetful", False))
    relay.TURN_SECONDS = 0.05
    relay.relay_forever(settings, stop)


def main() -> None:
    settings = load()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody need wait for them
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                live(settings, json.loads(line))
            except BaseException:
                logging.exception("the relay ended")
            os._exit(0)
        print(child, flush=True)


if __name__ == "__main__":
    main()
