"""The rooms stay apart: imports go one way, and the core neither does I/O nor reads a clock."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, name, python_files, syntax

#: What reads a clock, opens a file or asks the surroundings, as it is written in code.
IMPURE = {
    "open", "input", "print", "exec", "eval", "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns",
    "time.perf_counter", "time.perf_counter_ns", "time.sleep", "datetime.now", "datetime.today", "datetime.utcnow",
    "datetime.datetime.now", "datetime.datetime.today", "datetime.datetime.utcnow", "date.today", "datetime.date.today",
}
#: Methods that do so whatever they are called on. (`numpy.datetime64("now")` is the one that hides.)
IMPURE_METHODS = {"read_text", "write_text", "read_bytes", "write_bytes", "tofile", "memmap", "getenv", "utcnow"}


def impure_calls(path: Path) -> list[str]:
    found = []
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if (
                called in IMPURE
                or called.rpartition(".")[2] in IMPURE_METHODS
                or (called.endswith("datetime64") and node.args and ast.unparse(node.args[0]) in ("'now'", "'today'"))
            ):
                found.append(f"{name(path)}:{node.lineno}: {called}")
    return found


def test_the_core_reads_no_clock_and_no_file() -> None:
    assert [call for path in python_files("segmentation") for call in impure_calls(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        "import time; now = time.time()", "from datetime import datetime; datetime.now(UTC)", "open('x')",
        "Path('x').read_text()", "np.datetime64('now')", "a = [os.getenv('X')]",
    ],
)
def test_the_scan_sees_what_it_is_for(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "impure.py"
    file.write_text(line)
    monkeypatch.setattr(sys.modules[__name__], "name", str)
    assert len(impure_calls(file)) == 1


def test_import_rules() -> None:
    """The contracts are in pyproject.toml."""
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
