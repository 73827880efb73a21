"""The API is linted, and stays compatible with `released.binpb`: the .proto files as they were released last.

A release renews that file: `.venv/bin/buf build proto --exclude-source-info -o tests/grpc/released.binpb`.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from grpc_server.generate import PROTO

BUF = Path(sys.executable).parent / "buf"
RELEASED = Path(__file__).with_name("released.binpb")

pytestmark = pytest.mark.skipif(
    not BUF.exists() and "CI" not in os.environ, reason="buf is not installed here: `make venv` does it"
)


def buf(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *words], capture_output=True, text=True)


def test_the_files_keep_the_rules_of_buf_yaml() -> None:
    done = buf("lint", PROTO)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_broken_that_was_released() -> None:
    done = buf("breaking", PROTO, "--against", RELEASED)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("membership.proto", "  bool known = 2;\n  // Up to when the answer is complete.", "  // Up to when it is."),
        ("membership.proto", "  int64 seq = 2;", "  string seq = 2;"),
        ("definition.proto", "SEGMENT_STATE_HELD = 3;", "SEGMENT_STATE_HELD = 9;"),
    ],
)
def test_a_break_is_found(tmp_path: Path, file: str, before: str, after: str) -> None:
    copy = shutil.copytree(PROTO, tmp_path / "proto")
    changed = copy / "tidegate" / "v1" / file
    text = changed.read_text()
    assert text.count(before) >= 1
    changed.write_text(text.replace(before, after, 1))
    assert buf("breaking", copy, "--against", RELEASED).returncode != 0
