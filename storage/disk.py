"""What a disk says when files are written below `storage_url`, as errors that say what to do.

A full disk ends the engine (exit code 2) before anything is committed that would need the file: the
state that was recorded last stays whole, and a start after some space is there goes on from it.
"""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segmentation.errors import TidegateError

#: The disk, the user's quota, the process's limit (`ulimit -f`).
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota is used up", errno.EFBIG: "ulimit -f is too small"}


class StorageError(TidegateError):
    """A file below `storage_url` is missing, damaged, or cannot be written; the message names it."""


class DiskFull(StorageError):
    """There is no space for a file; what was there before is untouched."""


@contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Around the writing of `path`: OSError becomes DiskFull or StorageError. what: "state file", "chunk"."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFull(
                f"No space for the {what} {path} ({_FULL[error.errno]}; {_free(path)}). "
                "Free some space and start again; nothing is lost."
            ) from error
        raise StorageError(
            f"The {what} {path} cannot be written ({error.strerror}). Correct storage_url or its permissions."
        ) from error


def check(folder: Path) -> None:
    """Makes the folder and writes a file there; StorageError where that cannot be done."""
    path = folder / f"writable.{os.getpid()}.tmp"
    with explained(path, "file"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("wb") as file:
                file.write(bytes(4_096))
                file.flush()
                os.fsync(file.fileno())
        finally:
            path.unlink(missing_ok=True)


def write_whole(path: Path, draft: Path, pieces: Iterable[Any]) -> None:
    """Under another name in the same folder, flushed, renamed: under its own name it is whole or absent. `flush_folder`
    makes that last."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def free_bytes(folder: Path) -> int | None:
    """Of its disk, for this user; None where that cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def flush_folder(folder: Path) -> None:
    """The names of the files in it, as `fsync` does their content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free(path: Path) -> str:
    free = free_bytes(path.parent)
    return "its free space is unknown" if free is None else f"{free / 2**20:,.1f} MiB are free without it"
