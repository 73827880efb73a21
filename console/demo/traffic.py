"""The demo's events: history and profiles first, then live traffic at its own times, from the shop's generator."""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass

from console.producing import Sender
from loadtest import generator
from segmentation.compile.tree import Age, Definition, Now
from segmentation.errors import TidegateError
from storage.settings import Settings

SEED = 20
PEOPLE = 20_000
HISTORY_EVENTS = 40_000
HISTORY_DAYS = 100
#: For how long after the start of the demo windows of the history go on running out.
LAPSING_S = 600
#: Shorter windows run out by themselves while one watches.
LAPSING_WINDOW_MIN = 3_600 * generator.SECOND


def windows(definitions: Iterable[Definition]) -> list[int]:
    """The lengths (µs) of all sliding windows of the definitions, each once, ascending."""
    found: set[int] = set()

    def walk(node: object) -> None:
        if isinstance(node, Age):
            found.add(abs(node.micros))
        elif isinstance(node, Now):
            found.add(abs(node.offset))
        if isinstance(node, tuple | list):
            for item in node:
                walk(item)
        elif is_dataclass(node):
            for part in fields(node):
                walk(getattr(node, part.name))

    for definition in definitions:
        walk(definition.query)
    return sorted(window for window in found if window > 0)


class Traffic:
    """Feeds the topic: `history`, then `start`; `next_offsets` says how far each partition is filled."""

    def __init__(self, settings: Settings, rate: float, window_us: Iterable[int]) -> None:
        # A short linger: what it waits for would be counted as the engine's latency.
        self._sender = Sender(settings, 30.0, options={"linger.ms": 1})
        self._settings, self._rate = settings, rate
        self._windows = [one for one in window_us if LAPSING_WINDOW_MIN <= one <= HISTORY_DAYS * generator.DAY]
        self._people = generator.People(PEOPLE)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._error: TidegateError | None = None
        self.next_offsets: dict[int, int] = {}
        self.sent = 0

    def history(self, pause: Callable[[float], None]) -> int:
        """Sends the past and everybody's profile; the number of events. Before the engine starts: none is late."""
        now = time.time_ns() // 1_000
        events = generator.history(SEED, now, HISTORY_DAYS, HISTORY_EVENTS, self._people, self._windows, LAPSING_S)
        for index, event in enumerate(events):
            if not index & 0x3FF:
                pause(0)
            self._send(event)
        self._sender.finish()
        profiles = Sender(self._settings, 30.0, self._settings.profiles_topic)
        for rank in range(len(self._people)):
            who = self._people[rank]
            profiles.send(who.user_id, who.profile())
        profiles.finish()
        return len(events)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sends nothing more and waits for what is on its way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    @property
    def delivered(self) -> int:
        return self._sender.delivered

    def _run(self) -> None:
        start = time.time_ns() // 1_000
        try:
            for event in generator.traffic(SEED + 1, start, self._rate, self._people):
                while (early := event.time - time.time_ns() // 1_000) > 0 and not self._stop.is_set():
                    self._sender.poll(min(early / 1_000_000, 0.05))
                if self._stop.is_set():
                    break
                self._send(event)
                self.sent += 1
            self._sender.finish()
        except TidegateError as error:
            self._error = error

    def _send(self, event: generator.ShopEvent) -> None:
        self._sender.send(event.user_id, event.message(), self._placed)

    def _placed(self, partition: int, offset: int) -> None:
        self.next_offsets[partition] = max(self.next_offsets.get(partition, 0), offset + 1)
