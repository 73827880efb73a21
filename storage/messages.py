"""Outbox rows: the messages of topics `segment-transitions` and `events-dead-letter`, ready to be sent."""

import base64
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmentation.evaluate.step import Transitions
from storage.commits import DeadLetter, StoredSegment

#: An erased user's message has the key only: whoever reads the topic forgets the user.
TRANSITION, DEAD_LETTER, ERASED = "transition", "dead_letter", "erased"


class TransitionMessage(msgspec.Struct):
    """The JSON value of one transition message: all flips of one user in one step.

    seq: from 1, without gaps per user, so (user_id, seq) identifies the message. effective_at: RFC
    3339 UTC with microseconds. versions: of the definitions named. cause: event, time, definition,
    release.
    """

    user_id: str
    seq: int
    entered: list[str]
    left: list[str]
    effective_at: str
    versions: dict[str, int]
    cause: str


def rfc3339(micros: NDArray[np.int64]) -> list[str]:
    """`2026-01-02T03:04:05.000006Z`; years after 9999 have more digits."""
    texts: list[str] = np.datetime_as_string(np.asarray(micros, np.int64).view("M8[us]"), unit="us").tolist()
    return [text + "Z" for text in texts]


def transition_messages(transitions: Transitions, segments: Sequence[StoredSegment]) -> list[bytes]:
    """One JSON value per message of `transitions`, in order; segment numbers index `segments`."""
    encode = msgspec.json.Encoder().encode
    first = transitions.first.tolist()
    numbers, entered = transitions.segment.tolist(), transitions.entered.tolist()
    names, versions = [s.name for s in segments], [s.version for s in segments]
    found = []
    for i, (user, seq, at, by_event) in enumerate(
        zip(
            transitions.user_id, transitions.seq.tolist(), rfc3339(transitions.effective_at),
            transitions.by_event.tolist(),
        )
    ):
        into: list[str] = []
        out: list[str] = []
        named: dict[str, int] = {}
        for j in range(first[i], first[i + 1]):
            number = numbers[j]
            name = names[number]
            (into if entered[j] else out).append(name)
            named[name] = versions[number]
        found.append(encode(TransitionMessage(user, seq, into, out, at, named, "event" if by_event else "time")))
    return found


def net_message(
    user: str, seq: int, effective_at: str, flips: Iterable[tuple[str, int, bool]], cause: str
) -> bytes:
    """The JSON value where other definitions or a release flip a user; `flips` of (segment, version, entered)."""
    into: list[str] = []
    out: list[str] = []
    versions: dict[str, int] = {}
    for name, version, entered in flips:
        (into if entered else out).append(name)
        versions[name] = version
    return msgspec.json.encode(TransitionMessage(user, seq, into, out, effective_at, versions, cause))


def dead_letter_headers(letter: DeadLetter) -> list[tuple[str, bytes | None]]:
    """The original headers, then where it came from and why it was refused."""
    return [
        *letter.headers,
        ("tidegate-reason", clean(letter.reason).encode()),
        ("tidegate-detail", clean(letter.detail).encode()),
        ("tidegate-topic", clean(letter.topic).encode()),
        ("tidegate-partition", str(letter.partition).encode()),
        ("tidegate-offset", str(letter.offset).encode()),
    ]


def pack_headers(headers: Iterable[tuple[str, bytes | None]]) -> bytes:
    """JSON for a jsonb column: [[name, base64 or null], ...]; a name's NUL, which jsonb refuses, is replaced."""
    rows = [(clean(name), None if value is None else base64.b64encode(value).decode()) for name, value in headers]
    return msgspec.json.encode(rows)


def unpack_headers(stored: list[tuple[str, str | None]] | None) -> list[tuple[str, bytes | None]]:
    return [(name, None if value is None else base64.b64decode(value)) for name, value in stored or ()]


def clean(text: str) -> str:
    """Text as PostgreSQL takes it: NUL and lone surrogates replaced."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
