"""A state as bytes comes back as it was."""

import numpy as np
import pytest
from numpy.typing import NDArray

from segmentation.state.dump import pack, unpack

TEXTS = np.array(["a", None, "ü"], object)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(0, np.int64), np.zeros((0, 3), np.int32), np.arange(12).reshape(3, 4)[:, ::2], np.array(7),
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)), np.array([True, False]), TEXTS,
    ],
)  # fmt: skip
def test_arrays_of_any_shape_come_back(array: NDArray[np.generic]) -> None:
    found = unpack(pack({"array": array, "of": np.int64(3)}))
    assert found["of"] == 3 and found["array"].dtype == array.dtype and found["array"].shape == array.shape
    assert found["array"].tolist() == array.tolist() and found["array"].flags.writeable
