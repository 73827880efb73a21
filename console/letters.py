"""Refused messages sent again: what would become of each now, and the sending, for `dead-letter replay`.

A message goes out as it came, key, value and headers, to the topic that it came from, with its origin as
one header more; a profile with its Kafka timestamp too, which is its time, and only if it is its user's
last record. It is marked when Kafka has acknowledged it: a replay that is killed sends some of them again
the next time and misses none, and what arrives twice counts once.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np

from console.producing import Sender
from segmentation.events.decode import Decoder
from segmentation.events.origin import HEADER, Origin
from segmentation.events.profiles import ProfileDecoder
from segmentation.events.rejects import Reason
from segmentation.events.schema import Schema
from segmentation.shards import shard_of
from storage.dead_letters import DeadLetters, EngineState, Letter, Selection, Sent
from storage.settings import Settings

#: Refused ones of each reason that are told one by one.
SHOWN_PER_REASON = 3
#: Why this command leaves one where it is, besides the engine's own reasons.
OTHER_TOPIC, TOO_LARGE_FOR_KAFKA, NEWER_PROFILE = "other_topic", "too_large_for_kafka", "newer_profile"
#: Which are not sent by force either: it would do harm, or nothing.
NEVER_SENT = (OTHER_TOPIC, NEWER_PROFILE)


@dataclass(frozen=True, slots=True)
class Refused:
    origin: Origin
    reason: str
    detail: str


@dataclass(slots=True)
class Outcome:
    """selected = fit + those refused; sent: acknowledged by Kafka; refused: by reason; examples: some of each."""

    selected: int = 0
    fit: int = 0
    sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: list[Refused] = field(default_factory=list)

    def refuse(self, refused: Refused) -> None:
        self.refused[refused.reason] += 1
        if self.refused[refused.reason] <= SHOWN_PER_REASON:
            self.examples.append(refused)


class Judge:
    """Says of messages whether the engine would take them if they were sent now (µs).

    replaced: which of these refused profiles a later record of their key has replaced."""

    def __init__(
        self, settings: Settings, schema: Schema, engine: EngineState,
        replaced: Callable[[Sequence[Letter]], Collection[Origin]],
    ) -> None:  # fmt: skip
        self._topic, self._profiles_topic, self._engine = settings.events_topic, settings.profiles_topic, engine
        self._decoder = Decoder(schema, settings.max_skew_us if settings.clock == "live" else None)
        self._profiles, self._replaced = ProfileDecoder(schema), replaced
        self._horizon = settings.dedupe_horizon_us

    def refusals(self, letters: Sequence[Letter], now: int) -> list[Refused | None]:
        """None for what would be taken."""
        events = [letter for letter in letters if letter.origin.topic == self._topic]
        profiles = [letter for letter in letters if letter.origin.topic == self._profiles_topic]
        found = {**self._of_events(events, now), **self._of_profiles(profiles, now)}
        for letter in letters:
            if letter.origin.topic not in (self._topic, self._profiles_topic):
                words = (
                    f"it came from topic {letter.origin.topic}, and the topic of events is {self._topic}, that of "
                    f"profiles {self._profiles_topic}"
                )
                found[letter.origin] = Refused(letter.origin, OTHER_TOPIC, words)
        return [found.get(letter.origin) for letter in letters]

    def _of_events(self, letters: Sequence[Letter], now: int) -> dict[Origin, Refused]:
        found, count = dict[Origin, Refused](), len(letters)
        decoded = self._decoder.decode(
            [letter.value for letter in letters], np.arange(count), np.full(count, now, np.int64)
        )
        for reject in decoded.rejects:
            origin = letters[reject.index].origin
            found[origin] = Refused(origin, str(reject.reason), reject.detail)
        rows = decoded.rows
        for place, user, time in zip(rows.offset.tolist(), rows.user.tolist(), rows.time.tolist()):
            if self._is_too_late(rows.user_ids[user], time):
                origin = letters[place].origin
                found[origin] = Refused(origin, str(Reason.EVENT_TOO_LATE), self._late())
        return found

    def _of_profiles(self, letters: Sequence[Letter], now: int) -> dict[Origin, Refused]:
        if not letters:
            return {}
        stamps = [now if letter.stamp is None else letter.stamp for letter in letters]
        decoded = self._profiles.decode(
            [letter.key for letter in letters], [letter.value for letter in letters], np.arange(len(letters)),
            np.array(stamps, np.int64),
        )  # fmt: skip
        refused = [(letters[reject.index].origin, str(reject.reason), reject.detail) for reject in decoded.rejects]
        for origin in self._replaced(letters):
            refused.append((origin, NEWER_PROFILE, "the topic has a later record of this user"))
        return {origin: Refused(origin, reason, detail) for origin, reason, detail in refused}

    def _is_too_late(self, user: str, time: int) -> bool:
        watermarks = self._engine.watermarks
        if self._horizon is None or not watermarks:
            return False
        return time < watermarks[shard_of(user, len(watermarks))] - self._horizon

    def _late(self) -> str:
        assert self._horizon is not None
        return f"event_time: more than {self._horizon / 1e6:g} s (dedupe_horizon) behind what the engine has seen"


def replay(
    settings: Settings,
    letters: DeadLetters,
    selection: Selection,
    judge: Judge,
    now: Callable[[], int],
    sender_to: Callable[[str], Sender] | None,
    force: bool,
    advance: Callable[[float], None],
) -> Outcome:
    """Page by page. sender_to: of a topic; None: nothing is sent. force: refused ones are sent too, but NEVER_SENT.

    advance(n): how many have been gone through.
    """
    outcome = Outcome()
    for page in letters.pages(selection):
        refusals = judge.refusals(page, now())
        outcome.selected += len(page)
        for refused in refusals:
            if refused is None:
                outcome.fit += 1
            else:
                outcome.refuse(refused)
        if sender_to is not None:
            fit = [(letter, True) for letter, refused in zip(page, refusals) if refused is None]
            forced = [
                (letter, False) for letter, refused in zip(page, refusals)
                if force and refused is not None and refused.reason not in NEVER_SENT
            ]  # fmt: skip
            chosen = sorted(fit + forced, key=lambda pair: pair[0].origin)
            for topic, some in groupby(chosen, key=lambda pair: pair[0].origin.topic):
                _send(sender_to(topic), letters, list(some), outcome, keeping=topic == settings.profiles_topic)
        advance(outcome.selected)
    return outcome


def _send(
    sender: Sender, letters: DeadLetters, chosen: Sequence[tuple[Letter, bool]], outcome: Outcome, keeping: bool
) -> None:
    """chosen: with whether each is among those that fit, where it does not belong if it is too large. keeping: the
    partition and the Kafka timestamp."""
    sent: list[Sent] = []
    try:
        for letter, fits in chosen:
            sender.send(
                letter.key, letter.value, _placed(sender.topic, letter, sent), _headers(letter),
                _too_large(letter, fits, outcome), letter.origin.partition if keeping else None,
                letter.stamp if keeping else None,
            )  # fmt: skip
        sender.finish()
    finally:
        # Also where the rest was not acknowledged: these were.
        if sent:
            letters.mark(sent)
            outcome.sent += len(sent)


def _placed(topic: str, letter: Letter, sent: list[Sent]) -> Callable[[int, int], None]:
    def placed(partition: int, offset: int) -> None:
        sent.append(Sent(letter.origin, topic, Origin(topic, partition, offset) if offset >= 0 else None))

    return placed


def _too_large(letter: Letter, fits: bool, outcome: Outcome) -> Callable[[str], None]:
    def too_large(words: str) -> None:
        if fits:
            outcome.fit -= 1
            outcome.refuse(Refused(letter.origin, TOO_LARGE_FOR_KAFKA, words))

    return too_large


def _headers(letter: Letter) -> list[tuple[str, bytes | None]]:
    """A message that was sent again before keeps its first origin, for that is what it counts by."""
    if Origin.among(letter.headers) is not None:
        return letter.headers
    return [*letter.headers, (HEADER, str(letter.origin).encode())]


def options() -> dict[str, Any]:
    """For the sender: how large a message may be is the broker's to say."""
    return {"linger.ms": 20, "message.max.bytes": 100_000_000}
