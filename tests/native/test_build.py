"""The C part is there where it must be, refuses what it cannot take, and is not used when it is not wanted."""

import os
import subprocess
import sys

import numpy as np
import pytest

from segmentation import native
from tests.architecture.source import ROOT


@pytest.mark.skipif("CI" not in os.environ and not native.ENABLED, reason="without the C part numpy does it all")
def test_the_c_part_is_built() -> None:
    assert native.ENABLED or os.environ.get("TIDEGATE_NATIVE") == "0", native.STATE
    assert native.code.VERSION == native.VERSION


@pytest.mark.parametrize(("wanted", "state"), [("0", "numpy (TIDEGATE_NATIVE=0)"), ("1", "C")])
@pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
def test_the_environment_chooses(wanted: str, state: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from segmentation import native; print(native.STATE)"],
        cwd=ROOT, env={**os.environ, "TIDEGATE_NATIVE": wanted}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == state


@pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
@pytest.mark.parametrize(
    "keys", [np.zeros(4, np.int32), np.zeros((2, 2), np.int64), np.arange(8)[::2], [1, 2], np.zeros(2, np.uint64)]
)
def test_other_arrays_are_refused(keys: object) -> None:
    with pytest.raises(TypeError, match="keys: not"):
        native.code.stable_order(keys)  # type: ignore[arg-type]
