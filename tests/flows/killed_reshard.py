"""`tidegate reshard`, killed with -9 right after the n-th call of a function: a process of a test.

    python -m tests.flows.killed_reshard SHARDS MODULE:FUNCTION N
"""

import importlib
import os
import signal
import sys
import threading
from typing import Any

from flows.reshard import reshard
from storage.settings import load


def kill_after(place: str, calls: int) -> None:
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    original, seen = getattr(owner, name), 0

    def replaced(*arguments: Any, **more: Any) -> Any:
        nonlocal seen
        result = original(*arguments, **more)
        seen += 1
        if seen == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, replaced)


if __name__ == "__main__":
    kill_after(sys.argv[2], int(sys.argv[3]))
    reshard(load(), int(sys.argv[1]), threading.Event())
