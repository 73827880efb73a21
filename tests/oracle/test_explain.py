"""What is said of one user is what the engine's log says of him, for random definitions and streams.

The log is that of a run over the whole stream up to an instant, and then of passing time without any arrival.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import event as note
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile.plan import Clock, Plan
from segmentation.evaluate.looking import Alone
from segmentation.evaluate.shard import Shard
from segmentation.explain.arrivals import Arrival
from segmentation.explain.arriving import event_types
from segmentation.explain.conditions import ALL
from segmentation.explain.explaining import explain
from segmentation.explain.forecasting import forecast
from segmentation.explain.from_state import Kept, explain_state
from segmentation.reference import Flip, Reference
from segmentation.reference_eval import COMPARE
from segmentation.state import log
from segmentation.state.archive import Archive
from storage.reservoir import Reservoir, kept_columns
from tests.oracle.erasures import with_erasures, with_profiles
from tests.oracle.grammar import COLUMNS
from tests.oracle.running import EXAMPLES, SCHEMA, Bits, Tally, bound, engine, finish, planned, reference_of
from tests.oracle.strategies import PARTITIONS, Scenario, scenarios
from tests.oracle.streams import polls_of

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # flushing to a disk would be most of the time
ALL_STORED = kept_columns(SCHEMA)
SCENARIOS = (
    scenarios(definitions=3) | with_profiles(scenarios(definitions=3, of_users=True))
    | with_erasures(scenarios(definitions=3))
)  # fmt: skip
pytestmark = pytest.mark.timeout(900)

SOME = EXAMPLES // 5


def test_explanations_are_what_the_log_says() -> None:
    tally = Tally()

    @settings(max_examples=SOME)
    @given(SCENARIOS, st.data())
    def property_(scenario: Scenario, data: st.DataObject) -> None:
        definitions = planned(bound(scenario, tally), tally).segments
        reference = reference_of(scenario, definitions)
        finish(reference, scenario)
        whole = engine(scenario, planned(definitions, tally), 1, Bits(0))
        tally.add(whole.log)
        ends = sorted({flip.effective_at + after for flip in reference.log for after in (-1, 0)})
        at = data.draw(st.sampled_from([*ends, scenario.end]))
        for user_id in sorted({known.event.user_id for known in reference.known()} | {"nobody"}):
            _hold(scenario, reference, whole.log, user_id, at)

    property_()
    tally.check()


def _hold(scenario: Scenario, reference: Reference, log: list[Flip], user_id: str, at: int) -> None:
    arrivals = [Arrival(k.event, k.known_at) for k in reference.known() if k.event.user_id == user_id]
    for definition in reference.definitions:
        told = explain(definition, SCHEMA, user_id, arrivals, at)
        types = event_types(definition.query, told.events > 0)
        # What could change it: what arrives of other types must not.
        later_on = (arrival for arrival in arrivals if arrival.known_at > at and _matters(arrival, types))
        quiet = min((arrival.known_at for arrival in later_on), default=scenario.end + 1)
        if types is not None:
            note("only some types matter")
        mine = _netted([flip for flip in log if (flip.user_id, flip.segment) == (user_id, definition.name)])
        before = [flip for flip in mine if flip[0] <= at]
        assert told.member == (before[-1][1] if before else False), (definition.sql, told)
        assert told.since == (before[-1][0] if before else None), (definition.sql, told)
        # The log goes on with what arrives: until then it is that of time alone.
        later = [flip[0] for flip in mine if at < flip[0] < quiet]
        if later:
            note("a later flip")
            assert told.next_flip == later[0], (definition.sql, told)
            assert told.turns, (definition.sql, told)
        else:
            assert told.next_flip is None or told.next_flip >= quiet, (definition.sql, told)
        assert told.condition.holds is True if told.member else told.condition.holds is not True
        assert told.known == any(arrival.known_at <= at for arrival in arrivals)


def _matters(arrival: Arrival, types: frozenset[str] | None) -> bool:
    """A profile's version does only where nothing is said of types."""
    return types is None or arrival.event.values.get("event_type") in types


def test_a_forecast_is_the_log_of_passing_time() -> None:
    tally = Tally()

    @settings(max_examples=SOME)
    @given(scenarios(definitions=4) | with_profiles(scenarios(definitions=4, of_users=True)))
    def property_(scenario: Scenario) -> None:
        definitions = planned(bound(scenario, tally), tally).segments
        plan = planned(definitions, tally)
        reference = reference_of(scenario, definitions)
        members, before = reference.members(), len(reference.log)
        reference.finish(scenario.end)
        later = reference.log[before:]
        tally.add(reference.log)
        for segment, definition in enumerate(plan.segments):
            told = forecast(_shards(scenario, plan), segment, scenario.end, 100_000)
            expected = sorted(
                (at, user_id, entered)
                for user_id in {flip.user_id for flip in later}
                for at, entered in _netted([f for f in later if (f.user_id, f.segment) == (user_id, definition.name)])
            )
            assert [(one.at, one.user_id, one.enters) for one in told.first] == expected, definition.sql
            assert (told.entries, told.exits) == (
                sum(entered for *_, entered in expected), sum(not entered for *_, entered in expected)
            )  # fmt: skip
            assert told.members == sum(name == definition.name for _, name in members)
            if expected:
                note("a flip by time")
                few = forecast(_shards(scenario, plan), segment, scenario.end, 1)
                assert (few.first, few.entries + few.exits) == (told.first[:1], len(expected))

    property_()
    tally.check()


def test_what_is_said_from_the_state_is_what_the_log_says() -> None:
    """Whatever has been dropped: the user is taken out of a shard whose older events are in files."""
    tally = Tally()

    @settings(max_examples=SOME)
    @given(scenarios(definitions=3) | with_profiles(scenarios(definitions=3, of_users=True)))
    def property_(scenario: Scenario) -> None:
        definitions = planned(bound(scenario, tally), tally).segments
        plan = planned(definitions, tally)
        reference = reference_of(scenario, definitions)
        members, before = reference.members(), len(reference.log)
        users = sorted({known.event.user_id for known in reference.known()})
        reference.finish(scenario.end)
        later = reference.log[before:]
        tally.add(reference.log)
        with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(dir=MEMORY) as folder:
            for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2), ("LONG_ROWS", 0)):
                patch.setattr(log, name, rows)
            for shard in _shards(scenario, plan, lambda: Reservoir(Path(folder), 0, 1, ALL_STORED, group_rows=2)):
                for user_id in {shard.user_ids[n] for numbers, _ in shard.truths([]) for n in numbers.tolist()}:
                    assert user_id in users
                    for number, definition in enumerate(plan.segments):
                        mine = [f for f in later if (f.user_id, f.segment) == (user_id, definition.name)]
                        member = (user_id, definition.name) in members
                        _hold_from_state(shard, number, str(user_id), member, _netted(mine), scenario.end)

    property_()
    tally.check()


def _hold_from_state(
    shard: Shard, number: int, user_id: str, member: bool, later: list[tuple[int, bool]], end: int
) -> None:
    """later: the flips that follow, up to `end`."""
    at = shard.watermark - 1
    told = explain_state(lambda: Alone(shard, user_id), number, Kept(user_id, at, None, 0, 0, None), at)
    assert told.member == member, told
    if not any(isinstance(signal, Clock) for signal in shard.plan.signals):
        assert told.next_flip == later[0][0] if later else told.next_flip is None or told.next_flip > end, told
    for part in told.condition.walk():
        if part.op:
            left, right = (side.value for side in part.sides)
            assert COMPARE[part.op](left, right) == part.holds, part
        elif part.parts:
            held = [each.holds is True for each in part.parts]
            assert part.holds == (all(held) if part.kind == ALL else any(held)), part
    if told.next_flip is not None:
        assert told.turns or told.condition.holds is None, told


def _shards(
    scenario: Scenario, plan: Plan, archive: Callable[[], Archive | None] = lambda: None
) -> Iterator[Shard]:
    """Two shards after the whole stream."""
    for polls in polls_of(scenario.reads, COLUMNS, 2):
        shard = Shard(plan, PARTITIONS, scenario.lateness_us, scenario.dedupe_horizon_us, scenario.live, archive())
        shard.add_partitions(PARTITIONS, scenario.profiles)
        shard.run(polls)
        yield shard


def _netted(log: list[Flip]) -> list[tuple[int, bool]]:
    found: list[tuple[int, bool]] = []
    for flip in log:
        if found and found[-1][0] == flip.effective_at:
            found.pop()
        else:
            found.append((flip.effective_at, flip.entered))
    return found
