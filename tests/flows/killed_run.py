"""`tidegate run` with small chunks, killed with -9 at a point on the way from an erasure to clean files.

    python -m tests.flows.killed_run POINT

| point | the process dies |
|---|---|
| commit | when the erasing step is committed, and nobody in the engine knows |
| merged | when a file is written again without the user, and no saved state names it |
| saved | when a state without the user is saved, and not committed |
| committed | when it is, and none of the old files is deleted |
| half | when the old state is deleted, and no file of the reservoir |
| deleted | when one file of the reservoir is |
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flows.run import run
from segmentation.state import log
from storage import reservoir
from storage.checkpoints import CheckpointStore
from storage.commits import Commit
from storage.settings import load
from storage.writer import ShardWriter
from tests.torture.wrapping import wrap

POINTS = ("commit", "merged", "saved", "committed", "half", "deleted")
SMALL = {"CHUNK_ROWS": 20, "LATE_ROWS": 5, "LONG_ROWS": 80}
Function = Callable[..., Any]


def arm(point: str) -> None:
    erased = saves = 0

    def dies(at: str) -> None:
        if at == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def write(original: Function) -> Function:
        def written(self: ShardWriter, commits: Sequence[Commit]) -> Any:
            nonlocal erased
            found = original(self, commits)
            erased += sum(len(commit.erased) for commit in commits)
            if erased:
                dies("commit")
            return found

        return written

    def save(original: Function) -> Function:
        def saved(*given: Any) -> Any:
            nonlocal saves
            found = original(*given)
            if erased:
                saves += 1
                dies("saved")
            return found

        return saved

    def merge(original: Function) -> Function:
        def merging(self: reservoir.Reservoir, refs: Any, without: Any) -> Any:
            pending = original(self, refs, without)
            if without and point == "merged":
                pending.result()
                dies("merged")
            return pending

        return merging

    def clean(original: Function) -> Function:
        def cleaned(*given: Any) -> Any:
            if saves:
                dies("committed")
            deleted = original(*given)
            if saves and deleted:
                dies("half")
            return deleted

        return cleaned

    def unlink(original: Function) -> Function:
        def unlinked(self: Path, *given: Any, **named: Any) -> None:
            original(self, *given, **named)
            if saves and self.suffix in (".parquet", ".index"):
                dies("deleted")

        return unlinked

    wrap(ShardWriter, "write", write)
    wrap(CheckpointStore, "save", save)
    wrap(reservoir.Reservoir, "merge", merge)
    wrap(CheckpointStore, "clean", clean)
    wrap(Path, "unlink", unlink)


if __name__ == "__main__":
    for name, rows in SMALL.items():
        setattr(log, name, rows)
    arm(sys.argv[1])
    run(load())
