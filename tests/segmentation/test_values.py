"""What is kept of values that come and go, against the whole list of them."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.state.picks import Best, Frequent
from segmentation.state.table import Table

KEYS = st.integers(-3, 3) | st.sampled_from([2**62, -(2**62), 2**63 - 1, 2**63, -(2**64), 2**100])
CHANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), KEYS), max_size=12)


@given(st.lists(CHANGES, max_size=8), st.integers(0, 2**8 - 1))
def test_a_table_counts(batches: list[list[tuple[int, int, int]]], saved: int) -> None:
    table, counts = Table(), Counter[tuple[int, int, int]]()
    for number, batch in enumerate(batches):
        counts.update(batch)
        different = sorted(set(batch))
        if saved >> number & 1:
            state, table = table.dump(), Table()
            table.load(state)
        if not different:
            continue
        cell, user = (np.array([one[part] for one in different], np.int64) for part in (0, 1))
        values = [one[2] for one in different]
        narrow = all(-(2**63) <= value < 2**63 for value in values) and number % 2 == 0
        keys = table.keys(cell, user, np.array(values, np.int64 if narrow else object))
        entry = table.entries(*keys)
        assert len(set(entry.tolist())) == len(different)
        before = Counter(batch)
        assert table.counts(entry).tolist() == [counts[one] - before[one] for one in different]
        gone = np.array([one[2] == 3 for one in different])
        table.store(entry, np.where(gone, 0, [counts[one] for one in different]))
        for one in (one for one in different if one[2] == 3):
            counts[one] = 0


def test_a_table_grows_and_forgets_what_is_gone() -> None:
    table, users = Table(), np.arange(1_000, dtype=np.int64)
    for value in range(200):
        keys = table.keys(np.zeros(1_000, np.int64), users, np.full(1_000, value))
        entry = table.entries(*keys)
        assert not table.counts(entry).any()
        table.store(entry, np.where(users == 7, 1, 0))
    assert len(table.dump()["key"]) == 200
    assert len(table._key) < 50_000


ROWS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.sampled_from(["", "a", "b"])), max_size=30)


@given(ROWS, st.booleans(), st.booleans())
def test_the_best_of_rows_that_leave(steps: list[tuple[int, int, str]], largest: bool, text: bool) -> None:
    best, rows = Best(largest), list[tuple[object, int, int]]()
    for now, (stays, number, word) in enumerate(steps):
        best.expire(now)
        rows = [row for row in rows if row[1] > now]
        key = (word if text else number, number)
        best.add(key, now + 1 + stays, number)
        rows.append((key, now + 1 + stays, number))
        expected = (max if largest else min)(rows, key=lambda row: row[0])  # type: ignore[arg-type, return-value]
        assert best.value() == expected[2]
        assert set(best.rows()) <= set(rows)
        kept = Best(largest)
        for row in best.rows():
            kept.add(*row)
        assert kept.rows() == best.rows()
    best.expire(1_000)
    assert best.value() is None and best.rows() == []


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.integers(0, 3)), unique_by=lambda r: r[:2]),
       st.data())  # fmt: skip
def test_the_most_frequent_value(rows: list[tuple[int, str, int]], data: st.DataObject) -> None:
    frequent, lasting = Frequent(False), Frequent(True)
    inside: list[tuple[int, str, int]] = []
    for row in rows:
        frequent.add(row[:2], row[2])
        lasting.add(row[:2], row[2])
        inside.append(row)
        assert lasting.value() == most(rows[: rows.index(row) + 1])
        while inside and bool(data.draw(st.booleans())):
            gone = inside.pop(data.draw(st.integers(0, len(inside) - 1)))
            frequent.remove(gone[:2], gone[2])
        assert frequent.value() == most(inside)
        again, lasting_again = Frequent(False), Frequent(True)
        for key, times, value in frequent.rows():
            again.add(key, value, times)
        for key, times, value in lasting.rows():
            lasting_again.add(key, value, times)
        assert again.value() == frequent.value() and lasting_again.rows() == lasting.rows()


def most(rows: list[tuple[int, str, int]]) -> int | None:
    ordered = [row[2] for row in sorted(rows)]
    return max(ordered, key=lambda value: (ordered.count(value), -ordered.index(value)), default=None)
