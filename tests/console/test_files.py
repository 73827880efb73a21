"""Files of events: every format, gzipped or not, and every way they can be broken."""

import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from segmentation.errors import TidegateError
from storage.files import EventFile, Unreadable, read_records

ROWS: list[dict[str, Any]] = [{"user_id": "u1", "n": "1"}, {"user_id": "ü,\"2\"", "n": None}]
CSV = 'user_id,n\nu1,1\n"ü,""2""",\n'
NDJSON = '{"user_id": "u1", "n": "1"}\n\n{"user_id": "ü,\\"2\\"", "n": null}\n'


def _parquet(path: Path, table: Any) -> bytes:
    pq.write_table(table, path)
    return path.read_bytes()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet"])
def test_same_rows_from_every_format(tmp_path: Path, kind: str, zipped: bool, named: bool) -> None:
    content = {
        "ndjson": NDJSON.encode(), "csv": CSV.encode(), "parquet": _parquet(tmp_path / "t", pa.Table.from_pylist(ROWS))
    }[kind]
    path = tmp_path / (f"events.{kind}{'.gz' if zipped else ''}" if named else "events")
    path.write_bytes(gzip.compress(content) if zipped else content)
    found = [(row, json.loads(each) if isinstance(each, bytes) else each) for row, each in read_records(path)]
    assert [each for _, each in found] == ROWS
    assert [row for row, _ in found] == ([1, 3] if kind == "ndjson" else [1, 2])


def test_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV)
    (tmp_path / "b.csv").write_text(CSV)
    (tmp_path / "c.csv").write_text(CSV + "u3,3\n")
    one, same, other = (EventFile(tmp_path / f"{name}.csv").digest() for name in "abc")
    assert one == same != other


def test_broken_rows_of_csv_cost_only_themselves(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    path.write_bytes(b"\xef\xbb\xbfuser_id,n\nu1,1\nu2\nu3,\xff\nu4,4,4\nu5,5\n")
    found = dict(read_records(path))
    assert found[1] == {"user_id": "u1", "n": "1"}
    assert found[2] == Unreadable("1 cells where the header names 2")
    assert found[3] == Unreadable("not UTF-8")
    assert isinstance(found[4], Unreadable)
    assert found[5] == {"user_id": "u5", "n": "5"}


def test_parquet_keeps_types_and_cuts_nanoseconds_downwards(tmp_path: Path) -> None:
    nanos = pa.array([1_500, -1_500], pa.timestamp("ns", "UTC"))
    money = pa.array([Decimal("1.10"), None], pa.decimal128(10, 2))
    word = pa.array(["a", "b"]).dictionary_encode()
    path = tmp_path / "e.parquet"
    pq.write_table(pa.table({"at": nanos, "money": money, "word": word}), path)
    found = [each for _, each in read_records(path)]
    assert isinstance(found[0], dict) and isinstance(found[1], dict)
    assert found[0]["at"] == datetime(1970, 1, 1, 0, 0, 0, 1, UTC)
    assert found[1]["at"] == datetime(1969, 12, 31, 23, 59, 59, 999_998, UTC)
    assert [each["money"] for each in found if isinstance(each, dict)] == [Decimal("1.10"), None]
    assert found[0]["word"] == "a"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("none.csv", None, "no such file"),
        ("e.csv", b"", "is empty"),
        ("e.csv", b"a,b,a\n1,2,3\n", "'a' appears twice"),
        ("e.csv", b'a,b\n"x" y,2\n', "row 1 (line 2): not CSV"),
        ("e.parquet", b"PAR1 this is not", "not a readable Parquet file"),
        ("e.json", b'[{"a": 1}]', "one JSON array"),
        ("e.bin", b"\x00\x01\x02", "neither NDJSON"),
        ("e.ndjson.gz", gzip.compress(b'{"a": 1}\n' * 999)[:-20], "damaged or cut off"),
        ("e.ndjson.gz", b"\x1f\x8b\x08xxxx", "damaged or cut off"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: bytes | None, expected: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TidegateError) as error:
        list(read_records(path))
    assert str(path) in str(error.value) and expected in str(error.value)
