"""The example in docs/segment_tests.md, and what is said about it."""

import re
import shutil
from pathlib import Path

from tests.architecture.source import ROOT
from tests.console.run_command import tidegate

TEXT = (ROOT / "docs/segment_tests.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)
    assert found is not None
    return found[1]


def test_the_example(tmp_path: Path) -> None:
    folder = tmp_path / "segment_defs"
    shutil.copytree(ROOT / "segment_defs", folder)
    right = block("yaml")
    (folder / "tests/example.yml").write_text(right)
    done = tidegate("test", "example", cwd=tmp_path)
    assert done.code == 0, done.out
    (folder / "tests/example.yml").write_text(right.replace("now +1us: enters", "now: enters"))
    done = tidegate("test", "example", cwd=tmp_path)
    assert done.code == 1
    assert done.out == block("text")
