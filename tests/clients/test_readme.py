"""The README of the package: its code type-checks strictly, as a user has it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "clients/python/README.md"
#: Where `saved` comes from is the reader's own.
BEFORE = "from tidegate_client import Client\n\ntidegate = Client('localhost:50051')\nsaved = ''\n"


def test_its_code_type_checks(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    assert len(blocks[0].strip().splitlines()) == 4, "three lines, and an empty one"
    files = {f"example_{number}.py": code for number, code in enumerate(blocks)}
    files["example_wrong.py"] = "answer: str = tidegate.is_member('ann', 7)\n"
    for name, code in files.items():
        (tmp_path / name).write_text(code if "import" in code else BEFORE + code)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", *files],
        capture_output=True, text=True, cwd=tmp_path,
        env={"MYPYPATH": str(ROOT / "clients/python"), "PATH": "", "MYPY_CACHE_DIR": str(tmp_path / "cache")},
    )  # fmt: skip
    # Where the package is installed, mypy says nothing of its own generated stubs.
    wrong = [line.partition(":")[0] for line in checked.stdout.splitlines() if line.startswith("example_")]
    assert wrong == ["example_wrong.py"] * 2, checked.stdout + checked.stderr
    assert (ROOT / "clients/python/tidegate_client/py.typed").exists()
