"""`make` tells what it can do, and what it needs where that is missing."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT


def make(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["make", "--no-print-directory", *words], cwd=cwd, capture_output=True, text=True)


def test_alone_it_lists_its_targets() -> None:
    listed = re.findall(r"^  make ([\w-]+)", make().stdout, re.M)
    declared = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert sorted(listed) == sorted(declared)


@pytest.mark.parametrize("version", ["3.9.1", "3.13.0"])
def test_another_python_is_refused_with_the_remedy(version: str, tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    other = tmp_path / "python3"
    other.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo Python {version}\n[ "$1" = --version ]\n')
    other.chmod(0o755)
    done = make("test", f"PYTHON={other}", cwd=tmp_path)
    assert done.returncode != 0
    assert f"Tidegate needs Python 3.11 or 3.12; '{other}' is Python {version}.\nName another one: " in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_the_continuous_check_calls_what_people_call() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "set -euo pipefail" in script and "make test" in script
    assert subprocess.run(["bash", "-n", ROOT / ".ci/run"]).returncode == 0
