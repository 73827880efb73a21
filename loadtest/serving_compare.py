"""Every answer of the soak against the log of transitions, at the answer's own `as_of`."""

import csv
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from storage import postgres

#: Wrong answers that are written down, and how far around their `as_of` the log is shown beside them.
EXAMPLES, AROUND_US = 1_000, 60_000_000


class Answer(NamedTuple):
    """since: 0 for who is not in; came: when the caller had it. All times in µs."""

    user: str
    segment: str
    member: bool
    since: int
    as_of: int
    came: int = 0


class Flip(NamedTuple):
    """recorded: when the step that did it was committed, about, µs."""

    at: int
    entered: bool
    cause: str
    recorded: int


@dataclass
class Compared:
    """flips_met: flips of the pairs asked for, up to each answer's `as_of`, summed. examples: wrong answers with what
    the log has around them."""

    answers: int = 0
    wrong: int = 0
    flips_met: int = 0
    examples: list[tuple[Answer, Sequence[Flip]]] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """A line for each example; without any, no file."""
        path.unlink(missing_ok=True)
        if not self.examples:
            return
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow([*Answer._fields, "log: at, entered, cause, recorded"])
            for answer, flips in self.examples:
                near = [flip for flip in flips if abs(flip.at - answer.as_of) <= AROUND_US]
                out.writerow([*answer, *(" ".join(map(str, flip)) for flip in near)])


def compare(url: str, answers: Iterable[Answer], begun: dict[tuple[str, str], int]) -> Compared:
    """begun: the pairs that were inside before the log begins, and since when (µs)."""
    told = list(answers)
    log = _log(url, {(answer.user, answer.segment) for answer in told})
    found = Compared(len(told))
    for answer in told:
        pair = answer.user, answer.segment
        entered_at = begun.get(pair, 0)
        flips = log.get(pair, ())
        for flip in flips:
            if flip.at <= answer.as_of:
                entered_at = flip.at if flip.entered else 0
                found.flips_met += 1
        if (answer.member, answer.since) != (entered_at != 0, entered_at):
            found.wrong += 1
            if len(found.examples) < EXAMPLES:
                found.examples.append((answer, flips))
    return found


def _log(url: str, asked: set[tuple[str, str]]) -> dict[tuple[str, str], list[Flip]]:
    """In each user's own order."""
    found: dict[tuple[str, str], list[Flip]] = {}
    with closing(postgres.connect(url, wait=30)) as connection, connection.cursor(name="log") as cursor:
        cursor.itersize = 50_000
        cursor.execute(
            b"SELECT user_id, segment, (extract(epoch FROM effective_at) * 1000000)::bigint, entered, cause, "
            b"(extract(epoch FROM recorded_at) * 1000000)::bigint FROM segment_transitions ORDER BY user_id, seq"
        )
        for user, segment, *flip in cursor:
            if (user, segment) in asked:
                found.setdefault((user, segment), []).append(Flip(*flip))
    return found
