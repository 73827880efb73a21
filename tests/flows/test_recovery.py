"""Kills at any point: what is committed is what the record says, once, and nothing of the input is missing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.evaluate.step import Transitions
from tests.flows.world import World
from tests.oracle.erasures import with_erasures
from tests.oracle.running import EXAMPLES, Tally, bound, planned
from tests.oracle.strategies import Scenario, scenarios


@pytest.mark.timeout(900)
def test_kills_change_nothing() -> None:
    tally = Tally()
    flips = [0, 0, 0]

    some = scenarios(events=30) | with_erasures(scenarios(events=30))

    @settings(max_examples=EXAMPLES // 6)
    @given(some, st.integers(0, 2**32), st.sampled_from([1, 2, 3]), st.integers(0, 4))
    def property_(scenario: Scenario, seed: int, shards: int, kills: int) -> None:
        plan = planned(bound(scenario, tally), tally)
        world = World(scenario, plan, shards, seed)
        world.run_to_the_end(kills)
        flips[0] += 1
        flips[1] += check(world) > 0
        flips[2] += world.kills

    property_()
    assert flips[1] * 4 >= flips[0], "fewer than a quarter of the examples flip somebody"


def check(world: World) -> int:
    refused: list[tuple[int, int]] = []
    flips = 0
    for shard, stored in enumerate(world.stored):
        steps = world.told_by_the_record(shard)
        assert [told(step.transitions) for step in steps] == [told(commit.transitions) for commit in stored.commits]
        assert [sorted(step.new_users) for step in steps] == [sorted(commit.new_users) for commit in stored.commits]
        assert [sorted(step.erased) for step in steps] == [sorted(commit.erased) for commit in stored.commits]
        assert [step.watermark for step in steps] == [commit.watermark for commit in stored.commits]
        reached = stored.offsets()
        assert all(reached.get(partition, 0) == len(world.logs[partition]) for partition in world.scenario.partitions)
        refused += [(letter.partition, letter.offset) for commit in stored.commits for letter in commit.dead_letters]
        flips += sum(len(step.transitions) for step in steps)
    expected = [(p, offset) for p, log in world.logs.items() for offset, event in enumerate(log) if event is None]
    assert sorted(refused) == sorted(expected)
    return flips


def told(transitions: Transitions) -> list[tuple[object, ...]]:
    """Comparable; a user's messages in their order, users in any."""
    first = transitions.first.tolist()
    return sorted(
        (
            transitions.user_id[i], int(transitions.seq[i]), int(transitions.effective_at[i]),
            bool(transitions.by_event[i]), tuple(transitions.segment[first[i] : first[i + 1]].tolist()),
            tuple(transitions.entered[first[i] : first[i + 1]].tolist()),
        )
        for i in range(len(transitions))
    )  # fmt: skip
