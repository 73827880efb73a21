"""The engine as users start it (`python -m tests.torture.worker run ...`), with points at which it dies.

The product knows nothing of this. Here its functions are wrapped before its own command is called:

TORTURE_POINT=name:n   at the n-th time (from 1) that the point of this name is passed, the process kills itself
TORTURE_MARK=file      is made just before, and keeps a process that is started later from doing the same
TORTURE_PROCESS=i      which process of a cluster does that
TORTURE_WRONG=1        evaluates wrongly (tests.change.wrong)
TORTURE_OFF=name       takes a protection away (tests.torture.unprotected), to show that it is missed

Always on: the reservoir's chunks are small, so that there are some; two messages of a shard are packed, for a commit
seldom has more of them at this rate; and every step that is committed is copied into table torture.steps, in its
transaction. The product forgets steps that a state file has made superfluous, and does not store those that the same
commit saves.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flows import beside, supervisor
from segmentation.state import log
from storage import packing, writer
from storage.commits import Commit
from storage.postgres import Connection
from tests.change import wrong
from tests.torture import points, unprotected
from tests.torture.wrapping import wrap

CHUNK_ROWS = 200
RECORD = """
    INSERT INTO torture.steps (shard, number, parts)
    SELECT shard, number, parts::json FROM unnest(%s::int[], %s::bigint[], %s::text[]) AS f(shard, number, parts)
"""


def record_steps() -> None:
    def around(store: Callable[..., Any]) -> Callable[..., Any]:
        def recording(connection: Connection, commits: Sequence[Commit], positions: Mapping[int, int]) -> None:
            store(connection, commits, positions)
            parts = [[(p.partition, p.next_offset, p.clock, p.watermark) for p in c.parts] for c in commits]
            connection.execute(
                RECORD, [[c.shard for c in commits], [c.number for c in commits], [json.dumps(each) for each in parts]]
            )

        return recording

    wrap(writer, "_progress", around)


def make_small_chunks() -> None:
    log.CHUNK_ROWS, log.LATE_ROWS, log.LONG_ROWS = CHUNK_ROWS, CHUNK_ROWS // 4, 4 * CHUNK_ROWS


def pack_early() -> None:
    packing.LEAST = 2


def _ours(command: list[str]) -> list[str]:
    """A supervisor's command for its processes: this program again."""
    assert command.count("console.main") == 1
    return [word.replace("console.main", __spec__.name) for word in command]


def _process() -> str:
    """This process's number in its cluster; 0 without a cluster, none for a supervisor."""
    if "--workers" in sys.argv:
        return "none"
    return sys.argv[sys.argv.index("-i") + 1] if "-i" in sys.argv else "0"


def main() -> None:
    make_small_chunks()
    pack_early()
    record_steps()
    if off := os.environ.get("TORTURE_OFF"):
        unprotected.OFF[off]()
    if os.environ.get("TORTURE_WRONG"):
        wrong.evaluate_wrongly()
    wrap(beside, "command", lambda _: lambda: [sys.executable, "-m", "tests.torture.builder"])
    wrap(supervisor, "child_command", lambda command: lambda arguments: _ours(command(arguments)))
    mark = os.environ.get("TORTURE_MARK")
    if mark and not os.path.exists(mark) and os.environ["TORTURE_PROCESS"] == _process():
        name, _, count = os.environ["TORTURE_POINT"].partition(":")
        points.arm(name, int(count), mark)
    from console.main import main as tidegate

    tidegate()


if __name__ == "__main__":
    main()
