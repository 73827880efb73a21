"""Random streams: few users, three partitions that lag unequally, a coarse grid of time.

So windows end at the instants of events, times tie, events repeat, come late and, when the clock
counts, ahead of it.
"""

import datetime
from dataclasses import dataclass, field, replace
from decimal import Decimal

from hypothesis import strategies as st

from segmentation.compile.tree import Value
from segmentation.events.rows import PROFILES
from segmentation.reference import Event, Version
from tests.oracle.grammar import START, UNITS, Unit, definition
from tests.oracle.grammar_calendar import ORIGINS

PARTITIONS = 3

VALUES: dict[str, st.SearchStrategy[Value]] = {
    "event_type": st.sampled_from(["view", "buy", "buy", "re_turn", "BUY"]),
    "region": st.sampled_from([None, "CA", "ca", "O'Hare", "Ünï", "ünï", ""]),
    "amount": st.sampled_from([None, *map(Decimal, ("0.00", "0.01", "1.00", "2.50", "3.33", "-1.50", "-0.01"))]),
    "quantity": st.sampled_from([None, 0, 1, 1, 2, 3, -1]),
    "score": st.sampled_from([None, 0.0, 0.1, 0.5, 0.1 + 0.2, -0.5, 1.25]),
    "premium": st.sampled_from([None, True, False]),
}

#: The ends of what the types hold, where 64 bits and doubles no longer do. DuckDB gives up on some.
EXTREMES = VALUES | {
    "amount": st.sampled_from([None, *map(Decimal, ("9999999999.99", "-9999999999.99", "9999999999.98", "0.01"))]),
    "quantity": st.sampled_from([None, 2**63 - 1, -(2**63), 2**53 + 1, 2**53, 1, -1]),
    "score": st.sampled_from([None, 1.7e308, -1.7e308, 5e-324, 9_999_999_999.99, 2.0**53, 2.0**63, 0.0]),
}

#: By how many units the clock goes on before an event; how many lie behind where the others are read.
_STEPS, _BEHIND = st.sampled_from([0, 0, 0, 1, 1, 2, 4]), st.sampled_from([0, 0, 1, 3])
#: By how many units an event is late; of a clock that counts, also ahead of it.
_DELAYS = [0, 0, 0, 0, 1, 2, 4, 8]
_LATE, _LATE_OR_AHEAD = st.sampled_from(_DELAYS), st.sampled_from([*_DELAYS, -1, -3])
_JUST_BEFORE, _FIRST_OF_ID = st.sampled_from([0, 0, 0, -1]), st.sampled_from("abc")

Tombstone = tuple[str, int]


@dataclass
class Read:
    """One read of a partition: events, or tombstones (user id, T) and versions of profiles in order, or a word about
    how far it is."""

    partition: int
    clock: int
    events: list[Event] = field(default_factory=list)
    watermark: int | None = None
    records: list[Tombstone | Version] = field(default_factory=list)


@dataclass
class Scenario:
    """Everything that a run is made of. All times are µs. profiles: partitions of that topic, PROFILES and up."""

    unit: Unit
    definitions: dict[str, str]  # SQL by name
    reads: list[Read]
    lateness_us: int
    dedupe_horizon_us: int | None
    live: bool
    end: int  # where every window has closed
    profiles: int = 0

    @property
    def partitions(self) -> list[int]:
        return [*range(PARTITIONS), *range(PROFILES, PROFILES + self.profiles)]


@st.composite
def scenarios(
    draw: st.DrawFn, definitions: int = 7, events: int = 14, values: dict[str, st.SearchStrategy[Value]] = VALUES,
    of_users: bool = False,
) -> Scenario:  # fmt: skip
    """of_users: every other definition is about users."""
    unit = draw(st.sampled_from(UNITS))
    start = START
    if draw(st.booleans()):
        start = draw(st.sampled_from(ORIGINS)) - datetime.timedelta(microseconds=draw(st.integers(8, 24)) * unit.micros)
    texts: list[str] = []
    for _ in range(draw(st.integers(definitions // 2, definitions))):
        names = [f"s{number}/a" if " AS band " in text else f"s{number}" for number, text in enumerate(texts)]
        texts.append(draw(definition(unit, names, of_users=of_users and draw(st.booleans()), start=start)))
    live = draw(st.booleans())
    lateness = draw(st.sampled_from([0, 0, 1, unit.micros, 2 * unit.micros]))
    begin = int(start.timestamp()) * 1_000_000 + start.microsecond
    reads = draw(_reads(unit, live, lateness, events, values, begin))
    latest = max([begin, *(event.time for read in reads for event in read.events), *(read.clock for read in reads)])
    return Scenario(
        unit,
        {f"s{number}": text for number, text in enumerate(texts)},
        reads,
        lateness,
        draw(st.sampled_from([None, None, 2 * unit.micros, 6 * unit.micros])),
        live,
        latest + 30 * unit.micros,
    )


@st.composite
def _reads(
    draw: st.DrawFn, unit: Unit, live: bool, lateness: int, events: int, values: dict[str, st.SearchStrategy[Value]],
    start: int,
) -> list[Read]:  # fmt: skip
    ahead = draw(st.booleans()) if live else False
    users = [f"u{number}" for number in range(draw(st.integers(3 if ahead else 1, 4)))]
    lags = draw(st.tuples(*[st.sampled_from([-3, -2, -1] if ahead else [0, 0, 1, 4])] * PARTITIONS))
    delays = _LATE_OR_AHEAD if live else _LATE
    who = st.sampled_from(users)
    clock = start + 8 * unit.micros
    reads: list[Read] = []
    sent: list[Event] = []
    for number in range(draw(st.integers(events // 2, events))):
        clock += draw(_STEPS) * unit.micros
        moment = draw(st.integers(0, 15))
        if moment == 0:  # one partition is quiet
            partition, said = draw(st.integers(0, PARTITIONS - 1)), draw(st.booleans())
            reads.append(Read(partition, clock, watermark=clock - lateness if said else None))
            continue
        if moment <= 4:  # all are: the shard's watermark moves
            behind = draw(_BEHIND) * unit.micros
            reads += [Read(partition, clock, watermark=clock - lateness - behind) for partition in range(PARTITIONS)]
        what = draw(st.integers(1, 11))
        user = draw(who)
        partition = int(user[1:]) % PARTITIONS if what > 1 else draw(st.integers(0, PARTITIONS - 1))
        if what == 2 and sent:
            event = draw(st.sampled_from(sent))
            partition = int(event.user_id[1:]) % PARTITIONS
            if draw(st.booleans()):  # the first one counts, whatever a later one says
                event = replace(event, values={name: draw(strategy) for name, strategy in values.items()})
        else:
            steps = lags[partition] + draw(delays)
            time = clock - steps * unit.micros + (draw(_JUST_BEFORE) if unit.micros > 1 else 0)
            row = {name: draw(strategy) for name, strategy in values.items()}
            event = Event(user, f"{draw(_FIRST_OF_ID)}{number}", time, row)
            sent.append(event)
        last = reads[-1] if reads else None
        if last and last.partition == partition and last.clock == clock and last.watermark is None:
            last.events.append(event)
        else:
            reads.append(Read(partition, clock, [event]))
    return reads
