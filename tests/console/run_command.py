"""The command as a person calls it, with none of the shell's settings: in this process, which is quick."""

import contextlib
import io
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from console.main import main


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def tidegate(
    *arguments: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, stdin: str = ""
) -> Done:
    """A traceback fails the test, whatever the arguments."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="") for _ in range(2))
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    code: object = "main() returned"
    try:
        with (
            contextlib.chdir(cwd or Path.cwd()),
            patch.dict(os.environ, environment(env), clear=True),
            patch.multiple(sys, argv=["tidegate", *map(str, arguments)], stdout=out, stderr=err,
                           stdin=io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")),
        ):  # fmt: skip
            main()
    except SystemExit as end:
        code = end.code
    finally:
        logger.handlers[:] = handlers
        logger.setLevel(level)
    assert isinstance(code, int), code
    done = Done(code, _text(out), _text(err))
    assert "Traceback" not in done.err, done.err
    return done


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE_", "DEMO_"))}
    return {**kept, "COLUMNS": "120", **(more or {})}


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    content = stream.buffer
    assert isinstance(content, io.BytesIO)
    return content.getvalue().decode()
