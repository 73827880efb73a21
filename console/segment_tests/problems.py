"""What is wrong with a test file: every problem with file, line, reason and remedy."""

from dataclasses import dataclass

from segmentation.errors import TidegateError


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    file: str
    line: int
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}\n  {self.remedy}"


class TestFileErrors(TidegateError):
    """All problems of all test files, in order of files and lines."""

    __test__ = False  # a name that begins like this is nothing for pytest

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        super().__init__("\n".join(map(str, self.problems)))


class Wrong(Exception):
    """Something is wrong here; whoever knows the place makes a `Problem` of it."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy
