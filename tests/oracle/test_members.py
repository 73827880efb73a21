"""The twin against the judge: at any instant, the members are those that DuckDB returns."""

from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.reference import Flip, Reference
from tests.oracle import cases
from tests.oracle.erasures import with_erasures, with_profiles
from tests.oracle.grammar import COLUMNS, START_US, USER_COLUMNS
from tests.oracle.judge import Judge
from tests.oracle.running import JUDGED, Tally, bound, finish, reference_of
from tests.oracle.strategies import Scenario, scenarios

pytestmark = pytest.mark.timeout(1_800 + JUDGED)

JUDGE = Judge(COLUMNS, USER_COLUMNS)


def test_members_at_random_instants() -> None:
    _hold_for(scenarios(), JUDGED)


def test_members_with_profiles() -> None:
    _hold_for(with_profiles(scenarios(of_users=True)), JUDGED // 3)


def test_members_with_erasures() -> None:
    _hold_for(with_erasures(scenarios(of_users=True)), JUDGED // 6)


def _hold_for(some: st.SearchStrategy[Scenario], examples: int) -> None:
    tally = Tally()

    @settings(max_examples=examples)
    @given(some, st.data())
    def property_(scenario: Scenario, data: st.DataObject) -> None:
        reference = _run(scenario, tally)
        near = {flip.effective_at for flip in reference.log} | {k.known_at for k in reference.known()}
        near |= {scenario.end - 20 * scenario.unit.micros}
        offsets = st.sampled_from([0, -1, 1])
        drawn = data.draw(st.lists(st.tuples(st.sampled_from(sorted(near)), offsets), max_size=5))
        _check(scenario, reference, [min(t + offset, scenario.end) for t, offset in drawn])

    property_()
    tally.check()


@pytest.mark.parametrize("file", sorted(cases.FOLDER.glob("*.yml")), ids=lambda file: file.stem)
def test_cases(file: Path) -> None:
    scenario, tally = cases.load(file.read_text()), Tally()
    reference = _run(scenario, tally)
    assert not tally.refused
    instants = {flip.effective_at for flip in reference.log} | {k.known_at for k in reference.known()}
    _check(scenario, reference, sorted(t + offset for t in instants for offset in (-1, 0, 1)))


def _run(scenario: Scenario, tally: Tally) -> Reference:
    reference = reference_of(scenario, bound(scenario, tally))
    finish(reference, scenario)
    tally.add(reference.log)
    _one_band_at_a_time(reference.log)
    return reference


def _one_band_at_a_time(log: list[Flip]) -> None:
    """A move from one band to another is one step: after each step a user is in one band of a definition at most."""
    steps: defaultdict[tuple[str, int], list[Flip]] = defaultdict(list)
    for flip in log:
        steps[flip.user_id, flip.seq].append(flip)
    inside: set[tuple[str, str]] = set()
    for (user, _), flips in sorted(steps.items()):
        for flip in flips:
            (inside.add if flip.entered else inside.discard)((user, flip.segment))
        bands = [name.partition("/")[0] for of, name in inside if of == user and "/" in name]
        assert len(bands) == len(set(bands)), flips


def _check(scenario: Scenario, reference: Reference, instants: list[int]) -> None:
    JUDGE.load(reference.known())
    texts = {definition.name: definition.sql for definition in reference.definitions}
    users = {k.event.user_id for k in reference.known()}
    for t in [*instants, scenario.end]:
        judged = JUDGE.members(texts, t)
        logged = members_at(reference.log, t)
        afresh = {(u, d.name) for u in users for d in reference.definitions if reference.is_member(d, u, t)}
        assert logged == judged == afresh, "\n".join(
            [
                f"members differ at {t - START_US:,}",
                f"DuckDB:    {sorted(judged)}",
                f"log:       {sorted(logged)}",
                f"reference: {sorted(afresh)}",
                cases.log_text(reference.log),
                cases.dump(scenario),
            ]
        )


def members_at(log: list[Flip], t: int) -> set[tuple[str, str]]:
    """What the log says, read up to and including t."""
    last = {}
    for flip in log:
        if flip.effective_at <= t:
            last[flip.user_id, flip.segment] = flip.entered
    return {key for key, entered in last.items() if entered}
