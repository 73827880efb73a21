"""Pieces as one, in C."""

import threading

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation import native

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_pieces_follow_each_other(pieces: list[bytes]) -> None:
    assert native.code.joined_bytes([memoryview(piece) for piece in pieces]) == b"".join(pieces)
    assert native.code.joined_bytes(list(pieces)) == b"".join(pieces)


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, 1 << 22, (1 << 22) + 4_097, 9 << 20])
def test_large_ones(size: int) -> None:
    piece = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    assert native.code.joined_bytes([b"a", piece.data, b"", piece[:5_000].data]) == (
        b"a" + piece.tobytes() + piece[:5_000].tobytes()
    )


@pytest.mark.parametrize("pieces", [(b"a",), ["a"], [b"a", None], [memoryview(b"abc")[::2]], None])
def test_other_things_are_refused(pieces: object) -> None:
    with pytest.raises((TypeError, BufferError)):
        native.code.joined_bytes(pieces)  # type: ignore[arg-type]


def test_an_array_is_let_go_again() -> None:
    piece = bytearray(b"abc")
    assert native.code.joined_bytes([memoryview(piece)]) == b"abc"
    with pytest.raises(TypeError):
        native.code.joined_bytes([piece, 3])  # type: ignore[list-item]
    piece.append(1)  # BufferError where somebody still holds it


def test_several_at_a_time() -> None:
    piece = np.arange(1 << 20)
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(native.code.joined_bytes([piece.data.cast("B")]))) for _ in "123"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [piece.tobytes()] * 3


SIZES = st.sampled_from([0, 1, 31, 32, 255, 256, 65_535, 65_536])


@given(st.lists(st.none() | st.sampled_from(["", "a", "a\0b"]) | SIZES.map(lambda size: "x" * size), max_size=40))
def test_texts_as_msgpack_lists_them(texts: list[str | None]) -> None:
    array = np.array([*texts, None], object)[:-1]
    assert native.code.listed_texts(array) == msgspec.msgpack.encode(texts)


@pytest.mark.parametrize("count", [15, 16, 65_535, 65_536, 100_000])
def test_long_lists_of_texts(count: int) -> None:
    texts = [f"text {number}" for number in range(count)]
    assert native.code.listed_texts(np.array(texts, object)) == msgspec.msgpack.encode(texts)


@pytest.mark.parametrize("other", ["ü", "😀", 3, b"a", np.str_("a"), "\ud800"])
def test_other_texts_are_left_to_msgpack(other: object) -> None:
    assert native.code.listed_texts(np.array(["a", other], object)) is None


@pytest.mark.parametrize(
    "texts", [np.arange(3), np.array([["a"]], object), np.array(["a"] * 3, object)[::2], ["a"], None]
)
def test_other_arrays_are_refused(texts: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        native.code.listed_texts(texts)  # type: ignore[arg-type]
