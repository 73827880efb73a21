"""The table of records in C against a dict."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation import native

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
KEYS = st.binary(max_size=3) | st.binary(min_size=8, max_size=40)


def same(table: Any, model: dict[bytes, bytes]) -> None:
    assert len(table) == len(model) and bool(table) == bool(model)
    assert sorted(table) == sorted(model) == sorted(table.keys())
    assert all(table[key] == table.get(key) == record and key in table for key, record in model.items())


@given(st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=30))))
def test_as_a_dict(steps: list[tuple[bytes, bytes | None]]) -> None:
    table, model = native.code.Records(), dict[bytes, bytes]()
    for key, record in steps:
        if record is not None:
            table[key] = model[key] = record
        elif key in model:
            del table[key], model[key]
        else:
            with pytest.raises(KeyError):
                del table[key]
    same(table, model)
    missing = b"nobody" * 8
    assert table.get(missing) is None and missing not in table
    with pytest.raises(KeyError):
        table[missing]


@pytest.mark.parametrize("many", [500, 120_000])
def test_it_grows_and_forgets(many: int) -> None:
    """Through several sizes, and many times over through slots that had an entry."""
    chance = random.Random(many)
    table, model = native.code.Records(), dict[bytes, bytes]()
    for n in range(many):
        table[b"u%d" % n] = model[b"u%d" % n] = b"%d" % (n % 1_000)
    same(table, model)
    for n in chance.sample(range(many), many - many // 10):
        del table[b"u%d" % n], model[b"u%d" % n]
    for n in range(2 * many):
        key = b"v%d" % n
        table[key] = b"x" * (n % 50)
        if n % 7:
            del table[key]
        else:
            model[key] = b"x" * (n % 50)
    same(table, model)


@pytest.mark.parametrize("wrong", ["text", None, 1, bytearray(b"a")])
def test_other_keys_and_records_are_refused(wrong: Any) -> None:
    table = native.code.Records()
    table[b"a"] = b"1"
    for use in (table.get, table.__getitem__, table.__contains__, table.__delitem__):
        with pytest.raises(TypeError):
            use(wrong)
    with pytest.raises(TypeError):
        table[b"a"] = wrong
    with pytest.raises(TypeError):
        table[wrong] = b"1"
    with pytest.raises(TypeError):
        native.code.Records(wrong)  # type: ignore[call-arg]
    assert table[b"a"] == b"1" and len(table) == 1


def test_it_can_be_changed_while_somebody_goes_over_it() -> None:
    table = native.code.Records()
    for n in range(100):
        table[b"%d" % n] = b""
    for key in table:
        del table[key]
    assert not len(table) and list(table) == []
