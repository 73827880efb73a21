"""What is wrong with a definition: always file, place, reason and remedy."""

from collections.abc import Iterable
from dataclasses import dataclass

from segmentation.errors import TidegateError


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """1-based line and column in the definition's file."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    file: str
    at: Position
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.at.line}:{self.at.column}: {self.reason} {self.remedy}"


class Refused(Exception):
    """Raised inside the compiler where a form cannot be evaluated exactly; becomes a Problem."""

    def __init__(self, at: Position, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.at, self.reason, self.remedy = at, reason, remedy


class DefinitionErrors(TidegateError):
    """All problems of all files, sorted by file and place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))
