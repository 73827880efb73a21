"""How far apart saves are: by what they took, which is given here and not measured."""

from collections.abc import Iterator

import pytest

from flows.save_costs import MOST_TURNS, TIMES, SaveCosts

S = 1_000_000


def costs_of(dumps: dict[int, int], writes: dict[int, int]) -> SaveCosts:
    """With saves of each shard that took so long, µs."""
    readings: list[int] = []
    costs = SaveCosts(lambda: 1_000 * readings.pop(0))
    for kind, call in ((dumps, costs.dumping), (writes, costs.writing)):
        for shard, took in kind.items():
            readings += [7, 7 + took]
            assert call(shard, lambda: "what it is") == "what it is"
    assert not readings
    return costs


def test_what_is_measured_is_the_last_save_of_each_shard() -> None:
    readings: Iterator[int] = iter([0, 5_000, 10_000, 12_000, 20_000, 23_000, 30_000, 34_000])
    costs = SaveCosts(lambda: next(readings))
    costs.dumping(0, lambda: None)
    costs.writing(0, lambda: None)
    assert costs.together_us() == 7
    costs.dumping(1, lambda: None)
    costs.dumping(0, lambda: None)
    assert costs.together_us() == 4 + 2 + 3


def test_a_save_that_fails_leaves_what_was_known() -> None:
    costs = costs_of({0: 3}, {})

    def fail() -> None:
        raise OSError("full")

    readings = iter([0, 9_000])
    costs._cpu_ns = lambda: next(readings)
    with pytest.raises(OSError, match="full"):
        costs.writing(0, fail)
    assert costs.together_us() == 3


def test_small_states_are_saved_at_every_turn() -> None:
    assert SaveCosts().due_us(130 * S, 100 * S, 30 * S) == 130 * S
    assert costs_of({0: S // 4, 1: S // 4}, {0: S // 2, 1: S // 2}).due_us(130 * S, 100 * S, 30 * S) == 130 * S


def test_large_ones_pass_turns_over() -> None:
    costs = costs_of(dict.fromkeys(range(4), S // 4), dict.fromkeys(range(4), S))
    assert costs.due_us(130 * S, 100 * S, 30 * S) == 220 * S
    assert costs.due_us(110 * S, 100 * S, 30 * S) == 200 * S, "it saved out of turn: the first that is late enough"
    for turn in range(100 * S, 130 * S, S // 2):
        due = costs.due_us(turn, 100 * S, 30 * S)
        assert due - 100 * S >= TIMES * costs.together_us() and (due - turn) % (30 * S) == 0


def test_there_is_a_most() -> None:
    assert costs_of({0: 1_000 * S}, {}).due_us(130 * S, 100 * S, 30 * S) == 100 * S + MOST_TURNS * 30 * S
    assert costs_of({0: S}, {}).due_us(5, 4, 0) == 5, "what is saved at each step goes on being so"
