"""The fenced blocks of README.md, each with what a test is to do with it (an HTML comment above it)."""

import re
from dataclasses import dataclass

from tests.architecture.source import ROOT

README = ROOT / "README.md"
_FENCE = re.compile(r"(?:<!-- test: (?P<mark>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    mark: str | None
    text: str
    output: str | None = None

    @property
    def exit_code(self) -> int:
        found = re.search(r"exit code (\d+)", self.mark or "")
        return int(found[1]) if found else 0


def blocks() -> list[Block]:
    """In order; an output block is joined with the block that it belongs to."""
    text = README.read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text")) + 1
        if match["mark"] == "output":
            before = found[-1]
            found[-1] = Block(before.line, before.language, before.mark, before.text, match["text"])
        else:
            found.append(Block(line, match["language"], match["mark"], match["text"]))
    return found


def agrees(expected: str, printed: str) -> bool:
    """`…` stands for anything within a line; a line of it alone for any lines, or none."""
    pattern = ""
    for line in expected.splitlines():
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*"
        else:
            inner = ".*".join(re.escape(part) for part in line.split("…"))
            pattern += inner + r"\n"
    return re.fullmatch(pattern, printed if printed.endswith("\n") else printed + "\n") is not None
