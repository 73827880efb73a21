"""Problems as a person reads them, and as a program does."""

import json
from collections.abc import Iterable, Mapping

from segmentation.compile.problems import Problem

LINE_MAX = 160


def render(problems: Iterable[Problem], files: Mapping[str, str]) -> str:
    """Each problem with its line of text and a caret under the place; `files` maps path to text."""
    blocks = [_block(problem, files.get(problem.file)) for problem in sorted(problems)]
    return "\n\n".join(blocks)


def as_json(problems: Iterable[Problem]) -> str:
    """A JSON list of objects with file, line, column (1-based), reason and remedy; sorted."""
    return json.dumps(
        [
            {
                "file": problem.file,
                "line": problem.at.line,
                "column": problem.at.column,
                "reason": problem.reason,
                "remedy": problem.remedy,
            }
            for problem in sorted(problems)
        ],
        indent=2,
        ensure_ascii=False,
    )


def _block(problem: Problem, text: str | None) -> str:
    head = f"{problem.file}:{problem.at.line}:{problem.at.column}: {problem.reason}"
    excerpt = [] if text is None else _excerpt(text, problem)
    return "\n".join([head, *excerpt, f"  {problem.remedy}"])


def _excerpt(text: str, problem: Problem) -> list[str]:
    lines = text.split("\n")
    if problem.at.line > len(lines):
        return []
    line = lines[problem.at.line - 1].rstrip("\r")
    column = problem.at.column - 1
    # A very long line is cut so that the caret stays in sight.
    start = max(0, column - LINE_MAX // 2) if len(line) > LINE_MAX else 0
    shown = line[start : start + LINE_MAX]
    # Tabs are kept under the text, so that the caret lines up whatever their width.
    pad = "".join("\t" if char == "\t" else " " for char in shown[: column - start])
    number = str(problem.at.line)
    return [f"  {number} | {shown}", f"  {' ' * len(number)} | {pad}^"]
