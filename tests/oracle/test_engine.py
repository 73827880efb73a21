"""The engine against its slow twin: whole logs, for any cut of the batches and 1, 2 and 7 shards."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.reference import Flip, Reference
from tests.oracle import cases
from tests.oracle.erasures import with_erasures, with_profiles
from tests.oracle.running import EXAMPLES, Bits, Outcome, Tally, bound, engine, finish, planned, reference_of
from tests.oracle.strategies import EXTREMES, Scenario, scenarios

pytestmark = pytest.mark.timeout(1_800 + 10 * EXAMPLES)

CUTS = st.integers(0, 2**48 - 1)
#: Cuts to the very end of streams with many reads.
MANY_CUTS = st.binary(min_size=60, max_size=60).map(lambda cuts: int.from_bytes(cuts, "big"))


def test_logs_are_those_of_the_reference() -> None:
    _hold_for(scenarios(), EXAMPLES)


def test_long_streams() -> None:
    _hold_for(scenarios(definitions=10, events=80), EXAMPLES // 40)


def test_users_are_erased() -> None:
    _hold_for(with_erasures(scenarios(events=24) | scenarios(events=16, of_users=True)), EXAMPLES // 4, MANY_CUTS)


def test_profiles() -> None:
    _hold_for(with_profiles(scenarios(of_users=True)), EXAMPLES // 3, MANY_CUTS)


def test_extreme_values() -> None:
    _hold_for(scenarios(values=EXTREMES), EXAMPLES // 10)


def _hold_for(some: st.SearchStrategy[Scenario], examples: int, cuts: st.SearchStrategy[int] = CUTS) -> None:
    tally = Tally()

    @settings(max_examples=examples)
    @given(some, cuts, cuts)
    def property_(scenario: Scenario, one: int, other: int) -> None:
        _hold(scenario, [one, other], tally, [(2, 7)[one & 1]])

    property_()
    tally.check()


@pytest.mark.parametrize("cuts", [0, 0x5A5A5A5A5A5A, 2**48 - 1])
@pytest.mark.parametrize("file", sorted(cases.FOLDER.glob("*.yml")), ids=lambda file: file.stem)
def test_cases(file: Path, cuts: int) -> None:
    tally = Tally()
    _hold(cases.load(file.read_text()), [cuts, ~cuts], tally)
    assert not tally.refused


def _hold(scenario: Scenario, cuts: list[int], tally: Tally, several: Sequence[int] = (2, 7)) -> None:
    definitions = bound(scenario, tally)
    plan = planned(definitions, tally)
    reference = reference_of(scenario, plan.segments)
    watermark = reference.watermark
    finish(reference, scenario)
    tally.add(reference.log)
    whole = engine(scenario, plan, 1, Bits(0))
    same(scenario, reference, watermark, whole, "1 shard, one run")
    again = engine(scenario, plan, 1, Bits(cuts[0]), whole.parts)
    same(scenario, reference, watermark, again, f"repeated from its record, cuts {cuts[0]:#x}")
    for shards in several:
        outcome = engine(scenario, plan, shards, Bits(cuts[1]))
        same(scenario, reference, watermark, outcome, f"{shards} shards, cuts {cuts[1]:#x}")


def same(scenario: Scenario, reference: Reference, watermark: int, outcome: Outcome, how: str) -> None:
    users = {known.event.user_id for known in reference.known()}

    def said(title: str) -> str:
        return "\n".join(
            [
                f"{title} ({how})",
                f"log of the reference:\n{cases.log_text(reference.log)}",
                f"log of the engine:\n{cases.log_text(outcome.log)}",
                cases.dump(scenario),
            ]
        )

    assert _order(outcome.log) == _order(reference.log), said("logs differ")
    assert outcome.members == reference.members(), said("members differ")
    assert outcome.new_users == users, said("new users differ")
    late = sorted(event.user_id for event in reference.too_late)
    assert sorted(outcome.too_late) == late, said("refused events differ")
    assert outcome.repeated == reference.repeated, said("repeats differ")
    assert outcome.erased == reference.erased, said("erasures differ")
    assert outcome.dropped == reference.dropped, said("dropped events differ")
    assert outcome.watermarks == {watermark}, said("watermarks differ")
    causes = {(flip, flip.by_event) for flip in reference.log}
    assert {(flip, flip.by_event) for flip in outcome.log} == causes, said("causes differ")


def _order(log: list[Flip]) -> list[Flip]:
    return sorted(log, key=lambda flip: (flip.user_id, flip.seq, flip.segment))


def check(text: str, cuts: int = 0) -> None:
    """For a person with a counterexample: check('''the YAML that was printed''')."""
    _hold(cases.load(text), [cuts, ~cuts], Tally())
