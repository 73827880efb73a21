"""The log, in memory and on disk, against a plain list of rows."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.events.rows import ValueColumn
from segmentation.state import body as body_module
from segmentation.state import log as log_module
from segmentation.state.archive import FoundRows, StoredRows
from segmentation.state.chunks import Chunks, Columns, Format
from segmentation.state.log import Log
from segmentation.state.users import new_users
from segmentation.types import BIGINT
from storage.reservoir import Reservoir, clean
from tests.flows.erased import content_of

DTYPES: dict[str, np.dtype[Any]] = {
    "time": np.dtype(np.int64), "known": np.dtype(np.int64), "user": np.dtype(np.int32),
    "event_id": np.dtype(object), "=n": np.dtype(np.int64),
}  # fmt: skip
WIDE: dict[str, np.dtype[Any]] = {"partition": np.dtype(np.int32), "offset": np.dtype(np.int64)}
USERS = [f"user {number}" for number in range(5)]


def stored(rows: Columns) -> StoredRows:
    return StoredRows(
        rows["time"], rows["known"], rows["user"], new_users(USERS),
        rows["event_id"], rows["partition"], rows["offset"], {"n": ValueColumn(rows["=n"])},
    )  # fmt: skip


def restored(found: FoundRows) -> Columns:
    assert found.event_id is not None
    n = found.columns["n"]
    assert isinstance(n, ValueColumn)
    return {
        "time": found.time, "known": found.known, "user": found.user, "event_id": found.event_id, "=n": n.data,
    }  # fmt: skip


def rows_of(events: list[tuple[int, int]], first: int) -> Columns:
    """events: (time, user); `=n` numbers them."""
    time = np.array([time for time, _ in events], np.int64)
    number = np.arange(first, first + len(events))
    return {
        "time": time, "known": time + 1, "user": np.array([user for _, user in events], np.int32),
        "event_id": np.array([f"e{n}" for n in number.tolist()], object), "=n": number,
        "partition": np.zeros(len(events), np.int32), "offset": number,
    }  # fmt: skip


Row = tuple[int, int, int]  # number, time, user


@dataclass
class World:
    """The log and what it should hold; `token` counts the archives."""

    folder: Path
    token: int = 0
    rows: list[Row] = field(default_factory=list)
    count: int = 0
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.empty()

    def empty(self) -> Log:
        self.token += 1
        archive = Reservoir(self.folder, 0, self.token, {"n": BIGINT}, group_rows=2)
        return Log(DTYPES, WIDE, Chunks(archive, Format(stored, restored, ["n"], True)))

    def again(self) -> None:
        state, (until, keep) = self.log.dump(), self.log.files()
        clean(self.folder, 0, self.token, keep, until)
        self.log = self.empty()
        self.log.load(state)

    def append(self, events: list[tuple[int, int]]) -> None:
        self.log.append(rows_of(events, self.count))
        self.rows += [(self.count + i, time, user) for i, (time, user) in enumerate(events)]
        self.count += len(events)
        assert self.log.waiting < 2 * log_module.CHUNK_ROWS + log_module.LATE_ROWS


def found(parts: Iterator[Columns] | list[Columns], ordered: bool = True) -> list[Row]:
    out: list[Row] = []
    for part in parts:
        assert not ordered or (np.diff(part["time"]) >= 0).all()
        assert part["known"].tolist() == (part["time"] + 1).tolist()
        assert part["event_id"].tolist() == [f"e{n}" for n in part["=n"].tolist()]
        out += zip(part["=n"].tolist(), part["time"].tolist(), part["user"].tolist())
    return sorted(out)


TIMES = st.integers(0, 30)
EVENTS = st.lists(st.tuples(TIMES, st.integers(0, 4)), min_size=1, max_size=8)
ACTIONS = st.one_of(
    st.tuples(st.just("append"), EVENTS), st.tuples(st.just("append"), EVENTS), st.tuples(st.just("again"), st.none()),
    st.tuples(st.just("erase"), st.dictionaries(st.integers(0, 4), TIMES, min_size=1)),
    st.tuples(st.just("drop"), TIMES),
)  # fmt: skip


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2)):
        monkeypatch.setattr(log_module, name, rows)
    monkeypatch.setattr(body_module, "LEAST", 2)


@settings(max_examples=300, deadline=None)
@given(st.lists(ACTIONS, min_size=3, max_size=25), TIMES, TIMES)
def test_the_log_is_what_was_put_in(actions: list[tuple[str, object]], first: int, last: int) -> None:
    memory = Path("/dev/shm")  # flushing to a disk would be most of the time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        world = World(Path(name))
        dropped = -1
        advance = 0
        erased: dict[int, int] = {}
        for what, value in actions:
            if what == "append":
                assert isinstance(value, list)
                advance += 3
                events = [(advance + time, user) for time, user in value]
                events = [(time, user) for time, user in events if time > erased.get(user, -1)]
                if events:
                    world.append(events)
            elif what == "again":
                world.again()
            elif what == "erase":
                assert isinstance(value, dict)
                until = {user: max(time + advance, erased.get(user, -1)) for user, time in sorted(value.items())}
                erased |= until
                world.rows = [row for row in world.rows if row[1] > until.get(row[2], -1)]
                stay = world.log.erase(np.array(list(until)), np.array(list(until.values())))
                assert [row for row in found([stay], ordered=False) if row[1] >= dropped] == [
                    row for row in world.rows if row[2] in until and row[1] >= dropped
                ]
            elif what == "drop":
                assert isinstance(value, int)
                dropped = max(dropped, value)
                world.log.drop_before(dropped)
            _check(world, dropped, first + advance - 10, last + advance)
        _files_hold_nothing_erased(world, erased)


def _check(world: World, dropped: int, first: int, last: int) -> None:
    first = max(first, dropped)
    wanted = [row for row in world.rows if first <= row[1] < last]
    assert found(world.log.between(first, last)) == wanted
    mine = found(world.log.of_users(np.array([1, 3]), first, last))
    assert [row for row in mine if row[2] in (1, 3)] == [row for row in wanted if row[2] in (1, 3)]
    _look_for_same(world, range(max(0, first), last + 1, 2), dropped)


def _look_for_same(world: World, times: range, dropped: int) -> None:
    pairs = [(time, user) for time in times for user in (0, 3)]
    if pairs:
        same = world.log.same(np.array([user for _, user in pairs]), np.array([time for time, _ in pairs]))
        seen = set(zip(same["time"].tolist(), same["user"].tolist(), same["event_id"].tolist()))
        for number, time, user in world.rows:
            if (time, user) in pairs and time >= dropped:
                assert (time, user, f"e{number}") in seen


def _files_hold_nothing_erased(world: World, erased: dict[int, int]) -> None:
    """Once what was begun is done and a state was saved, no file holds an erased row."""
    there = {user for _, _, user in world.rows}
    for _ in range(8):
        world.append([(10_000 + world.count, 4)])
        world.again()
    for path in world.folder.rglob("*.parquet"):
        content = content_of(path)
        assert not any(USERS[user].encode() in content for user in erased.keys() - there - {4})
        rows = pq.read_table(path, columns=["_user", "_offset"]).to_pydict()
        stay = {number for number, _, _ in world.rows}
        assert all(user not in erased or number in stay for user, number in zip(rows["_user"], rows["_offset"]))


GAPS = st.lists(st.sampled_from([0, 0, 1, 40]), min_size=1, max_size=9)


@settings(max_examples=100, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=12), st.sampled_from([3, 64]))
def test_rows_that_nobody_has_read_are_found(polls: list[list[tuple[int, int]]], fresh: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "FRESH", fresh)
        world = World(Path(name))
        log = world.log = Log(DTYPES, WIDE)  # in memory
        for number, events in enumerate(polls):
            events = [(time + 3 * number, user) for time, user in events]
            log.append(rows_of(events, world.count))
            world.rows += [(world.count + i, time, user) for i, (time, user) in enumerate(events)]
            world.count += len(events)
            _look_for_same(world, range(0, 70, 2), -1)
        assert found(log.between(0, 1_000)) == sorted(world.rows)
        pieces = log.in_memory()
        assert len(pieces) <= 1 + max(1, world.count).bit_length()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 5), GAPS), max_size=40),
    st.sampled_from([0, 3, 1_000]),
)
def test_many_partitions_wait_no_longer_than_one(polls: list[tuple[int, list[int]]], lag: int) -> None:
    """Each partition in order of time, with ties, and `lag` behind the one before; memory and files stay ordered."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        world = World(Path(name))
        at = [-lag * partition for partition in range(6)]
        for partition, gaps in polls:
            times = at[partition] + np.cumsum(gaps)
            at[partition] = int(times[-1])
            world.append([(time, partition % 5) for time in times.tolist()])  # looks at what waits
        assert found(world.log.parts()) == sorted(world.rows)
        world.again()
        assert found(world.log.parts()) == sorted(world.rows)
        assert world.log.chunks is not None
        ends = [(ref.first, ref.last) for ref in world.log.chunks.refs if not ref.late]
        assert all(last <= first for (_, last), (first, _) in pairwise(ends))


def test_a_body_that_was_erased_begins_where_the_last_chunk_ended(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.append([(10 * n, 0) for n in range(4)] + [(5, 1), (100, 2), (101, 2)])  # the run: 5; cut off: 0, 5, 10
    world.append([(15, 1)])  # late for it
    world.log.erase(np.array([0, 2]), np.array([1_000, 1_000]))
    world.rows = [row for row in world.rows if row[2] == 1]
    world.append([(2, 1), (3, 1), (4, 1), (6, 1), (7, 1), (8, 1), (9, 1)])
    world.append([(200 + n, 1) for n in range(6)])
    assert found(world.log.parts()) == sorted(world.rows)


def test_late_rows_of_pieces_are_in_order_after_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "LATE_ROWS", 50)
    world = World(tmp_path)
    world.append([(100 + n, 0) for n in range(12)])
    for events in ([9, 20, 30, 40, 50, 60, 70, 80], [1, 25, 35], [2]):  # each less than half of the one before
        world.append([(time, 1) for time in events])
    world.again()
    _check(world, -1, 0, 200)


def test_late_chunks_are_merged(tmp_path: Path) -> None:
    world = World(tmp_path)
    for number in range(60):
        world.append([(10 * number, 0), (10 * number + 1, 1), (number % 7, 2)])
    chunks = world.log.chunks
    assert chunks is not None
    late = [ref.level for ref in chunks.refs if ref.late]
    assert len(late) < 8 and max(late) >= 2
    assert found(world.log.parts()) == sorted(world.rows)
