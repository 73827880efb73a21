"""Counts of values as a dictionary has them, through rebuilding, saving, and users who go to another table."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.state.table import Table

#: Some need more than 64 bits; all fit into few, so that they meet.
VALUES = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**63, 2**80, -(2**80)])

entries = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 40), VALUES), st.integers(1, 5), max_size=60
)  # fmt: skip


def filled(model: dict[tuple[int, int, int], int]) -> Table:
    table = Table()
    for some in (list(model.items())[::2], list(model.items())[1::2]):
        put(table, some)
    return table


def put(table: Table, some: list[tuple[tuple[int, int, int], int]]) -> None:
    cells, users, values = ([key[place] for key, _ in some] for place in range(3))
    wide = any(not -(2**63) <= value < 2**63 for value in values)
    table.put(
        np.array(cells, np.int64), np.array(users, np.int64), np.array(values, object if wide else np.int64),
        np.array([count for _, count in some], np.int64),
    )  # fmt: skip


def content(table: Table) -> dict[tuple[int, int, int], int]:
    found = table.of_users(np.arange(100))
    return {(cell, user, value): count for cell, user, value, count in zip(*(column.tolist() for column in found))}


@given(entries, st.sets(st.integers(0, 40)))
def test_users_go_to_another_table(model: dict[tuple[int, int, int], int], users: set[int]) -> None:
    table = filled(model)
    assert content(table) == model
    again = Table()
    again.load(table.dump())
    assert content(again) == model
    cell, user, value, count = again.of_users(np.array(sorted(users), np.int64))
    other = Table()
    other.put(np.array([2]), np.array([50]), np.array([2**80], object), np.array([7]))
    other.put(cell, user + 51, value, count)
    moved = {(cell, user + 51, value): count for (cell, user, value), count in model.items() if user in users}
    assert content(other) == moved | {(2, 50, 2**80): 7}
    assert content(table) == model, "what was there stays as it is"


@given(entries, st.sets(st.integers(0, 40)), entries)
def test_erased_users_are_not_in_it(
    model: dict[tuple[int, int, int], int], users: set[int], later: dict[tuple[int, int, int], int]
) -> None:
    table = filled(model)
    table.erase(np.array(sorted(users), np.int64))
    kept = {key: count for key, count in model.items() if key[1] not in users}
    assert content(table) == kept
    assert {int(value) for value, _ in table.dump()["wide"]} <= {key[2] for key in kept}
    again = Table()
    again.load(table.dump())
    for one in (table, again):
        put(one, list(later.items()))
        assert content(one) == kept | later
