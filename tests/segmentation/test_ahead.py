"""Events that wait for the clock fall due as if each had been looked at alone, and wait in few pieces."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmentation.evaluate.ahead import InOrder, split
from segmentation.state.dump import pack, unpack
from segmentation.state.log import Columns

Row = tuple[int, int, str]  # user, known, event id


def columns(rows: list[Row]) -> Columns:
    ids = np.empty(len(rows), object)
    ids[:] = [row[2] for row in rows]
    return {
        "user": np.array([row[0] for row in rows], np.int32), "known": np.array([row[1] for row in rows], np.int64),
        "event_id": ids,
    }  # fmt: skip


def rows_of(pieces: list[Columns]) -> list[Row]:
    found: list[Row] = []
    for piece in pieces:
        found += zip(piece["user"].tolist(), piece["known"].tolist(), piece["event_id"].tolist())
    return found


def by_user(rows: list[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


#: Arrivals of one run: (user, how far ahead), and by how much the clock moves on before the next.
RUNS = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 4), st.integers(-3, 12)), max_size=8), st.integers(0, 5)), max_size=25
)


@given(RUNS, st.integers(0, 30))
def test_each_falls_due_in_its_turn(runs: list[tuple[list[tuple[int, int]], int]], reloaded: int) -> None:
    clock = number = 0
    newest: dict[int, int] = {}
    expected: list[Row] = []
    waiting: list[Columns] = []
    for turn, (arrivals, step) in enumerate(runs):
        arrived: list[Row] = []
        for user, ahead in arrivals:
            newest[user] = max(newest.get(user, -100), clock + ahead)  # as known_at never decreases
            arrived.append((user, newest[user], f"e{number}"))
            number += 1
        if turn == reloaded:  # a saved state is loaded again
            waiting = unpack(pack(waiting))
        due, waiting = split([*waiting, columns(arrived)], clock)
        expected += arrived
        assert by_user(rows_of(due)) == by_user([row for row in expected if row[1] <= clock])
        expected = [row for row in expected if row[1] > clock]
        assert by_user(rows_of(waiting)) == by_user(expected)
        assert all(isinstance(piece, InOrder) and len(piece["known"]) for piece in waiting)
        clock += step


def test_a_flood_waits_in_few_pieces_and_gives_its_memory_back() -> None:
    waiting: list[Columns] = []
    count = 200
    for turn in range(count):
        rows = columns([(user, 1_000_000 + turn * 10 + user, "") for user in range(10)])
        due, waiting = split([*waiting, rows], turn)
        assert not due and len(waiting) <= 12
    due, waiting = split(waiting, 1_000_000 + count * 9)
    held = sum(_held(piece["known"]) for piece in waiting)
    assert 0 < sum(len(piece["known"]) for piece in waiting) < 300 and held < 1_000


def _held(column: NDArray[Any]) -> int:
    return len(column if column.base is None else column.base)
