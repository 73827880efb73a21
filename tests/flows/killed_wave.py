"""`tidegate run` with slices of a few messages, killed with -9 after the NUMBER-th commit that leaves some of what time
does undone, which nobody in the engine knows of then. 0: never.

    python -m tests.flows.killed_wave NUMBER
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from flows import engine
from flows.run import run
from storage.commits import Commit
from storage.settings import load
from storage.writer import ShardWriter
from tests.torture.wrapping import wrap

FLIPS = 40
Function = Callable[..., Any]


def arm(number: int) -> None:
    seen = 0

    def write(original: Function) -> Function:
        def written(self: ShardWriter, commits: Sequence[Commit]) -> Any:
            nonlocal seen
            found = original(self, commits)
            seen += any(part.front_at is not None for commit in commits for part in commit.parts)
            if 0 < number <= seen:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        return written

    wrap(ShardWriter, "write", write)


if __name__ == "__main__":
    setattr(engine, "FLIPS", FLIPS)  # noqa: B010
    arm(int(sys.argv[1]))
    run(load())
