"""Sorting in C and by numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation import native
from segmentation.state.order import order_by_numpy, rows_by_numpy

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
EDGES = st.sampled_from([-(2**63), -(2**62), -1, 0, 1, 2**11, 2**62, 2**63 - 1])


@given(st.lists(st.one_of(EDGES, st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1)), max_size=200))
def test_small_and_extreme(keys: list[int]) -> None:
    array = np.array(keys, np.int64)
    assert native.code.stable_order(array).tolist() == order_by_numpy(array).tolist()


@pytest.mark.parametrize("bits", [1, 11, 12, 40, 63])
def test_many(bits: int) -> None:
    keys = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 5_000, endpoint=True)
    assert native.code.stable_order(keys).tolist() == order_by_numpy(keys).tolist()


@given(st.lists(st.one_of(EDGES, st.integers(-5, 5)), max_size=60), st.sets(st.one_of(EDGES, st.integers(-5, 5))))
def test_looking_up(keys: list[int], wanted: set[int]) -> None:
    of, want = np.array(sorted(keys), np.int64), np.array(sorted(wanted), np.int64)
    found = native.code.places_of(of, want).tolist()
    assert found == rows_by_numpy(of, want).tolist() == [i for i, key in enumerate(sorted(keys)) if key in wanted]


def test_looking_many_up() -> None:
    rng = np.random.default_rng(3)
    of = np.sort(rng.integers(0, 9_000, 5_000))
    for count in (1, 40, 3_000):
        want = np.unique(rng.integers(-100, 9_100, count))
        assert native.code.places_of(of, want).tolist() == rows_by_numpy(of, want).tolist()
