"""A state as bytes comes back as it was."""

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from segmentation.state.dump import pack, slowly_packed, unpack

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


LARGE = np.arange(40_000)
MANY = np.array([f"text {number}" for number in range(20_000)], object)


@pytest.mark.parametrize(
    "state",
    [
        {"large": LARGE, "of": {"it": LARGE[::2].astype(np.int32), "shape": LARGE.reshape(-1, 5)[:, 1:4]}},
        [LARGE.astype(np.float64), (LARGE > 7, None, "ü", -3, 1 << 63), TEXTS, np.asfortranarray(LARGE.reshape(5, -1))],
        {"raw": msgspec.Raw(msgspec.msgpack.encode(["a"] * 100)), "many": [{"x": LARGE[:9_000]}] * 100},
        {str(key): key for key in range(100)}, {str(key): LARGE[:key] for key in range(16)}, list(range(64)),
        {key: [] for key in range(15)}, list(range(65)), LARGE, "text", np.int64(5), {}, [], {"a": (), "b": b"bytes"},
        {"texts": MANY, "other": np.array([*MANY, "ü"], object)},
        {"none": np.array([*MANY, None], object), "of": MANY.reshape(-1, 2)[:, 0]},
        LARGE[:8_192], LARGE[:8_191], np.full(1 << 20, 3),
    ],
    ids=lambda state: type(state).__name__,
)  # fmt: skip
def test_large_arrays_are_copied_once_into_the_same_bytes(state: Any) -> None:
    assert pack(state) == slowly_packed(state)


def test_later_changes_are_not_in_it() -> None:
    array = LARGE.copy()
    data = pack({"array": array})
    array[:] = -1
    assert unpack(data)["array"].tolist() == LARGE.tolist()


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(TypeError, match="object is not part of a state"):
        pack({"large": LARGE, "no": object()})
