"""Distinct values are those of np.unique, in the same order and dtype."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.distinct import distinct


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3)), st.sampled_from([np.int64, np.int32, np.bool_]))
def test_as_numpy_says(values: list[int], dtype: type[np.generic]) -> None:
    given = np.array(values, np.int64).astype(dtype)
    found = distinct(given)
    assert found.dtype == given.dtype and found.tolist() == np.unique(given).tolist()
