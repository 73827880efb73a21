"""When a shard's state is saved, and when another commit names it: by instants and costs that are given here."""

import itertools
from dataclasses import replace

import pytest

from flows.save_costs import SaveCosts
from flows.shard_runner import Rules, ShardRunner
from segmentation.events.rows import Poll
from segmentation.types import NEVER
from storage.engine_state import Takeover
from tests.flows.counting import Counting, read, runner, saves


def test_shards_save_in_turn_though_all_saved_their_first_messages() -> None:
    saved = {number: saves(runner(number, 40_000_000), 100) for number in range(4)}
    assert saved == {0: [2, 10, 50, 90], 1: [2, 20, 60], 2: [2, 30, 70], 3: [2, 40, 80]}


class Slow(SaveCosts):
    """Of which every dump takes so long, and nothing else does, µs."""

    def __init__(self, took_us: int) -> None:
        readings = itertools.count(0, 1_000 * took_us)
        super().__init__(lambda: next(readings))


@pytest.mark.parametrize(
    ("took", "seconds"),
    [
        (1_000, [10, 50, 90, 130, 170, 210, 250, 290, 330, 370, 410]),
        (2_000_000, [50, 90, 130, 170, 210, 250, 290, 330, 370, 410]),
        (2_100_000, [50, 130, 210, 290, 370]),
        (5_000_000, [130, 250, 370]),
        (1_000_000_000, [370]),
    ],
)
def test_the_more_a_save_takes_the_further_apart_they_are(took: int, seconds: list[int]) -> None:
    """The first message's is at once; then so many turns are passed over as it takes for a twentieth of the time."""
    assert saves(runner(0, 40_000_000, Slow(took)), 420) == [2, *seconds]


def test_what_all_shards_of_the_process_take_counts() -> None:
    costs = Slow(1_100_000)
    two, alone = (runner(number, 40_000_000, costs) for number in (0, 1)), runner(0, 40_000_000, Slow(1_100_000))
    first, second = two
    assert saves(second, 3) == [2] and saves(first, 140) == [2, 50, 130]
    assert saves(alone, 140) == [2, 50, 90, 130]


def test_what_was_erased_is_saved_at_the_next_turn_whatever_it_costs() -> None:
    shard = runner(0, 40_000_000, Slow(1_000_000_000), last_step=5)
    assert isinstance(shard.shard, Counting)
    assert saves(shard, 3) == [2], "what a process before had erased may lie in files"
    shard.shard.to_erase = [("somebody", 1)]
    assert saves(shard, 4, 3) == [] and shard.due_us() == 10_000_000
    assert saves(shard, 200, 4) == [10]


def test_the_first_messages_of_a_partition_and_the_end_are_saved_whatever_it_costs() -> None:
    takeover = Takeover(0, 1, 0, NEVER, {}, None, [])
    shard = ShardRunner(takeover, Counting(), Rules(40_000_000, 2, save_costs=Slow(1_000_000_000)), 0)
    assert saves(shard, 20) == [2]
    of_another = replace(read(0), poll=Poll(1, 1, 0))
    (work,) = shard.take([of_another], 20_000_000)
    assert work.state is not None and not work.beside
    work.state = None
    assert saves(shard, 31, 20) == []
    (last,) = shard.end(31_000_000)
    assert last.state is not None and not last.beside


def test_one_state_of_a_shard_waits_for_the_database() -> None:
    shard = runner()
    works = [work for turn in range(10) for work in shard.take([read(turn)], turn * 1_000_000)]
    assert [work.state for work in works] == [b"state"] + [None] * 9
    works[0].state = None  # the sink has written it
    (next_one,) = shard.take([read(10)], 10_000_000)
    assert next_one.state == b"state" and next_one.beside
    next_one.state, next_one.beside = None, False  # and a commit has named it
    assert shard.end(11_000_000) == [], "it is saved"


def test_a_state_saved_beside_the_commits_is_named_though_nothing_comes() -> None:
    shard = runner()
    (first,) = shard.take([read(0)], 0)
    first.state = None
    (second,) = shard.take([read(1)], 1_000_000)
    assert second.beside and shard.due_us() == 2_000_000
    assert shard.tick(2_000_000) == [], "it is not on the disk yet"
    second.state = None
    assert shard.due_us() == 3_000_000
    (naming,) = shard.tick(3_000_000)
    assert naming.commit.parts == [] and naming.state is None
    second.beside = False
    assert shard.tick(9_000_000) == [] and shard.due_us() is None
