"""Random records of profiles in a random stream. Tombstones: several per user, before his first event, between events
of one instant, in the past and ahead of the clock; and what came before them is sent again. Versions: the same, and
long before all else, several at one time, for users who have no events, and on a partition that is not theirs."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import strategies as st

from segmentation.compile.tree import Value
from segmentation.events.rows import PROFILES
from segmentation.reference import Version
from segmentation.types import FOREVER
from tests.oracle.grammar import START_US
from tests.oracle.strategies import PARTITIONS, Read, Scenario, Tombstone
from tests.oracle.streams import numbered, time_of

PROFILE_PARTITIONS = 2

USER_VALUES: dict[str, st.SearchStrategy[Value]] = {
    "city_tier": st.sampled_from([None, 1, 1, 2, 3]),
    "country": st.sampled_from([None, "CA", "ca", "Ünï", ""]),
    "credit": st.sampled_from([None, *map(Decimal, ("0.00", "0.01", "1.00", "2.50", "-1.50"))]),
    "vip": st.sampled_from([None, True, False]),
    "rating": st.sampled_from([None, 0.0, 0.5, 0.1 + 0.2, -0.5]),
}


@st.composite
def with_erasures(draw: st.DrawFn, some: st.SearchStrategy[Scenario]) -> Scenario:
    scenario = draw(some)
    unit, live = scenario.unit.micros, scenario.live
    users = sorted({event.user_id for read in scenario.reads for event in read.events} | {"u0"})
    times = {user: [e.time for read in scenario.reads for e in read.events if e.user_id == user] for user in users}
    reads: list[Read] = []
    # With the event clock, profiles hold the watermark back until their end was seen.
    open_until = 0 if live else draw(st.integers(0, len(scenario.reads)))
    for number, read in enumerate(scenario.reads):
        if not live and number == open_until:
            reads += [Read(PROFILES + p, read.clock, watermark=FOREVER) for p in range(PROFILE_PARTITIONS)]
        if live and draw(st.integers(0, 2)) == 0:
            behind = draw(st.sampled_from([0, 0, 0, unit]))
            said = read.clock - scenario.lateness_us - behind
            reads += [Read(PROFILES + p, read.clock, watermark=said) for p in range(PROFILE_PARTITIONS)]
        reads.append(read)
        if draw(st.integers(0, 3)) == 0:
            partition = PROFILES + draw(st.integers(0, PROFILE_PARTITIONS - 1))
            reads.append(Read(partition, read.clock, records=list(draw(_versions(users, scenario, read.clock, reads)))))
        if draw(st.integers(0, 3)):
            continue
        if draw(st.booleans()):  # time has passed over what stays of the user
            said = read.clock - scenario.lateness_us
            everywhere = (*range(PARTITIONS), *range(PROFILES, PROFILES + PROFILE_PARTITIONS))
            reads += [Read(partition, read.clock, watermark=said) for partition in everywhere]
        partition = PROFILES + draw(st.integers(0, PROFILE_PARTITIONS - 1))
        erased = []
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            user = draw(st.sampled_from(users))
            first = min(times[user], default=read.clock)
            after = draw(st.sampled_from([0, 0, 0, -1, 1, -unit, unit, -7 * unit]))
            erased.append((user, draw(st.sampled_from([first, first, first, *times[user], read.clock])) + after))
        records: list[Tombstone | Version] = []
        for tombstone in erased:
            records += draw(_versions(users, scenario, read.clock, reads))
            records.append(tombstone)
        reads.append(Read(partition, read.clock, records=records))
        whose = {user for user, _ in erased}
        sent = [Read(r.partition, read.clock, [e]) for r in reads for e in r.events if e.user_id in whose]
        again: bool = draw(st.booleans())
        if sent and again:
            reads += map(replace, draw(st.lists(st.sampled_from(sent), max_size=3)))
    if not live and open_until == len(scenario.reads):
        clock = scenario.reads[-1].clock
        reads += [Read(PROFILES + p, clock, watermark=FOREVER) for p in range(PROFILE_PARTITIONS)]
    return _ended(scenario, reads)


@st.composite
def with_profiles(draw: st.DrawFn, some: st.SearchStrategy[Scenario]) -> Scenario:
    """Versions alone, more of them."""
    scenario = draw(some)
    users = sorted({event.user_id for read in scenario.reads for event in read.events} | {"u0", "u9"})
    live = scenario.live
    reads: list[Read] = []
    open_until = 0 if live else draw(st.integers(0, len(scenario.reads)))
    for number, read in enumerate(scenario.reads):
        if (not live and number == open_until) or (live and draw(st.integers(0, 2)) == 0):
            said = read.clock - scenario.lateness_us if live else FOREVER
            reads += [Read(PROFILES + p, read.clock, watermark=said) for p in range(PROFILE_PARTITIONS)]
        reads.append(read)
        if draw(st.booleans()):
            partition = PROFILES + draw(st.integers(0, PROFILE_PARTITIONS - 1))
            reads.append(Read(partition, read.clock, records=list(draw(_versions(users, scenario, read.clock, reads)))))
    if not live and open_until == len(scenario.reads):
        clock = scenario.reads[-1].clock
        reads += [Read(PROFILES + p, clock, watermark=FOREVER) for p in range(PROFILE_PARTITIONS)]
    return _ended(scenario, reads)


@st.composite
def _versions(draw: st.DrawFn, users: list[str], scenario: Scenario, clock: int, reads: list[Read]) -> list[Version]:
    unit = scenario.unit.micros
    times = [time_of(record) for read in reads for record in read.records]
    times += [event.time for read in reads for event in read.events]
    found = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        steps = draw(st.sampled_from([0, 0, 0, 1, 2, 4, 1000] + ([-1, -3] if scenario.live else [])))
        time = clock - steps * unit + (draw(st.sampled_from([0, 0, -1])) if unit > 1 else 0)
        time = draw(st.sampled_from([time, time, *times[-2:]]))
        values = {name: draw(strategy) for name, strategy in USER_VALUES.items()}
        joined = draw(st.sampled_from([None, *range(0, 20, 3)]))
        values["joined"] = None if joined is None else START_US + joined * unit
        found.append(Version(draw(st.sampled_from(users)), "", time, values))
    return found


def _ended(scenario: Scenario, reads: list[Read]) -> Scenario:
    unit = scenario.unit.micros
    latest = max([scenario.end - 30 * unit, *(time_of(record) for read in reads for record in read.records)])
    return replace(scenario, reads=numbered(reads), end=latest + 30 * unit, profiles=PROFILE_PARTITIONS)
