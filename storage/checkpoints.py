"""State files: what a shard is loaded from, so that only the steps since need to be run again.

A file is a header (magic, format version, length and digest of the content) and the content. It is
written under another name, flushed, and renamed, so under its own name it is whole or absent; it
is never written again. It counts only once a commit has stored its CheckpointRecord.
"""

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from storage.commits import CheckpointRecord
from storage.disk import StorageError, explained, flush_folder, write_whole

_HEADER = struct.Struct("<8sIQ32s")  # magic, format, length, BLAKE2b-256 of the content
_MAGIC, _FORMAT = b"TIDEGATE", 1
_NAME = re.compile(r"shard-(\d+)-step-(\d+)-[0-9a-f]+\.state")


class CheckpointError(StorageError):
    """A state file is missing or damaged; the message names it."""


class CheckpointStore:
    """`storage_url`: a folder that every process of the engine reaches; made where it is missing."""

    def __init__(self, storage_url: Path) -> None:
        self.folder = Path(storage_url) / "checkpoints"

    def save(self, shard: int, step: int, offsets: dict[int, int], data: bytes) -> CheckpointRecord:
        """Flushed to disk when this returns. `offsets`: where to read each partition from after loading it."""
        digest = blake2b(data, digest_size=32)
        name = f"shard-{shard}-step-{step}-{digest.hexdigest()[:16]}.state"
        path, draft = self.folder / name, self.folder / f"{name}.{os.getpid()}.tmp"
        with explained(path, "state file"):
            write_whole(path, draft, [_HEADER.pack(_MAGIC, _FORMAT, len(data), digest.digest()), data])
            flush_folder(self.folder)
        return CheckpointRecord(shard, step, name, digest.hexdigest(), dict(offsets))

    def load(self, record: CheckpointRecord) -> bytes:
        """The data given to `save`; CheckpointError unless it is exactly that."""
        path = self.folder / record.file
        remedy = "Restore the file, or start with --rebuild."
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise CheckpointError(
                f"The state file {path} is missing. Does every process see the same storage_url? {remedy}"
            ) from None
        except OSError as error:
            raise CheckpointError(f"The state file {path} cannot be read ({error.strerror}). {remedy}") from error
        if len(content) < _HEADER.size or not content.startswith(_MAGIC):
            raise CheckpointError(f"The state file {path} is not one of Tidegate's. {remedy}")
        _, version, length, digest = _HEADER.unpack_from(content)
        if version != _FORMAT:
            raise CheckpointError(
                f"The state file {path} has format {version}, this Tidegate reads {_FORMAT}. "
                "Use the Tidegate that wrote it, or start with --rebuild."
            )
        data = content[_HEADER.size :]
        found = blake2b(data, digest_size=32).digest()
        if length != len(data) or found != digest or digest.hex() != record.digest:
            raise CheckpointError(f"The state file {path} is damaged (its digest is not the recorded one). {remedy}")
        return data

    def clean(self, shard: int, keep: CheckpointRecord) -> int:
        """Deletes the shard's files of earlier steps than `keep`, which must be committed; returns how many."""
        found = self._files(lambda number, step: number == shard and step < keep.step)
        return _delete(path for path in found if path.name != keep.file)

    def clean_beyond(self, shards: int) -> int:
        """Deletes the files of shards that do not exist where there are `shards` of them; returns how many."""
        return _delete(self._files(lambda number, _: number >= shards))

    def remove(self, record: CheckpointRecord) -> None:
        """Deletes a file that was saved and is not going to be committed."""
        (self.folder / record.file).unlink(missing_ok=True)

    def _files(self, wanted: Callable[[int, int], bool]) -> Iterator[Path]:
        """State files, and drafts of them, by (shard, step)."""
        for path in self.folder.glob("shard-*-step-*.state*"):
            match = _NAME.match(path.name)
            if match and wanted(int(match[1]), int(match[2])):
                yield path


def _delete(paths: Iterable[Path]) -> int:
    deleted = 0
    for path in paths:
        path.unlink(missing_ok=True)
        deleted += 1
    return deleted
