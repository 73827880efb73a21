"""Texts as codes, in C."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation import native
from segmentation.distinct import used_codes
from segmentation.types import Kind, Type
from storage.chunk_files import arrow_column, texts_of


@pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
@given(st.lists(st.sampled_from([None, "", "a", "ä", "a\0b", "x" * 50]), max_size=30), st.booleans())
def test_codes(texts: list[str | None], copied: bool) -> None:
    if copied:  # the same texts as objects of their own
        texts = [None if text is None else (text + "!")[:-1] for text in texts]
    codes, values = native.code.codes_of(texts)
    assert values == list(dict.fromkeys(text for text in texts if text is not None))
    assert [None if code < 0 else values[code] for code in codes.tolist()] == texts
    column = np.array([*texts, None], object)[:-1]
    assert arrow_column(column, Type(Kind.TEXT)).to_pylist() == texts


@pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
@pytest.mark.parametrize("texts", [["a", 1], ("a",), [b"a"], None])
def test_other_things_are_refused(texts: object) -> None:
    with pytest.raises(TypeError, match="texts: "):
        native.code.codes_of(texts)  # type: ignore[arg-type]


@pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
@given(st.lists(st.sampled_from(["", "a", "b" * 7, "x" * 5_000]), max_size=40), st.sampled_from(["a", "ä", "😀", None]))
def test_packed(texts: list[str], last: str | None) -> None:
    column = np.array([*texts, last], object)
    packed = native.code.packed_texts(column)
    assert (packed is None) == (last != "a")
    assert texts_of(column).to_pylist() == [*texts, last]
    assert texts_of(column[::2]).to_pylist() == [*texts, last][::2]


@pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
@pytest.mark.parametrize("texts", [["a"], None, np.zeros(2), np.array([["a"]], object)])
def test_packing_other_things_is_refused(texts: object) -> None:
    with pytest.raises(TypeError, match="texts: "):
        native.code.packed_texts(texts)  # type: ignore[arg-type]


@given(st.lists(st.integers(-1, 9), max_size=20), st.sampled_from([10, 10**6]))
def test_used_codes(codes: list[int], size: int) -> None:
    array = np.array(codes, np.int32)
    used, place = used_codes(array, size)
    expected, expected_place = np.unique(array, return_inverse=True)
    assert used.tolist() == expected.tolist() and place.tolist() == expected_place.tolist()
