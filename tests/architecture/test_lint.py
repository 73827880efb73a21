"""What `make lint` checks, as tests, so that one command tells whether a change is complete."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

BIN = Path(sys.executable).parent


@pytest.mark.parametrize("command", [("ruff", "check", "."), ("mypy",)], ids=["ruff", "mypy"])
def test_linter(command: tuple[str, ...]) -> None:
    run = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True)
    found = [line for line in run.stdout.splitlines() if ": note:" not in line]
    assert run.returncode == 0, "\n".join([*found, run.stderr])


def test_installed_packages_fit_together() -> None:
    run = subprocess.run([sys.executable, "-m", "pip", "check"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
