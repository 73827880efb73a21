"""State files: whole or absent, checked when read, named when wrong."""

import errno
import os
import struct
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.checkpoints import PIECE_BYTES, CheckpointError, CheckpointStore
from storage.commits import CheckpointRecord
from storage.disk import DiskFull, StorageError

DATA = bytes(range(256)) * 10


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "made" / "when needed")
    record = store.save(3, 17, {0: 5, 1: 9}, DATA)
    assert store.load(record) == DATA
    assert (record.shard, record.step, record.offsets) == (3, 17, {0: 5, 1: 9})
    assert store.load(store.save(3, 18, {}, b"")) == b""
    assert sorted(os.listdir(store.folder)) == sorted([record.file, store.save(3, 18, {}, b"").file])


def test_a_large_state_is_kept_small_and_comes_back_whole(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    data = np.random.default_rng(1).integers(0, 50, 5 * PIECE_BYTES // 16).tobytes() + b"the end"
    record = store.save(0, 1, {}, data)
    assert store.load(record) == data
    assert (store.folder / record.file).stat().st_size < len(data) / 4


def test_a_file_of_the_first_format_is_still_read(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(0, 1, {}, DATA)
    digest = blake2b(DATA, digest_size=32)
    name = f"shard-0-step-2-{digest.hexdigest()[:16]}.state"
    (store.folder / name).write_bytes(struct.pack("<8sIQ32s", b"TIDEGATE", 1, len(DATA), digest.digest()) + DATA)
    assert store.load(CheckpointRecord(0, 2, name, digest.hexdigest(), {})) == DATA


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: whole[:-1], "is damaged"),
        (lambda whole: whole + b"x", "is damaged"),
        (lambda whole: whole[:100] + bytes([whole[100] ^ 1]) + whole[101:], "is damaged"),
        (lambda whole: whole[:20], "is not one of"),
        (lambda whole: b"", "is not one of"),
        (lambda whole: whole[:8] + b"\x03" + whole[9:], "has format 3"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: Any, reason: str) -> None:
    store = CheckpointStore(tmp_path)
    record = store.save(0, 1, {}, DATA)
    path = store.folder / record.file
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=reason) as caught:
        store.load(record)
    assert str(path) in str(caught.value)


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    one, other = store.save(0, 1, {}, DATA), store.save(0, 2, {}, DATA + b"x")
    with pytest.raises(CheckpointError, match="is damaged"):
        store.load(replace(one, file=other.file))
    with pytest.raises(CheckpointError, match=r"is missing.*storage_url"):
        store.load(replace(one, file="shard-9-step-9-0.state"))


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EFBIG, "ulimit -f")]
)
def test_a_full_disk_is_said_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    store = CheckpointStore(tmp_path)
    kept = store.save(0, 1, {}, DATA)

    def full(handle: int) -> None:
        raise OSError(code, "No space left on device")

    monkeypatch.setattr("storage.checkpoints.os.fsync", full)
    with pytest.raises(DiskFull, match=f"No space for the state file .*{words}.* MiB are free"):
        store.save(0, 2, {}, DATA)
    assert os.listdir(store.folder) == [kept.file]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be written .*Correct storage_url"):
        CheckpointStore(tmp_path / "file").save(0, 1, {}, DATA)


def test_cleaning_keeps_the_given_one_and_what_is_newer(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    records = [store.save(shard, step, {}, DATA) for shard in (1, 11) for step in (1, 2, 3)]
    assert store.clean(1, keep=records[1]) == 1
    assert sorted(os.listdir(store.folder)) == sorted(r.file for r in records[1:])


def test_cleaning_what_lies_beyond_the_last_shard(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    records = [store.save(shard, 7, {}, DATA) for shard in (0, 9, 10, 11)]
    (store.folder / f"{records[3].file}.5.tmp").touch()
    assert store.clean_beyond(10) == 3
    store.remove(records[1])
    assert os.listdir(store.folder) == [records[0].file]
