"""Rows that are kept: whatever is added, dropped, erased and saved, the same as lists of rows by user."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.state.dictionary import Dictionary, Translation
from segmentation.state.dump import pack, unpack
from segmentation.state.kept import Kept

COLUMNS: dict[str, np.dtype[Any]] = {
    "user": np.dtype(np.int32), "time": np.dtype(np.int64), "event_id": np.dtype(object), "=word": np.dtype(np.int32),
}  # fmt: skip
#: What is done: rows of (user, word) that come, rows that go (by their place), a user who is erased, a saved state.
ACTIONS = st.one_of(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2)), max_size=6),
    st.sets(st.integers(0, 9), max_size=3), st.integers(0, 3), st.just("save"),
)  # fmt: skip


@given(st.lists(ACTIONS, max_size=12))
def test_as_lists(actions: list[list[tuple[int, int]] | set[int] | int | str]) -> None:
    kept, rows, time = Kept(COLUMNS, {"=word"}), [], 0
    for action in actions:
        if isinstance(action, list):
            new = [(user, time + i, word) for i, (user, word) in enumerate(action)]
            time += len(new)
            _add(kept, new)
            rows += new
        elif isinstance(action, set):
            gone = [row for place, row in enumerate(sorted(rows)) if place in action]
            slots = kept.of_users(np.arange(4))
            kept.drop(slots[np.isin(kept.take(slots)["time"], [row[1] for row in gone])])
            rows = [row for row in rows if row not in gone]
        elif isinstance(action, int):
            kept.erase(np.array([action]))
            rows = [row for row in rows if row[0] != action]
        else:
            saved, kept = unpack(pack(kept.dump())), Kept(COLUMNS, {"=word"})
            kept.load(saved)
        _same(kept, rows)
        assert kept.texts(np.arange(4)).tolist() == sorted({word for _, _, word in rows if word >= 0})


def test_moved_to_another() -> None:
    kept, other = Kept(COLUMNS, {"=word"}), Kept(COLUMNS, {"=word"})
    rows = [(0, 10, 0), (1, 11, -1), (2, 12, 1), (0, 13, 1)]
    _add(other, rows)
    theirs, ours = Dictionary(["x", "y"]), Dictionary(["z", "y"])
    kept.adopt(other, np.array([2, 0]), np.array([5, 7]), Translation(theirs, ours))
    _same(kept, [(7, 10, 2), (5, 12, 1), (7, 13, 1)], users=8)
    assert ours.values == ["z", "y", "x"]


def _add(kept: Kept, rows: list[tuple[int, int, int]]) -> None:
    user, time, word = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    slots = kept.add({"user": user, "time": time, "event_id": np.array([f"e{t}" for t in time], object), "=word": word})
    assert not kept.counts(slots).any()
    kept.count(slots, time % 2 == 1)


def _same(kept: Kept, rows: list[tuple[int, int, int]], users: int = 4) -> None:
    for user in range(users):
        slots = kept.of_users(np.array([user]))
        found = kept.take(slots)
        mine = sorted(row for row in rows if row[0] == user)
        assert sorted(zip(found["user"].tolist(), found["time"].tolist(), found["=word"].tolist())) == mine
        assert found["event_id"].tolist() == [f"e{time}" for time in found["time"].tolist()]
        assert kept.counts(slots).tolist() == [time % 2 == 1 for time in found["time"].tolist()]
