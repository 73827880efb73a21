"""The fail-points: places in the product where a process can be made to die, each a wrapped function.

| point | the process dies |
|---|---|
| state_write | when half of a state file is written |
| chunk_write | when half of a file of the reservoir is written |
| in_transaction | when all of a commit is sent, and the COMMIT is not |
| after_commit | when the database has committed, and nobody in the engine knows |
| lost_answer | not at all: the answer to a COMMIT that was done is lost |
| before_publish | when the relay has its messages from the outbox, and none is sent |
| in_publish | when Kafka has them, and its transaction is not committed |
| after_publish | when it is, and the outbox does not know |
| clean | when one of the old files is deleted |
| building | (the builder) when a version is being built, and a piece of the archive has been counted |
| switching | (the builder) when a shard's new state is written and its differences are, and nothing is committed |
| switched | (the builder) when it is, and the engine does not know |
| dealt | when `tidegate reshard` has made the new shards valid, and the old ones' files are still there |
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from flows.relay_transactions import Transactions
from segmentation.evaluate import building
from storage import outbox, postgres, rebuild, reshard, writer
from tests.torture.wrapping import wrap

FILES = (".state", ".parquet", ".index")
HEADER_BYTES = 64
Reached = Callable[[], None]
Function = Callable[..., Any]


def arm(name: str, count: int, mark: str) -> None:
    """At the count-th passing (from 1) of the point file `mark` is made, and then the point does what it is for."""
    passed = 0
    lost = name == "lost_answer"

    def reached() -> None:
        nonlocal passed
        passed += 1
        if passed != count:
            return
        Path(mark).touch()
        if lost:
            raise postgres.DatabaseLost("The answer to a commit is lost, for once.")
        os.kill(os.getpid(), signal.SIGKILL)

    POINTS[name](reached)


class _Half:
    """A file of which only half of what is written to it gets there in time; headers, being short, get there."""

    def __init__(self, file: Any, reached: Reached) -> None:
        self._file, self._reached = file, reached

    def write(self, data: Any) -> None:
        half = len(data) // 2 if len(data) > HEADER_BYTES else len(data)
        self._file.write(data[:half])
        if half < len(data):
            self._file.flush()
            self._reached()
            self._file.write(data[half:])

    def __enter__(self) -> "_Half":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _writing(suffixes: tuple[str, ...]) -> Callable[[Reached], None]:
    def arm(reached: Reached) -> None:
        def around(open_: Function) -> Function:
            def opened(self: Path, mode: str = "r", *more: Any, **named: Any) -> Any:
                file = open_(self, mode, *more, **named)
                return _Half(file, reached) if mode == "wb" and any(s in self.name for s in suffixes) else file

            return opened

        wrap(Path, "open", around)

    return arm


def _in_transaction(reached: Reached) -> None:
    def around(store: Function) -> Function:
        def stored(connection: postgres.Connection, *given: Any) -> None:
            store(connection, *given)
            connection.pgconn.flush()
            reached()

        return stored

    wrap(writer, "_progress", around)


def _after_commit(reached: Reached) -> None:
    def around(transaction: Function) -> Function:
        def committed(self: writer.ShardWriter, *given: Any) -> writer.Written:
            written: writer.Written = transaction(self, *given)
            if written.flips:
                reached()
            return written

        return committed

    wrap(writer.ShardWriter, "_transaction", around)


def _before_publish(reached: Reached) -> None:
    def around(next_: Function) -> Function:
        def fixed(self: outbox.Outbox, *given: Any) -> outbox.Batch | None:
            batch: outbox.Batch | None = next_(self, *given)
            if batch is not None:
                reached()
            return batch

        return fixed

    wrap(outbox.Outbox, "next", around)


def _in_publish(reached: Reached) -> None:
    def around(commit: Function) -> Function:
        def committing(self: Transactions) -> None:
            reached()
            commit(self)

        return committing

    wrap(Transactions, "_commit", around)


def _after_publish(reached: Reached) -> None:
    def around(publish: Function) -> Function:
        def published(self: Transactions, batch: outbox.Batch) -> None:
            publish(self, batch)
            reached()

        return published

    wrap(Transactions, "publish", around)


def _clean(reached: Reached) -> None:
    def around(unlink: Function) -> Function:
        def unlinked(self: Path, *given: Any, **named: Any) -> None:
            unlink(self, *given, **named)
            if self.suffix in FILES:
                reached()

        return unlinked

    wrap(Path, "unlink", around)


def _dealt(reached: Reached) -> None:
    def around(store: Function) -> Function:
        def stored(*given: Any) -> int:
            moved: int = store(*given)
            reached()
            return moved

        return stored

    wrap(reshard, "store", around)


def _after(owner: Any, name: str) -> Callable[[Reached], None]:
    def arm(reached: Reached) -> None:
        def around(function: Function) -> Function:
            def called(*given: Any, **named: Any) -> Any:
                result = function(*given, **named)
                reached()
                return result

            return called

        wrap(owner, name, around)

    return arm


POINTS: dict[str, Callable[[Reached], None]] = {
    "state_write": _writing((".state.",)),
    "chunk_write": _writing((".parquet.", ".index.")),
    "in_transaction": _in_transaction,
    "after_commit": _after_commit,
    "lost_answer": _after_commit,
    "before_publish": _before_publish,
    "in_publish": _in_publish,
    "after_publish": _after_publish,
    "clean": _clean,
    "building": _after(building, "_count"),
    "switching": _after(rebuild.Rebuild, "finish"),
    "switched": _after(rebuild.Rebuild, "__exit__"),
    "dealt": _dealt,
}
