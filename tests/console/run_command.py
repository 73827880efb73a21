"""The real command in a process of its own, with none of the shell's settings."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def tidegate(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, stdin: str = "",
    timeout: float = 60,
) -> Done:  # fmt: skip
    """Never a traceback, whatever the arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "console.main", *map(str, arguments)],
        cwd=cwd, env=environment(env), input=stdin, capture_output=True, text=True, timeout=timeout,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "DEMO_"))}
    return {**kept, "COLUMNS": "120", **(more or {})}
