"""Steps, and when events become known: in C and by numpy."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmentation import native
from segmentation.evaluate.arrivals import known_by_numpy
from segmentation.evaluate.due import Progress, due_by_numpy, due_rows, move_up, move_up_by_numpy, reach, reach_by_numpy
from segmentation.evaluate.steps import Steps, steps_by_numpy, steps_of
from segmentation.events.rows import Int64
from segmentation.types import NEVER

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
USERS = st.sampled_from([0, 1, 2, 3_000_000_000])
INSTANTS = st.one_of(st.integers(-2, 4), st.sampled_from([NEVER + 1, -(2**62), 2**62, 2**63 - 1]))
ROWS = st.lists(st.tuples(USERS, INSTANTS), max_size=12)


def columns(rows: list[tuple[int, int]]) -> tuple[Int64, Int64]:
    return np.array([user for user, _ in rows], np.int64), np.array([at for _, at in rows], np.int64)


def fields(steps: Steps) -> list[list[int]]:
    return [getattr(steps, name).tolist() for name in Steps.__slots__]


@given(ROWS, ROWS)
def test_steps(changes: list[tuple[int, int]], events: list[tuple[int, int]]) -> None:
    events = sorted(events, key=lambda event: event[1])
    given_rows = (*columns(changes), *columns(events))
    assert fields(steps_of(*given_rows)) == fields(steps_by_numpy(*given_rows))


def test_steps_of_many() -> None:
    rng = np.random.default_rng(5)
    changes, events = rng.integers(0, 200, (2, 5_000)), rng.integers(0, 200, (2, 4_000))
    rows = (changes[0], changes[1], events[0], np.sort(events[1]))
    assert native.code.steps_of(*rows) is not None
    assert fields(steps_of(*rows)) == fields(steps_by_numpy(*rows))


@given(st.lists(st.tuples(st.integers(0, 3), INSTANTS, st.integers(-3, 3)), min_size=1, max_size=20))
def test_known(rows: list[tuple[int, int, int]]) -> None:
    user, time, watermark = (np.array(column, np.int64) for column in zip(*rows))
    watermark = np.maximum.accumulate(watermark)
    fast, slow = np.full(4, NEVER), np.full(4, NEVER)
    found = native.code.known_at(user, time, watermark, fast)
    assert found.tolist() == known_by_numpy(user, time, watermark, slow).tolist()
    assert fast.tolist() == slow.tolist()


def test_a_user_beyond_the_table_is_refused_and_nothing_is_written() -> None:
    newest = np.zeros(2, np.int64)
    one = np.ones(2, np.int64)
    with pytest.raises(ValueError, match="out of range"):
        native.code.known_at(np.array([0, 2]), one, one, newest)
    assert newest.tolist() == [0, 0]


@given(
    st.lists(st.tuples(INSTANTS, st.integers(0, 3), INSTANTS), max_size=20), INSTANTS, INSTANTS,
    st.lists(INSTANTS, min_size=4, max_size=4), st.lists(INSTANTS, min_size=4, max_size=4),
)  # fmt: skip
def test_what_is_due(
    rows: list[tuple[int, int, int]], watermark: int, since: int, applied: list[int], reached: list[int]
) -> None:
    known, user, at = (np.array([row[i] for row in rows], np.int64) for i in range(3))
    progress = Progress(watermark, since, np.array(applied), np.array(reached), False)
    columns: dict[str, NDArray[Any]] = {"known": known, "user": user.astype(np.int32)}
    wanted = [
        place for place, (known_at, who, when) in enumerate(rows)
        if when > known_at and when > applied[who] and when >= since and (when < watermark or when <= reached[who])
    ]  # fmt: skip
    assert due_rows(columns, at, progress, since).tolist() == wanted
    assert due_by_numpy(columns, at, progress, since).tolist() == wanted


def test_nobody_beyond_the_table_is_due() -> None:
    one = np.ones(2, np.int64)
    for user in (2, -1):
        with pytest.raises(ValueError, match="out of range"):
            native.code.due_rows(one, one, np.array([0, user], np.int32), one, one, 5, 0)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([NEVER + 1, 0, 1, 2])), max_size=80),
    st.lists(st.sampled_from([NEVER, 0, 1, 2]), min_size=4, max_size=4),
)
def test_users_are_moved_up(rows: list[tuple[int, int]], applied: list[int]) -> None:
    user, known = columns(rows)
    fast, slow = ([np.array(applied), np.full(4, NEVER)] for _ in range(2))
    assert reach(user, known, *fast).tolist() == reach_by_numpy(user, known, *slow).tolist()
    assert [each.tolist() for each in fast] == [each.tolist() for each in slow]
    assert fast[1].tolist() == [max([NEVER, *(at for who, at in rows if who == each)]) for each in range(4)]
    move_up(user, *fast)
    move_up_by_numpy(user, *slow)
    assert [each.tolist() for each in fast] == [each.tolist() for each in slow]


def test_nobody_beyond_the_table_is_moved() -> None:
    applied, reached, one = np.zeros(2, np.int64), np.zeros(2, np.int64), np.ones(2, np.int64)
    for user in (2, -1):
        with pytest.raises(ValueError, match="out of range"):
            native.code.reach(np.array([0, user]), one, applied, reached)
        with pytest.raises(ValueError, match="out of range"):
            native.code.move_up(np.array([0, user]), applied, reached)
    assert applied.tolist() == reached.tolist() == [0, 0]
    with pytest.raises(ValueError, match="reached: 1 items"):
        native.code.move_up(np.zeros(1, np.int64), applied, reached[:1])
