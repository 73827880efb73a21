"""What ought to be there: from the messages of the events topic, the recorded steps, and the definitions' SQL."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tests.torture.verifier.arrivals import Account, Epoch, Rules, account, by_partition
from tests.torture.verifier.decode import Decoder, Event, Message, Refused
from tests.torture.verifier.found import Letter, Transition
from tests.torture.verifier.judge import Flip, Judge

_HEADER = re.compile(r"/\*.*?\*/\s*", re.DOTALL)


@dataclass(slots=True)
class Expected:
    """members_at: µs, the last instant whose effects must be applied in every shard."""

    transitions: list[Transition]
    members: dict[tuple[str, str], int]
    users: set[str]
    letters: list[Letter]
    members_at: int
    seen: Counter[str]
    complaints: list[str]


def definitions_in(folder: Path) -> dict[str, str]:
    return {path.stem: _HEADER.sub("", path.read_text()) for path in sorted(folder.glob("*.sql"))}


def expected(
    messages: Sequence[Message],
    epochs: Sequence[Epoch],
    folder: Path,
    rules: Rules,
    max_skew_us: int,
) -> Expected:
    decoder = Decoder(folder / "schema.yml", max_skew_us)
    accepted: list[Event] = []
    letters: list[Letter] = []
    for message in messages:
        try:
            accepted.append(decoder.read(message))
        except Refused as refused:
            letters.append(_letter(message, str(refused)))
    log = by_partition(accepted)
    made = account(epochs, log, rules)
    places = {(message.partition, message.offset): message for message in messages}
    letters += [_letter(places[event.partition, event.offset], "event_too_late") for event in made.too_late]

    users = {arrival.event.user_id for arrival in made.arrivals}
    judge = Judge(decoder.columns, definitions_in(folder))
    judge.load(made.applied(), made.bounds())
    transitions = numbered(judge.flips())
    members_at = min(made.watermarks) - 1
    complaints, unsettled = list(made.complaints), _unsettled(made, members_at)
    members = folded(transitions)
    if unsettled:
        complaints.append(unsettled)
    elif judge.members(members_at) != set(members):
        complaints.append("the verifier contradicts itself: its log does not lead to the members that SQL gives")
    seen = Counter(
        {"messages": len(messages), "events": len(made.arrivals), "late": made.late, "repeats": made.repeated,
         "refused": len(letters), "users": len(users), "layouts of shards": len(epochs)}
    )  # fmt: skip
    return Expected(transitions, members, users, letters, members_at, seen, complaints)


def numbered(flips: Iterable[Flip]) -> list[Transition]:
    """With the user's sequence numbers: one for each step in which something flips."""
    out: list[Transition] = []
    for user, mine in groupby(sorted(flips), key=lambda flip: flip[0]):
        for seq, (_, step) in enumerate(groupby(mine, key=lambda flip: flip[1:3]), 1):
            for _, t, _, by_event, name, entered in step:
                out.append((user, seq, name, entered, t, "event" if by_event else "time"))
    return out


def folded(transitions: Iterable[Transition]) -> dict[tuple[str, str], int]:
    """Members at the end of a log: (segment, user) -> since."""
    members: dict[tuple[str, str], int] = {}
    for user, _, segment, entered, at, _ in sorted(transitions):
        if entered:
            members[segment, user] = at
        else:
            members.pop((segment, user), None)
    return members


def _letter(message: Message, reason: str) -> Letter:
    return message.partition, message.offset, reason, message.key, message.value


def _unsettled(made: Account, members_at: int) -> str | None:
    """Membership by SQL alone means something only once every event is known."""
    last = max((arrival.known_at for arrival in made.arrivals), default=members_at)
    return f"the run ended {(last - members_at) / 1e6:.1f} s too early" if last > members_at else None
