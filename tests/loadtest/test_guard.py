"""The guard says what is too slow, and nothing else."""

from loadtest import guard


def test_half_of_the_recorded_ratio_passes() -> None:
    assert guard.problems(0.26, 0.5, 4.1) == []


def test_less_than_half_is_told() -> None:
    [problem] = guard.problems(0.24, 0.5, 12.0)
    assert "0.240" in problem and "recorded is 0.500" in problem and "loadtest.where" in problem


def test_the_obvious_flow_must_be_far_behind() -> None:
    [problem] = guard.problems(0.5, 0.5, 3.9)
    assert "3.9 times" in problem
