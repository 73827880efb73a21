"""Random tombstones in a random stream: several per user, before his first event, between events of one instant,
in the past and ahead of the clock; and what came before them is sent again."""

from dataclasses import replace

from hypothesis import strategies as st

from segmentation.events.rows import PROFILES
from segmentation.types import FOREVER
from tests.oracle.strategies import PARTITIONS, Read, Scenario

PROFILE_PARTITIONS = 2


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
        reads.append(Read(partition, read.clock, erased=erased))
        whose = {user for user, _ in erased}
        sent = [Read(r.partition, read.clock, [e]) for r in reads for e in r.events if e.user_id in whose]
        again: bool = draw(st.booleans())
        if sent and again:
            reads += map(replace, draw(st.lists(st.sampled_from(sent), max_size=3)))
    if not live and open_until == len(scenario.reads):
        clock = scenario.reads[-1].clock
        reads += [Read(PROFILES + p, clock, watermark=FOREVER) for p in range(PROFILE_PARTITIONS)]
    latest = max([scenario.end - 30 * unit, *(time for read in reads for _, time in read.erased)])
    return replace(scenario, reads=reads, end=latest + 30 * unit, profiles=PROFILE_PARTITIONS)
