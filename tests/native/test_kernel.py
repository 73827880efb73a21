"""The kernel of cells, in C and by numpy: the same flips, settled values and stored values, batch after batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation import native
from segmentation.evaluate.kernel import Flips, Kernel, Settled
from segmentation.evaluate.rows import LinearRows
from segmentation.evaluate.steps import Steps
from segmentation.events.rows import Int64
from segmentation.state.arena import Arena

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
CELLS = 7
EDGE = 2**62
THRESHOLDS = st.one_of(st.integers(-3, 6), st.sampled_from([1 - EDGE, EDGE - 1, -(2**61), 2**61]))
DELTAS = st.one_of(st.integers(-2, 2), st.sampled_from([1 - EDGE, EDGE - 1, EDGE // 2, -EDGE, 2**63 - 1, -(2**63)]))


def kernel(thresholds: list[list[int]], room: int) -> Kernel:
    """Two families of cells, whose values begin at 0 and at 1; room for few values at first."""
    family = np.arange(CELLS) % 2
    arena = Arena(family, np.arange(CELLS) // 2, [[0] * ((CELLS + 1) // 2), [1] * (CELLS // 2)])
    arena._data = np.zeros(room, np.int64)
    signal = iter(range(1_000))
    return Kernel(arena, [[(bound, next(signal)) for bound in cell] for cell in thresholds])


def steps_of_users(user: Int64) -> Steps:
    n = len(user)
    return Steps(user, np.arange(n), np.ones(n, np.bool_), np.zeros(0, np.int64), np.arange(n))


def told(flips: Flips) -> list[tuple[int, int, bool]]:
    return sorted(zip(flips.step.tolist(), flips.signal.tolist(), flips.holds.tolist()))


def rows_of(settled: Settled) -> list[tuple[int, int, int]]:
    return list(zip(settled.key.tolist(), settled.value.tolist(), settled.before.tolist()))


def values(of: Kernel, users: int) -> list[list[int]]:
    return [of.arena.peek(cell, np.arange(users)).tolist() for cell in range(CELLS)]


def hold(thresholds: list[list[int]], batches: list[tuple[Int64, Int64, Int64, Int64]], room: int = 4) -> None:
    """batches: (cell, step, delta, the steps' users)."""
    fast, slow = kernel(thresholds, room), kernel(thresholds, room)
    for cell, step, delta, user in batches:
        steps = steps_of_users(user)
        flips, settled = fast.apply(LinearRows(cell, step, delta), steps)
        expected, expected_settled = slow.apply_by_numpy(cell, step, delta, steps)
        assert told(flips) == told(expected)
        assert rows_of(settled) == rows_of(expected_settled)
        users = 1 + int(user.max())
        assert values(fast, users) == values(slow, users)
        assert len(fast.arena._big) == len(slow.arena._big)


@st.composite
def batch(draw: st.DrawFn, deltas: st.SearchStrategy[int]) -> tuple[Int64, Int64, Int64, Int64]:
    user = np.sort(np.array(draw(st.lists(st.sampled_from([0, 1, 2, 5_000]), min_size=1, max_size=8)), np.int64))
    rows = draw(
        st.lists(st.tuples(st.integers(0, CELLS - 1), st.integers(0, len(user) - 1), deltas), min_size=1, max_size=25)
    )
    cell, step, delta = (np.array(column, np.int64) for column in zip(*rows))
    return cell, step, delta, user


CELL_THRESHOLDS = st.lists(st.lists(THRESHOLDS, max_size=4), min_size=CELLS, max_size=CELLS)


@given(CELL_THRESHOLDS, st.lists(batch(st.integers(-2, 2)), min_size=1, max_size=4))
def test_small_numbers(thresholds: list[list[int]], batches: list[tuple[Int64, Int64, Int64, Int64]]) -> None:
    hold(thresholds, batches)


@settings(max_examples=200)
@given(CELL_THRESHOLDS, st.lists(batch(DELTAS), min_size=1, max_size=4))
def test_numbers_beyond_62_bits(thresholds: list[list[int]], batches: list[tuple[Int64, Int64, Int64, Int64]]) -> None:
    hold(thresholds, batches)


def test_many_rows() -> None:
    rng = np.random.default_rng(3)
    thresholds = [rng.integers(-20, 40, 30).tolist() for _ in range(CELLS)]
    batches = []
    for _ in range(3):
        user = np.sort(rng.integers(0, 300, 2_000))
        n = 9_000
        batches.append((rng.integers(0, CELLS, n), rng.integers(0, 2_000, n), rng.integers(-3, 4, n), user))
    hold(thresholds, batches)


def test_a_value_that_does_not_fit_is_undone_and_left_to_whoever_can() -> None:
    made = kernel([[] for _ in range(CELLS)], 64)
    user, one = np.zeros(2, np.int64), np.ones(1, np.int64)
    rows = np.zeros(3, np.int64), np.array([0, 1, 1]), np.array([5, EDGE - 1, EDGE - 1])
    block, data, used = made.arena.places(user)
    before = block.copy(), data.copy()
    assert native.code.cells_apply(made._by_c, None, *rows, user, block, data, used, False) is None
    assert (block == before[0]).all() and (data[:used] == before[1][:used]).all()
    _, settled = made.apply(LinearRows(*rows), steps_of_users(user))
    assert settled.value.tolist() == [5, 2 * EDGE + 3] and made.arena.spills
    _, settled = made.apply(LinearRows(0 * one, 0 * one, -one), steps_of_users(user[:1]))
    assert settled.value.tolist() == [2 * EDGE + 2]


@pytest.mark.parametrize(("cell", "step", "user"), [(CELLS, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, -1)])
def test_what_is_out_of_range_is_refused(cell: int, step: int, user: int) -> None:
    made = kernel([[] for _ in range(CELLS)], 64)
    rows = (np.array([cell]), np.array([step]), np.array([1]))
    block, data, used = made.arena.places(np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="out of range"):
        native.code.cells_apply(made._by_c, None, *rows, np.array([user]), block, data, used, False)


def test_a_table_of_other_cells_is_refused() -> None:
    made = kernel([[] for _ in range(CELLS)], 64)
    none = np.zeros(1, np.int64)
    block, data, used = made.arena.places(none)
    block[0] = 1_000
    with pytest.raises(ValueError, match="out of range"):
        native.code.cells_apply(made._by_c, None, none, none, none, none, block, data, used, False)
    with pytest.raises(ValueError, match="not of these cells"):
        native.code.cells_apply(made._by_c, None, none, none, none, none, block, data, len(data) + 1, False)
