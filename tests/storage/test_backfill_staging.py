"""Batches become chunks and lines of a journal: repeats, erased users, and a journal that was cut off."""

from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segmentation.compile import compile_files
from segmentation.evaluate.erasure import digest_of
from segmentation.evaluate.shard import Shard
from segmentation.events.schema import load_schema
from segmentation.shards import shard_of
from storage.backfill import staging as module
from storage.backfill.batches import Batch
from storage.backfill.shard_log import ShardLog
from storage.backfill.staging import Staging
from storage.reservoir import folder_of, kept_columns

SCHEMA = load_schema("")
PLAN = compile_files({"all.sql": "SELECT user_id FROM events GROUP BY user_id"}, SCHEMA)
Row = tuple[str, int, str]  # user, time (µs), event id


def begun(folder: Path, shards: int = 2, erased: tuple[str, int] | None = None) -> Staging:
    states = [Shard(PLAN, 1, 0, None, False) for _ in range(shards)]
    for state in states if erased else ():
        assert erased is not None
        state.erasures.add(digest_of(erased[0]), erased[1])
    return Staging(folder, [ShardLog.of(state) for state in states], kept_columns(SCHEMA), 1_000, ["b"])


def batch(rows: list[Row], end: int) -> Batch:
    users, times, ids = ([row[place] for row in rows] for place in range(3))
    kinds = pa.array(["buy"] * len(rows)).dictionary_encode()
    return Batch(pa.table({
        "user_id": pa.array(users).dictionary_encode(), "event_id": pa.array(ids),
        "event_time": pa.array(times, pa.int64()).cast(pa.timestamp("us", "UTC")), "event_type": kinds,
    }), end)  # fmt: skip


def held(staging: Staging, folder: Path, shards: int = 2) -> list[Row]:
    """What the chunks have; each row in its user's shard, under his number."""
    found = []
    for number in range(shards):
        refs, users, _ = staging.staged(number)
        for ref in refs:
            path = folder_of(folder / module.FOLDER, number) / f"{ref.file}.parquet"
            for row in pq.read_table(path).to_pylist():
                assert users[row["_user"]] == row["user_id"] and shard_of(row["user_id"], shards) == number
                assert row["known_at"] == row["event_time"]
                found.append((row["user_id"], int(row["event_time"].timestamp() * 1e6 + 0.5), row["event_id"]))
    return sorted(found)


def test_each_event_once_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Coarse times, so that many events of a user are at one instant; chunks of a few rows."""
    monkeypatch.setattr(module, "CHUNK_ROWS", 5)
    draw = Random(1)
    rows = [(f"u{draw.randrange(6)}", draw.randrange(8), f"e{draw.randrange(4)}") for _ in range(200)]
    staging = begun(tmp_path)
    for first in range(0, 200, 40):
        staging.add(batch(rows[first : first + 40], first + 40), "f")
    assert held(staging, tmp_path) == sorted(set(rows))
    assert (staging.counts.taken, staging.counts.repeated) == (len(set(rows)), 200 - len(set(rows)))
    for number in range(2):
        newest = staging.newest(number)
        for place, user in enumerate(staging.staged(number)[1]):
            assert newest[place] == max(time for who, time, _ in rows if who == user)
    staging.close()


def test_whoever_was_erased_stays_erased(tmp_path: Path) -> None:
    staging = begun(tmp_path, erased=("gone", 500))
    rows = [("gone", 500, "a"), ("gone", 501, "b"), ("here", 100, "c"), ("here", 1_001, "later")]
    given = batch(rows, 4)
    staging.add(given, "f")
    assert held(staging, tmp_path) == [("gone", 501, "b"), ("here", 100, "c")]
    assert (staging.counts.erased, staging.counts.refused) == (1, 1) and given.refused[0].reason == "not_history"
    staging.close()


def test_a_journal_that_was_cut_off(tmp_path: Path) -> None:
    staging = begun(tmp_path)
    staging.add(batch([("u1", 1, "a"), ("u2", 2, "b")], 2), "f")
    staging.add(batch([("u3", 3, "c")], 3), "f")
    staging.close()
    journal = tmp_path / module.FOLDER / "journal"
    journal.write_bytes(journal.read_bytes()[:-5])
    again = begun(tmp_path)
    assert again.resumed and again.done("f") == 2 and again.done("other") == 0
    again.add(batch([("u3", 3, "c"), ("u1", 1, "a")], 4), "f")
    assert held(again, tmp_path) == [("u1", 1, "a"), ("u2", 2, "b"), ("u3", 3, "c")]
    assert (again.counts.taken, again.counts.repeated) == (3, 1)
    again.discard()
    assert not (tmp_path / module.FOLDER).exists() and not begun(tmp_path).resumed
