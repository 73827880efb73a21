"""State files: what a shard is loaded from, so that only the steps since need to be run again.

A file is a header (magic, format version, length and digest of the content) and the content: the state in
pieces, each compressed (zstd) and behind its two lengths. Files of format 1, whose content is the state as it
is, are still read. A file is written under another name, flushed, and renamed, so under its own name it is
whole or absent; it is never written again. It counts only once a commit has stored its CheckpointRecord.
"""

import os
import re
import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

import pyarrow as pa

from storage.commits import CheckpointRecord
from storage.disk import StorageError, explained, flush_folder, write_whole

_HEADER = struct.Struct("<8sIQ32s")  # magic, format, length, BLAKE2b-256 of the content
_MAGIC, _FORMAT, _PLAIN = b"TIDEGATE", 2, 1
_PIECE = struct.Struct("<II")  # bytes of the state, bytes here
#: Bytes of the state that are compressed at once, without the interpreter's lock: others go on meanwhile.
PIECE_BYTES = 1 << 20
_NAME = re.compile(r"shard-(\d+)-step-(\d+)-[0-9a-f]+\.state")


class CheckpointError(StorageError):
    """A state file is missing or damaged; the message names it."""


class CheckpointStore:
    """`storage_url`: a folder that every process of the engine reaches; made where it is missing."""

    def __init__(self, storage_url: Path) -> None:
        self.folder = Path(storage_url) / "checkpoints"

    def save(self, shard: int, step: int, offsets: dict[int, int], data: bytes) -> CheckpointRecord:
        """Flushed to disk when this returns. `offsets`: where to read each partition from after loading it."""
        content = [part for piece in _packed(data) for part in piece]
        digest, length = blake2b(digest_size=32), sum(map(len, content))
        for part in content:
            digest.update(part)
        name = f"shard-{shard}-step-{step}-{digest.hexdigest()[:16]}.state"
        path, draft = self.folder / name, self.folder / f"{name}.{os.getpid()}.tmp"
        with explained(path, "state file"):
            write_whole(path, draft, [_HEADER.pack(_MAGIC, _FORMAT, length, digest.digest()), *content])
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
        if version not in (_PLAIN, _FORMAT):
            raise CheckpointError(
                f"The state file {path} has format {version}, this Tidegate reads {_PLAIN} and {_FORMAT}. "
                "Use the Tidegate that wrote it, or start with --rebuild."
            )
        data = content[_HEADER.size :]
        found = blake2b(data, digest_size=32).digest()
        if length != len(data) or found != digest or digest.hex() != record.digest:
            raise CheckpointError(f"The state file {path} is damaged (its digest is not the recorded one). {remedy}")
        return data if version == _PLAIN else _unpacked(data)

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


def _packed(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    codec, whole = pa.Codec("zstd", 1), memoryview(data)
    for start in range(0, len(data), PIECE_BYTES):
        piece = whole[start : start + PIECE_BYTES]
        small: bytes = codec.compress(piece, asbytes=True)
        yield _PIECE.pack(len(piece), len(small)), small


def _unpacked(content: bytes) -> bytes:
    """`content` is what `_packed` made: its digest was looked at."""
    codec, whole, at, pieces = pa.Codec("zstd"), memoryview(content), 0, []
    while at < len(content):
        size, small = _PIECE.unpack_from(content, at)
        at += _PIECE.size
        pieces.append(codec.decompress(whole[at : at + small], size, asbytes=True))
        at += small
    return b"".join(pieces)


def _delete(paths: Iterable[Path]) -> int:
    deleted = 0
    for path in paths:
        path.unlink(missing_ok=True)
        deleted += 1
    return deleted
