"""Pieces as one, in C."""

import threading

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
