"""The reservoir's files: read back as written, by us and by DuckDB; damage is named; cleaning spares what counts."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from segmentation.events.rows import TextColumn, ValueColumn
from segmentation.state.archive import ROW_BITS, ChunkRef, StoredRows
from segmentation.state.users import new_users
from segmentation.types import BIGINT, BOOLEAN, DOUBLE, TEXT, TIMESTAMPTZ, Type, numeric
from storage.reservoir import Reservoir, ReservoirError, clean
from tests.flows.erased import content_of

COLUMNS: dict[str, Type] = {
    "event_type": TEXT, "url": TEXT, "quantity": BIGINT, "amount": numeric(18, 2), "score": DOUBLE,
    "premium": BOOLEAN, "seen": TIMESTAMPTZ,
}  # fmt: skip
USERS = ["anna", "böris", "", "d\x00e"]
N = 5


def valued(data: list[Any], dtype: type) -> ValueColumn:
    return ValueColumn(np.array(data, dtype), np.array([True, False, True, True, True]))


def rows(first: int = 1_700_000_000_000_000) -> StoredRows:
    """Five events with a NULL in each column, and the ends of what the types hold."""
    urls = np.empty(N, object)
    urls[:] = ["/a", None, "/b", "", "/a"]
    big = 2**63 - 1
    return StoredRows(
        np.array([first, first, first + 1, first + 5, first + 9]),
        np.array([first, first + 2, first + 2, first + 5, first + 9]),
        np.array([0, 1, 2, 0, 3], np.int32),
        new_users(USERS),
        np.array(["e1", "e2", "é3", "", "e5"], object),
        np.array([0, 1, 0, 0, 1], np.int32),
        np.array([7, 0, 8, 9, 1]),
        {
            "event_type": TextColumn(np.array([1, -1, 0, 1, 1], np.int32), ["view", "buy", "never"]),
            "url": urls,
            "quantity": valued([1, 0, -big - 1, big, 0], np.int64),
            "amount": valued([10**18 - 1, 0, -(10**18) + 1, -1, 5], np.int64),
            "score": valued([0.1, 0, 1.7e308, -5e-324, 0.0], np.float64),
            "premium": valued([True, False, False, True, True], np.bool_),
            "seen": valued([0, 0, -(10**15), first, 1], np.int64),
        },
    )


@pytest.fixture
def reservoir(tmp_path: Path) -> Reservoir:
    return Reservoir(tmp_path, 3, 17, COLUMNS, group_rows=2)


def written(reservoir: Reservoir, rows_: StoredRows | None = None) -> ChunkRef:
    ref = reservoir.write(rows_ or rows(), False).result()
    assert ref is not None
    return ref


def test_what_was_written_is_read(reservoir: Reservoir) -> None:
    given, ref = rows(), written(reservoir)
    chunk = Reservoir(reservoir.folder.parent.parent, 3, 18, COLUMNS, group_rows=2).open(ref)
    assert chunk.time.tolist() == given.time.tolist()
    assert [(key >> ROW_BITS, key & 0xFFFF) for key in chunk.key.tolist()] == [(0, 0), (0, 3), (1, 1), (2, 2), (3, 4)]
    for group, place in ((0, slice(0, 2)), (1, slice(2, 4)), (2, slice(4, 5))):
        found = chunk.read(group, list(COLUMNS), True)
        assert found.known.tolist() == given.known[place].tolist()
        assert found.user.tolist() == given.user[place].tolist()
        assert found.event_id is not None and found.event_id.tolist() == given.event_id[place].tolist()
        assert chunk.event_ids(group).tolist() == given.event_id[place].tolist()
        for name, column in found.columns.items():
            assert values(column) == values(given.columns[name])[place], name
    assert chunk.read(0, ["score"], False).event_id is None


def values(column: TextColumn | ValueColumn | np.ndarray[Any, Any]) -> list[Any]:
    if isinstance(column, TextColumn):
        return [column.values[code] if code >= 0 else None for code in column.codes.tolist()]
    if isinstance(column, ValueColumn):
        valid = np.ones(len(column.data), bool) if column.valid is None else column.valid
        return [value if known else None for value, known in zip(column.data.tolist(), valid.tolist())]
    return list(column)


def test_duckdb_reads_the_files(reservoir: Reservoir) -> None:
    written(reservoir)
    files = str(reservoir.folder.parent / "*" / "*.parquet")
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    found = connection.execute(
        "SELECT user_id, event_id, event_type, url, quantity, amount::varchar, score, premium, epoch_us(seen), "
        "epoch_us(event_time), epoch_us(known_at), _partition, _offset "
        "FROM read_parquet(?, file_row_number=true) ORDER BY file_row_number",
        [files],
    ).fetchall()
    given = rows()
    first = int(given.time[0])
    assert found[0] == (
        "anna", "e1", "buy", "/a", 1, "9999999999999999.99", 0.1, True, 0, first, first, 0, 7,
    )  # fmt: skip
    assert found[1][2:9] == (None,) * 7
    assert [row[0] for row in found] == [USERS[user] for user in given.user.tolist()]
    described = connection.execute("SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?))", [files])
    types = dict(described.fetchall())
    assert types["amount"] == "DECIMAL(18,2)" and types["event_time"] == "TIMESTAMP WITH TIME ZONE"


@pytest.mark.parametrize("suffix", [".parquet", ".index"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: whole[:-1], "bytes instead of"),
        (lambda whole: b"", "bytes instead of"),
        (lambda whole: whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], "is damaged"),
        (None, "cannot be read"),
    ],
)
def test_a_damaged_file_is_named(reservoir: Reservoir, suffix: str, damage: Any, reason: str) -> None:
    ref = written(reservoir)
    path = reservoir.folder / f"{ref.file}{suffix}"
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    other = Reservoir(reservoir.folder.parent.parent, 3, 18, COLUMNS, group_rows=2)
    calls: list[Callable[[ChunkRef], object]] = [other.open, other.verify]
    if "damaged" not in reason:
        calls.append(lambda one: other.check([one]))
    for call in calls:
        with pytest.raises(ReservoirError, match=reason) as caught:
            call(ref)
        assert str(path) in str(caught.value) and "--rebuild" in str(caught.value)


def test_merged_chunks_are_one_in_order_without_the_erased(reservoir: Reservoir) -> None:
    later = written(reservoir, rows(1_700_000_000_000_004))
    refs = [later, written(reservoir)]
    last = 1_700_000_000_000_999  # of all rows
    merged = reservoir.merge(refs, {0: last}).result()
    assert merged is not None and (merged.rows, merged.level) == (6, 1)
    chunk = reservoir.open(merged)
    assert (np.diff(chunk.time) >= 0).all() and 0 not in (chunk.key >> ROW_BITS)
    ids = [id for group in range(3) for id in chunk.event_ids(group).tolist()]
    assert sorted(ids) == sorted(["e2", "é3", "e5"] * 2)
    assert reservoir.merge([merged], {1: last, 2: last, 3: last}).result() is None
    assert b"anna" in content_of(reservoir.folder / f"{later.file}.parquet")
    assert b"anna" not in content_of(reservoir.folder / f"{merged.file}.parquet")


def test_files_of_versions_that_wrote_numerics_as_bytes(reservoir: Reservoir, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read, alone, by DuckDB together with new ones, and merged with those."""
    write = pq.write_table

    def as_before(table: Any, sink: Any, **options: Any) -> None:
        del options["store_decimal_as_integer"], options["column_encoding"]["amount"]
        write(table, sink, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", as_before)
        refs = [written(reservoir)]
    refs.append(written(reservoir, rows(1_700_000_000_000_004)))
    merged = reservoir.merge(refs, {}).result()
    assert merged is not None
    amounts = values(rows().columns["amount"])
    for ref, physical in zip([*refs, merged], ("FIXED_LEN_BYTE_ARRAY", "INT64", "INT64")):
        file = pq.ParquetFile(reservoir.folder / f"{ref.file}.parquet")
        place = file.schema_arrow.get_field_index("amount")
        assert file.metadata.row_group(0).column(place).physical_type == physical
        chunk = reservoir.open(ref)
        parts = [chunk.read(group, ["amount"], False).columns["amount"] for group in range(-(-ref.rows // 2))]
        found = [value for part in parts for value in values(part)]
        assert sorted(found, key=str) == sorted(amounts * (ref.rows // N), key=str)
    files = [str(reservoir.folder / f"{ref.file}.parquet") for ref in refs]
    summed = duckdb.connect().execute("SELECT count(amount), sum(amount)::varchar FROM read_parquet(?)", [files])
    assert summed.fetchall() == [(8, "0.08")]


def test_a_chunk_goes_to_another_shard(reservoir: Reservoir, tmp_path: Path) -> None:
    refs = [written(reservoir), written(reservoir, rows(1_700_000_000_000_004))]
    owner, number = np.array([-1, 1, -1, 1]), np.array([-1, 8, -1, 2])
    nobody, leaving = zip(*(reservoir.leaving(ref, owner, number, 2, {}) for ref in refs))
    assert [len(piece) for piece in nobody] == [0, 0]
    other = Reservoir(tmp_path, 5, 1, COLUMNS, group_rows=2)
    moved = other.arrived([leaving[1], leaving[0].slice(0, 1), leaving[0].slice(1, 2)], True)
    assert moved.rows == 4 and moved.late
    chunk = other.open(moved)
    assert (np.diff(chunk.time) >= 0).all()
    found = [chunk.read(group, ["url"], True) for group in (0, 1)]
    urls = [pair for part in found for pair in zip(part.user.tolist(), values(part.columns["url"]))]
    assert sorted(urls, key=str) == [(2, "/a"), (2, "/a"), (8, None), (8, None)]


def names(reservoir: Reservoir) -> set[str]:
    return {path.name for path in reservoir.folder.iterdir()}


def test_cleaning_spares_what_is_needed_or_newer(reservoir: Reservoir, tmp_path: Path) -> None:
    old, kept, newer = (written(reservoir) for _ in range(3))
    successor = Reservoir(tmp_path, 3, 18, COLUMNS)
    theirs = written(successor)
    (reservoir.folder / f"{old.file}.parquet.tmp").write_bytes(b"half")
    (reservoir.folder / "notes.txt").write_text("somebody's own")
    assert clean(tmp_path, 3, 17, frozenset({kept.file}), 2) == 3
    wanted = {f"{ref.file}{suffix}" for ref in (kept, newer, theirs) for suffix in (".parquet", ".index")}
    assert names(reservoir) == wanted | {"notes.txt"}
    assert clean(tmp_path, 3, 18, frozenset({kept.file}), 0) == 2
    assert f"{theirs.file}.parquet" in names(reservoir) and f"{newer.file}.parquet" not in names(reservoir)


def test_what_nobody_has_taken_over_is_not_cleaned_away(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        reservoir = Reservoir(tmp_path, 0, 1, COLUMNS, pool)
        writing = reservoir.write(rows(), False)
    until, unfinished = reservoir.unfinished()
    assert writing.done() and clean(tmp_path, 0, 1, unfinished, until) == 0
    ref = writing.result()
    assert ref is not None and reservoir.unfinished() == (1, frozenset())
    assert clean(tmp_path, 0, 1, frozenset(), until) == 2


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    yield


def test_a_full_disk_is_said_and_leaves_no_half_file(reservoir: Reservoir, full_disk: None) -> None:
    with pytest.raises(Exception, match=r"[Nn]o space"):
        reservoir.write(rows(), False).result()
    assert names(reservoir) == set()


def test_times_beyond_the_calendar(reservoir: Reservoir) -> None:
    given = replace(rows(), time=np.array([-(2**61), -1, 0, 1, 2**61]))
    assert reservoir.open(written(reservoir, given)).time.tolist() == given.time.tolist()


@pytest.mark.parametrize("different", [True, False])
def test_ids_of_many_users_are_no_dictionary_that_each_row_group_has_again(tmp_path: Path, different: bool) -> None:
    n = 64
    few = rows()
    ids, places = [f"user-{number:030}" for number in range(n)], np.arange(n)
    many = replace(
        few, time=few.time[0] + places, known=few.time[0] + places, user_ids=new_users(ids),
        user=(places if different else places % 2).astype(np.int32), partition=np.zeros(n, np.int32), offset=places,
        event_id=np.array([f"e{place}" for place in places], object),
        columns={name: column[places % N] if isinstance(column, np.ndarray) else column.take(places % N)
                 for name, column in few.columns.items()},
    )  # fmt: skip
    reservoir = Reservoir(tmp_path, 0, 1, COLUMNS, group_rows=8)
    ref = reservoir.write(many, False).result()
    assert ref is not None
    again = reservoir.merge([ref, reservoir.write(many, False).result() or ref], {}).result()  # as read back
    assert again is not None
    for file in (ref, again):
        path = reservoir.folder / f"{file.file}.parquet"
        found = pq.ParquetFile(path)
        encodings = {found.metadata.row_group(g).column(0).encodings for g in range(found.num_row_groups)}
        assert found.schema_arrow.names[0] == "user_id"
        assert all(("RLE_DICTIONARY" in each) is not different for each in encodings)
        said = duckdb.execute(f"SELECT user_id FROM read_parquet('{path}') ORDER BY event_time, _user").fetchall()
        assert [user for (user,) in said] == [
            ids[user] for user in np.repeat(many.user, file.rows // n).tolist()
        ]
