"""How answers are printed: tables for people, JSON for programs, the same content in both."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from segmentation.types import FOREVER, NEVER


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; numbers to the right. Without a terminal: the same columns as plain text, uncut."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        shown = Table(title=title, title_justify="left")
        for index, name in enumerate(columns):
            number = any(isinstance(row[index], int | float) for row in rows)
            shown.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in rows:
            shown.add_row(*(escape(_text(value)) for value in row))
        Console().print(shown)
        return
    cells = [list(columns), *([_text(value) for value in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for line in cells:
        click.echo("  ".join(value.ljust(width) for value, width in zip(line, widths)).rstrip())


def objects(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Mapping[str, Any]]:
    return [dict(zip(columns, row)) for row in rows]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
    return str(value)


def rfc3339(micros: int) -> str:
    """`2026-01-01T00:00:00.000000Z`, exact to the microsecond."""
    seconds, rest = divmod(micros, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z".rjust(27, "0")


def ago(micros: int, now: int) -> str:
    """`1.2 s`, `3 min`: how long before `now` this was."""
    if not NEVER < micros < FOREVER:
        return "never"
    seconds = (now - micros) / 1_000_000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"


def standing(behind: str) -> str:
    """Of an answer about a deployment; behind: why it is not as of the last commit, empty where it is."""
    if not behind:
        return "This is as of the last commit: everything that the engine has counted is in it."
    return f"This is as of the state that the engine saved last; what it has counted since is not in it: {behind}"
