"""Running values of cells x users: what is saved comes back, and what versions before this one saved."""

import numpy as np
import pytest

from segmentation.errors import TidegateError
from segmentation.state import arena as module
from segmentation.state.arena import Arena

#: Two families: cells 0 and 2 in the first, which begins with 7 and 8, cell 1 in the other.
FAMILY, SLOT, TEMPLATES = np.array([0, 1, 0]), np.array([0, 0, 1]), [[7, 8], [0]]
CELL, USER = np.array([0, 1, 2, 0]), np.array([3, 0, 3, 2_000])


def filled() -> Arena:
    arena = Arena(FAMILY, SLOT, TEMPLATES)
    arena.put(arena.addresses(CELL, USER), np.array([1, -2, 2**70, 4], object))
    return arena


def held(arena: Arena) -> list[list[int]]:
    users = np.array([0, 1, 3, 2_000, 9_999_999])
    return [arena.peek(cell, users).tolist() for cell in range(3)]


HELD = [[7, 7, 1, 4, 7], [-2, 0, 0, 0, 0], [8, 8, 2**70, 8, 8]]


def test_what_was_saved_comes_back() -> None:
    again = Arena(FAMILY, SLOT, TEMPLATES)
    again.load(filled().dump())
    assert held(again) == held(filled()) == HELD
    again.put(again.addresses(np.array([1]), np.array([5_000])), np.array([6]))
    assert held(again) == HELD and again.peek(1, np.array([5_000])).tolist() == [6]


def test_a_table_by_families_is_still_read() -> None:
    state = filled().dump()
    state["block"] = np.ascontiguousarray(state.pop("blocks").T.astype(np.int64))
    again = Arena(FAMILY, SLOT, TEMPLATES)
    again.load(state)
    assert held(again) == HELD and again.places(USER)[0].flags.c_contiguous


@pytest.mark.parametrize("looked_at", [False, True])
def test_growing_keeps_what_is_there_and_what_somebody_looks_at(looked_at: bool) -> None:
    arena = filled()
    seen = arena.places(np.zeros(0, np.int64))[:2] if looked_at else ()
    before = [array.copy() for array in seen]
    users = np.arange(2_001, 60_000)
    arena.put(arena.addresses(np.full(len(users), 2), users), users)
    assert held(arena) == [[7, 7, 1, 4, 7], [-2, 0, 0, 0, 0], [8, 8, 2**70, 8, 8]]
    assert arena.peek(2, users).tolist() == users.tolist() and arena.peek(0, users).tolist() == [7] * len(users)
    assert all((array == copy).all() for array, copy in zip(seen, before))


def test_what_has_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 5)
    arena = Arena(FAMILY, SLOT, TEMPLATES)
    arena.addresses(np.array([0, 0]), np.array([1, 2]))
    with pytest.raises(TidegateError, match="tidegate reshard"):
        arena.addresses(np.array([0]), np.array([3]))
    with pytest.raises(TidegateError, match="tidegate reshard"):
        arena.grow(6)
