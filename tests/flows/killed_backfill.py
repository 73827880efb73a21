"""A backfill that kills itself: `python -m tests.flows.killed_backfill POINT:N FILE`, with settings as variables.

Points: after the Nth chunk, before the Nth line of the journal, after the Nth link into the reservoir, before the
commit, after it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.backfill import backfill
from storage.backfill import batches, staging
from storage.rebuild import Rebuild
from storage.reservoir import Reservoir
from storage.settings import load


def at(of: Any, name: str, number: int, after: bool) -> None:
    """Dies at the call of that number."""
    call: Callable[..., Any] = getattr(of, name)
    count = 0

    def wrapped(*arguments: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        result = call(*arguments, **more) if after or count != number else None
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(of, name, wrapped)


def main() -> None:
    point, _, number = sys.argv[1].partition(":")
    batches.UNIT_ROWS = 50
    places: dict[str, tuple[Any, str, bool]] = {
        "chunk": (Reservoir, "arrived", True), "journal": (staging.Staging, "_write_line", False),
        "link": (Reservoir, "take_over", True), "commit": (Rebuild, "__exit__", False),
        "committed": (Rebuild, "__exit__", True),
    }  # fmt: skip
    of, name, after = places[point]
    at(of, name, int(number), after)
    backfill(load(), [Path(sys.argv[2])], {}, None, False, threading.Event())


if __name__ == "__main__":
    main()
