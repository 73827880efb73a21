"""Child processes of the demo: each writes a log of its own, none outlives us, and a death is noticed.

Children are in sessions of their own, so that Ctrl-C in the terminal reaches only us and they end in
order. Should we be killed, Linux ends them.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from segmentation.errors import TidegateError
from storage.interpreter import python

STOP_SECONDS = 15
LAST_LINES = 5


class ChildDied(TidegateError):
    """A part of the demo ended by itself."""


class Child:
    """One running program; `stop` asks with SIGTERM first."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(arguments), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=dict(environment), start_new_session=True, preexec_fn=_end_with_parent(),
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def check(self) -> None:
        """Raises ChildDied, with its last words, unless it runs."""
        code = self._process.poll()
        if code is None:
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        lines = self.log.read_text(errors="replace").strip().splitlines()[-LAST_LINES:]
        said = "\n".join(f"  {line}" for line in lines) or "  (it said nothing)"
        raise ChildDied(f"{self.name} {how}. Its log, {self.log}, ends with:\n{said}")

    def stop(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def tidegate(*arguments: str) -> list[str]:
    """The command line of this very installation."""
    return [*python(), "-m", "console.main", *arguments]


def plain_environment() -> dict[str, str]:
    """Ours without TIDEGATE_*: the demo's own settings are to hold, whatever the shell has set."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("TIDEGATE_")}
    return {**kept, "PYTHONUNBUFFERED": "1"}


def _end_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    set_parent_death_signal = 1
    return lambda: library.prctl(set_parent_death_signal, signal.SIGTERM)
