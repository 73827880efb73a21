"""Documents name files that exist, and link to them."""

import re
from pathlib import Path

import pytest

from tests.architecture.source import PACKAGES, ROOT

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
#: Looks like a file or folder of ours: `a/b.py`, `Makefile`, `docs/`, with or without a pattern.
_PATH = re.compile(r"`((?:[\w.*-]+/)+[\w.*-]*|[\w-]+\.(?:py|md|yml|toml|lock))`")
#: Files of the operators, and of their tools.
ELSEWHERE = {"tidegate.yml", "schema.yml"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_every_file_that_is_named_exists(document: Path) -> None:
    missing = [
        named
        for named in _PATH.findall(document.read_text())
        if named not in ELSEWHERE
        and not named.startswith((".venv/", ".tidegate/", "loadtest/out/"))
        and not any(list(ROOT.glob(f"{room}{named.rstrip('/')}")) for room in ("", "segmentation/compile/"))
    ]
    assert not missing, f"{document.name}: {missing}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.name))
def test_links_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_every_room_is_in_the_architecture() -> None:
    text = (ROOT / "docs/ARCHITECTURE.md").read_text()
    rooms = [f"{package}/" for package in PACKAGES] + [
        f"segmentation/{folder.name}/" for folder in (ROOT / "segmentation").iterdir()
        if folder.is_dir() and folder.name != "__pycache__"
    ]  # fmt: skip
    assert [room for room in rooms if f"`{room}`" not in text] == []
