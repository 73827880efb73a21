"""How much of what time does a step may take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.slices import BULK_ROWS, BULK_SHARE, LEAST_FLIPS, TARGET_US, Slices
from segmentation.evaluate.step import Step, Transitions


def step(flips: int, changes: int | None = None) -> Step:
    found = Transitions.none()
    found.by_event = np.zeros(flips, np.bool_)
    return Step([], 0, found, changes=flips if changes is None else changes)


def test_without_a_limit() -> None:
    slices = Slices(None, lambda: 0)
    slices.taken(1, step(10**6), 0)
    assert slices.most(1, 0) is None


@given(st.lists(st.tuples(st.integers(0, 4_000), st.booleans(), st.integers(0, 2 * TARGET_US)), max_size=60))
def test_what_awaits_its_commit_is_bounded(turns: list[tuple[int, bool, int]]) -> None:
    done = now = 0
    waiting: dict[int, int] = {}
    slices = Slices(2_000, lambda: done)
    for number, (due, commits, pause) in enumerate(turns, 1):
        now += pause
        if commits:
            done, waiting = number - 1, {}
        most = slices.most(1, now)
        assert most is not None and most + sum(waiting.values()) <= 2_000
        assert most > 0 or waiting
        waiting[number] = min(due, most)
        slices.taken(number, step(waiting[number]), now)


@pytest.mark.parametrize(
    ("took", "size"), [(TARGET_US + 1, LEAST_FLIPS), (TARGET_US // 2 - 1, 4_000), (TARGET_US, 1_000)]
)
def test_slices_are_as_large_as_their_commits_are_fast(took: int, size: int) -> None:
    slices = Slices(4_000, lambda: 10**6)
    for number in range(20):
        most = slices.most(1, number * took)
        assert most is not None
        slices.taken(number, step(most), number * took)
    assert slices.most(1, 20 * took) == size


def test_a_shard_that_catches_up_lets_windows_keep_pace() -> None:
    slices = Slices(4_000, lambda: 0)
    slices.taken(1, step(1_000), 0)
    assert slices.most(BULK_ROWS - 1, 0) == 0
    assert slices.most(BULK_ROWS, 0) == BULK_ROWS
    slices.taken(2, step(0, 1_000), 0)
    assert slices.most(BULK_ROWS, 0) == BULK_ROWS / BULK_SHARE


def test_changes_that_flip_nobody_are_cheap() -> None:
    slices = Slices(4_000, lambda: 10**6)
    slices.taken(1, step(250, 1_000), 0)
    assert slices.most(1, TARGET_US) == 4_000
    slices.taken(2, step(0, 1_000), TARGET_US)
    assert slices.most(1, TARGET_US) == 8_000
