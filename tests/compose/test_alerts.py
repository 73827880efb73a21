"""The alerts fire when they should, and only then, as Prometheus's own tool sees it."""

import os
import subprocess

import pytest

from tests.architecture.source import ROOT
from tests.compose import prometheus


def test_alerts() -> None:
    promtool = prometheus.find("promtool")
    if promtool is None:
        if "CI" in os.environ:
            pytest.fail(prometheus.MISSING)
        pytest.skip(prometheus.MISSING)
    done = subprocess.run(
        [promtool, "test", "rules", "alerts_test.yml"], cwd=ROOT / "tests/compose", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
