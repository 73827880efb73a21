"""The verifier, a program of its own: it imports nothing of the engine, and refuses to run where that is not so.

    TORTURE_DATABASE_URL=... python -m tests.torture.verifier run.json

run.json: see Question. The last line is `verified: T transitions, M missing, E extra, R repeated`; the code 0
if all three are 0, else 1.
"""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.torture.verifier.arrivals import Rules
from tests.torture.verifier.compare import Figures
from tests.torture.verifier.expected import Expected, expected
from tests.torture.verifier.found import Stored, letters_of, messages_of, stored, transitions_of

ENGINE = {"segmentation", "storage", "flows", "grpc_server", "console"}


@dataclass(frozen=True, slots=True)
class Question:
    """kafka: its address; definitions: the folder; max_skew_us: µs."""

    kafka: str
    events_topic: str
    transitions_topic: str
    dead_letter_topic: str
    definitions: str
    max_skew_us: int
    rules: Rules


def verify(question: Question, url: str) -> tuple[Expected, Figures]:
    there = stored(url)
    messages = messages_of(question.kafka, question.events_topic)
    wanted = expected(messages, there.epochs, Path(question.definitions), question.rules, question.max_skew_us)
    figures = Figures()
    figures.wrong(wanted.complaints)
    compare_stored(wanted, there, figures)
    sent, complaints = transitions_of(messages_of(question.kafka, question.transitions_topic))
    figures.compare("transitions in the topic", wanted.transitions, sent)
    figures.wrong(complaints)
    letters = letters_of(messages_of(question.kafka, question.dead_letter_topic))
    figures.compare("dead letters in the topic", wanted.letters, letters)
    taken = {p: min(each.get(p, 0) for each in there.offsets.values()) for p in range(question.rules.partitions)}
    places = [(message.partition, message.offset) for message in messages]
    figures.compare("messages that every shard has taken", places, [at for at in places if at[1] < taken[at[0]]])
    return wanted, figures


def compare_stored(wanted: Expected, there: Stored, figures: Figures) -> None:
    figures.compare("transitions in Postgres", wanted.transitions, there.transitions)
    figures.compare("members", wanted.members.items(), there.members.items())
    figures.compare("users", wanted.users, there.users)
    figures.compare("dead letters in Postgres", wanted.letters, there.letters)
    for segment, count in there.counted.items():
        members = sum(1 for name, _ in there.members if name == segment)
        figures.wrong([f"{segment} is said to have {count} members and has {members}"] if count != members else [])
    figures.wrong([f"{there.unsent} messages were never sent"] if there.unsent else [])


def main() -> int:
    given = json.loads(Path(sys.argv[1]).read_text())
    question = Question(**{**given, "rules": Rules(**given["rules"])})
    wanted, figures = verify(question, os.environ["TORTURE_DATABASE_URL"])
    borrowed = ENGINE & {name.partition(".")[0] for name in sys.modules}
    assert not borrowed, f"the verifier is not independent: it imported {borrowed}"
    print("seen: " + ", ".join(f"{count} {name}" for name, count in wanted.seen.items()))
    for line in figures.lines:
        print(line)
    print(
        f"verified: {len(wanted.transitions)} transitions, {figures.missing} missing, {figures.extra} extra, "
        f"{figures.repeated} repeated"
    )
    return 0 if figures.perfect else 1


if __name__ == "__main__":
    sys.exit(main())
