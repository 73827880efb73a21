"""Columns of values inside an expression, and what is done with all kinds of numbers.

Exact numbers are integers with a power of ten (and, after a division, a positive denominator); where
an intermediate result could leave int64 the vector turns into Python integers, so nothing ever wraps around.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.state.dictionary import Dictionary
from segmentation.types import Kind

Array = NDArray[Any]
SAFE = 2**62


@dataclass(slots=True)
class Vector:
    """n values (or 1, which stands for all): data, and where they are not NULL (None: everywhere).

    kind tells how data is read: integers (int64, or Python ints in object arrays) times
    10**-scale over `over`; float64; bool; text as codes into `texts`.
    """

    kind: Kind
    data: Array
    valid: NDArray[np.bool_] | None = None
    scale: int = 0
    over: Array | None = None
    texts: Dictionary | None = None

    def truth(self, n: int) -> NDArray[np.bool_]:
        """Where a boolean vector IS TRUE, as bool[n]."""
        held = self.data if self.valid is None else self.data & self.valid
        return np.broadcast_to(held, n).astype(np.bool_, copy=False)


def both(a: NDArray[np.bool_] | None, b: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    if a is None:
        return b
    return a if b is None else a & b


def integers(values: list[int]) -> Array:
    """int64 where all fit with room to spare, Python integers otherwise."""
    return np.array(values, np.int64 if all(-SAFE < v < SAFE for v in values) else object)


def bound(data: Array) -> int:
    """The largest absolute value."""
    return max(abs(int(data.max())), abs(int(data.min()))) if data.size else 0


def times(a: Array, b: Array | int) -> Array:
    limit = bound(a) * (abs(b) if isinstance(b, int) else bound(b))
    if limit < SAFE:
        return np.multiply(a, b)
    product: Array = np.multiply(a.astype(object), b if isinstance(b, int) else b.astype(object))
    return product


def plus(a: Array, b: Array, sign: int = 1) -> Array:
    if bound(a) + bound(b) < SAFE:
        return a + b if sign > 0 else a - b
    a, b = a.astype(object), b.astype(object)
    return a + b if sign > 0 else a - b


def to_double(v: Vector) -> Vector:
    """Exact numbers as the nearest double."""
    if v.kind is Kind.DOUBLE or v.kind is Kind.NULL:
        return Vector(Kind.DOUBLE, v.data.astype(np.float64), v.valid)
    if v.over is None and v.data.dtype != object and v.scale <= 22 and bound(v.data) < 2**53:
        return Vector(Kind.DOUBLE, v.data / 10.0**v.scale, v.valid)
    over = np.broadcast_to(v.over if v.over is not None else np.ones(1, np.int64), v.data.shape)
    exact = [int(n) / (int(d) * 10**v.scale) for n, d in zip(v.data.tolist(), over.tolist())]
    return Vector(Kind.DOUBLE, np.array(exact), v.valid)


def aligned(a: Vector, b: Vector) -> tuple[Array, Array, int]:
    """Both numerators at one scale."""
    scale = max(a.scale, b.scale)
    left = times(a.data, 10 ** (scale - a.scale)) if a.scale < scale else a.data
    right = times(b.data, 10 ** (scale - b.scale)) if b.scale < scale else b.data
    return left, right, scale
