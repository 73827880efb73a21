"""The table of users' numbers: in C and its slow twin, over random sequences of what a shard does with it."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation import native
from segmentation.state.dump import pack, unpack
from segmentation.state.users import DictUsers, NativeUsers, Users, new_users

needs_c = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")

_FEW = [f"user-{number:08}" for number in range(12)]
#: Of each length at which reading a text changes, and such that differ in one place only.
_NEAR = ["", "\0", "\0\0", "a" * 300, "ä", "user-ü", "\U0001f600", "é" * 9, "a" * 70_000] + [
    "x" * at + mark + "x" * (length - at - 1)
    for length in (1, 3, 4, 7, 8, 9, 16, 17, 24, 25, 36) for at in (0, length // 2, length - 1) for mark in "xy"
]  # fmt: skip
_IDS = st.sampled_from(_FEW) | st.sampled_from(_NEAR) | st.text(max_size=40)
_PLACES = st.lists(st.integers(0, 2**16), max_size=8)
_STEPS = st.one_of(
    st.tuples(st.just("numbers"), st.lists(_IDS, max_size=90)),
    st.tuples(st.just("some"), st.lists(_IDS, min_size=1, max_size=90)),
    st.tuples(st.just("find"), _IDS),
    st.tuples(st.just("forget"), _PLACES),
    st.tuples(st.just("names"), _PLACES),
    st.tuples(st.just("restore"), st.lists(st.none() | _IDS, max_size=90)),
    st.tuples(st.just("saved"), st.none()),
)


def agree(one: Users, other: Users) -> None:
    assert len(one) == len(other) and one.ids() == other.ids()
    assert bytes(one.saved()) == bytes(other.saved()) == msgspec.msgpack.encode(other.ids())
    every = np.arange(len(one))
    assert one.names(every) == other.names(every)
    (first, content), (twin_first, twin_content) = one.packed(every) or ([], b""), other.packed(every) or ([], b"")
    assert list(first) == list(twin_first) and content == twin_content


@needs_c
@given(st.lists(_STEPS, max_size=12), st.sampled_from([0, 1, 3, 32]))
def test_c_and_its_twin_agree(steps: list[tuple[str, object]], bits: int) -> None:
    """bits: with few of them all ids are to be in a few places, as if somebody had chosen them so."""
    table, twin = NativeUsers(bits), DictUsers()
    for step, given_ in steps:
        if step == "numbers":
            assert isinstance(given_, list)
            found = table.numbers(list(given_))
            assert found.dtype == np.int64 and found.tolist() == twin.numbers(given_).tolist()
        elif step == "some":
            assert isinstance(given_, list)
            places = np.arange(0, 3 * len(given_), 2) % len(given_)
            assert table.numbers(given_, places).tolist() == twin.numbers(given_, places).tolist()
        elif step == "find":
            assert isinstance(given_, str)
            assert table.find(given_) == twin.find(given_)
        elif step == "restore":
            assert isinstance(given_, list)
            ids = [None if text in given_[:place] else text for place, text in enumerate(given_)]
            table.restore(ids)
            twin.restore(ids)
        elif step == "saved":
            table.restore(unpack(pack({"users": table.saved()}))["users"])
        elif len(twin):
            assert isinstance(given_, list)
            numbers = np.array(given_, np.int64) % len(twin)
            if step == "forget":
                table.forget(numbers)
                twin.forget(numbers)
            assert table.names(numbers) == twin.names(numbers)
        agree(table, twin)


@needs_c
def test_many() -> None:
    """So many that the hashes of some meet in all 32 bits, that the table grows often, and that what was forgotten is
    put together."""
    ids = [f"user-{number:08}" for number in range(300_000)]
    table, twin = NativeUsers(), DictUsers()
    for start in range(0, len(ids), 37_111):
        some = ids[max(0, start - 5_000) : start + 37_111]
        assert table.numbers(some).tolist() == twin.numbers(some).tolist()
    gone = np.random.default_rng(1).permutation(len(ids))[: len(ids) * 2 // 3]
    for part in np.split(gone, 4):
        table.forget(part)
        twin.forget(part)
    agree(table, twin)
    again = ids[::5]
    assert table.numbers(again).tolist() == twin.numbers(again).tolist()
    assert [table.find(each) for each in ids[::7]] == [twin.find(each) for each in ids[::7]]
    agree(table, twin)


@needs_c
@pytest.mark.parametrize(
    "text", ["{:08}", "{:08}" + "x" * 16, "x" * 16 + "{:08}", "x" * 8 + "{:08}" + "x" * 8, "{:08}".rjust(300, "y")]
)
def test_ids_that_are_nearly_the_same_lie_apart(text: str) -> None:
    table = native.code.Ids()
    table.numbers([text.format(number) for number in range(50_000)])
    assert table.farthest() < 200


@pytest.mark.parametrize("table", [pytest.param(NativeUsers, marks=needs_c), DictUsers])
def test_what_is_not_there_and_what_is_there_twice(table: type[NativeUsers] | type[DictUsers]) -> None:
    users = table()
    users.numbers(["a", "ü", "", "a"])
    assert users.ids() == ["a", "ü", ""] and users.find("b") == -1
    for wrong in ([3], [-1], [0, 2**40]):
        for use in (users.names, users.packed, users.forget):
            with pytest.raises(IndexError, match="not given"):
                use(np.array(wrong))
    users.forget(np.array([2, 0, 0], np.int32))
    assert users.ids() == [None, "ü", None] and users.names(np.array([1, 0], np.int32)) == ["ü", ""]
    assert users.numbers(["", "a"]).tolist() == [3, 4] and users.names(np.zeros(0, np.int32)) == []
    with pytest.raises(ValueError, match="twice"):
        users.restore(["a", None, "a"])


@needs_c
@pytest.mark.parametrize("wrong", [("a",), ["a", 1], ["a", None], ["a", b"b"], None])
def test_other_things_are_refused(wrong: object) -> None:
    table = native.code.Ids()
    with pytest.raises(TypeError, match="ids: "):
        table.numbers(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        table.find(1)  # type: ignore[arg-type]
    for places in ([0, 2], [-1]):
        with pytest.raises(IndexError, match="a place beyond the list"):
            table.numbers(["a", "b"], np.array(places))
    with pytest.raises(TypeError, match="ids: int"):
        table.numbers([3], np.array([0]))  # type: ignore[list-item]
    with pytest.raises(UnicodeEncodeError):
        table.find("\ud800")
    with pytest.raises(TypeError, match="numbers: not"):
        table.names([0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bits"):
        native.code.Ids(33)


def test_a_new_table_has_those_that_it_is_given() -> None:
    assert new_users(["b", "a"]).ids() == ["b", "a"]
