"""Parquet read by whole columns means what it means read row by row: the same rows, the same refusals."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.events.schema import load_schema
from storage.backfill import batches as module
from storage.backfill.batches import Reading, batches
from storage.backfill.quick import NotQuick, Quick
from storage.reservoir import kept_columns

SCHEMA = load_schema("""\
events:
  region: {type: text, one_of: [north, south, ""]}
  note: {type: text, empty_as_null: true}
  amount: {type: "numeric(8,2)", min: -100}
  price: {type: "numeric(8,2)"}
  count: {type: bigint, max: 1000}
  score: {type: double}
  gift: {type: boolean}
  sent: {type: timestamptz}
users:
  tier: {type: bigint}
""")
COLUMNS = kept_columns(SCHEMA)
START = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.sampled_from(["", "a", "ü", "north", "x\0y", "z" * 600])

rows = st.fixed_dictionaries({
    "user_id": st.none() | TEXT | st.sampled_from(["u1", "u2"]), "event_id": st.none() | TEXT,
    "event_type": st.sampled_from(["buy", "view", None, ""]),
    "event_time": st.none() | st.integers(0, 10**9).map(lambda us: START + timedelta(microseconds=us)),
    "region": st.sampled_from(["north", "south", "east", "", None]), "note": st.none() | TEXT,
    "amount": st.none() | st.integers(-20_000, 99_999).map(lambda cents: Decimal(cents).scaleb(-2)),
    "price": st.none() | st.sampled_from([0.1, 1.005, -0.0, 2.675, 1e9, float("nan"), 12.34]),
    "count": st.none() | st.integers(0, 1001), "score": st.none() | st.sampled_from([0.5, -0.0, float("inf"), 1e300]),
    "gift": st.none() | st.booleans(),
    "sent": st.none() | st.sampled_from([START, datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)]),
})  # fmt: skip
TYPES = pa.schema({
    "user_id": pa.string(), "event_id": pa.string(), "event_type": pa.dictionary(pa.int32(), pa.string()),
    "event_time": pa.timestamp("us", "UTC"), "region": pa.string(), "note": pa.large_string(),
    "amount": pa.decimal128(12, 2), "price": pa.float64(), "count": pa.int16(), "score": pa.float64(),
    "gift": pa.bool_(), "sent": pa.timestamp("ns", "Europe/Berlin"),
})  # fmt: skip


def read(path: Path, done: int = 0) -> tuple[list[dict[str, Any]], list[tuple[int, str, str]]]:
    found, refused = [], []
    for batch in batches(path, "d" * 32, Reading(SCHEMA, COLUMNS, {}, None), done):
        found += batch.rows.to_pylist()
        refused += [(one.row, one.reason, one.detail) for one in batch.refused]
    return found, refused


@settings(max_examples=40, deadline=None)
@given(given_rows=st.lists(rows, min_size=1, max_size=12), group=st.integers(1, 5), portion=st.integers(1, 6))
def test_columns_are_the_rows(
    given_rows: list[dict[str, Any]], group: int, portion: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("files") / "a.parquet"
    pq.write_table(pa.Table.from_pylist(given_rows, TYPES), path, row_group_size=group)
    assert Quick(pq.read_schema(path), SCHEMA, COLUMNS, {}, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "UNIT_ROWS", portion)
        quick, refused = read(path)

        def not_quick(*_: Any) -> None:
            raise NotQuick("a test")

        patch.setattr(module, "Quick", not_quick)
        slow, also_refused = read(path)
    key = lambda row: (row["user_id"], row["event_id"], repr(row))  # noqa: E731
    assert sorted(quick, key=key) == sorted(slow, key=key)
    assert sorted(refused) == sorted(also_refused)


def test_what_was_done_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.parquet"
    given_rows = [{"user_id": "u", "event_type": "buy", "event_time": START, "count": n} for n in range(20)]
    pq.write_table(pa.Table.from_pylist(given_rows), path, row_group_size=7)
    monkeypatch.setattr(module, "UNIT_ROWS", 2)
    whole, _ = read(path)
    assert [row["event_id"] for row in whole] == [f"{'d' * 16}-{n}" for n in range(1, 21)], "ids of file and row"
    for done in range(21):
        rest, _ = read(path, done)
        assert rest == whole[done:]


@pytest.mark.parametrize("wrong", [pa.int32(), pa.date32(), pa.timestamp("us")])
def test_other_types_are_read_row_by_row(wrong: pa.DataType) -> None:
    found = pa.schema({name: TYPES.field(name).type for name in TYPES.names} | {"sent": wrong})
    with pytest.raises(NotQuick, match="sent is"):
        Quick(found, SCHEMA, COLUMNS, {}, None)
    if wrong == pa.timestamp("us"):
        assert Quick(found, SCHEMA, COLUMNS, {}, "UTC")
