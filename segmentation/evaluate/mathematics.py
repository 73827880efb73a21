"""Functions of numbers over many rows: the fast twin of `segmentation.mathematics`.

What the C library works out is asked of it value by value, only for rows where there is something to ask:
numpy's own sines differ from DuckDB's in the last bit. What IEEE 754 defines to the last bit is numpy's.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from segmentation.evaluate.vectors import SAFE, Array, Vector, aligned, both, bound, to_double
from segmentation.mathematics import EARTH_DIAMETER, LATITUDE_MAX, LONGITUDE_MAX
from segmentation.mathematics import calculated as one_value
from segmentation.types import Kind

Bool = NDArray[np.bool_]


def calculated(name: str, args: list[Vector]) -> Vector:
    """The function's values; `args` are numbers, or NULL where all rows are."""
    match name:
        case "abs":
            return _absolute(args[0])
        case "floor" | "ceil" | "round":
            return _whole(name, args[0])
        case "least" | "greatest":
            return _extreme(name, args)
        case "great_circle_distance":
            return _distance(*map(to_double, args))
        case "sin" | "cos" | "tan" | "atan":
            return _unary(to_double(args[0]), getattr(math, name), math.inf)
        case "asin" | "acos":
            return _unary(to_double(args[0]), getattr(math, name), 1.0)
        case "sqrt":
            x = to_double(args[0])
            return _double(np.sqrt(np.where(x.data >= 0, x.data, np.nan)), x.valid)
        case "radians" | "degrees":
            x = to_double(args[0])
            with np.errstate(over="ignore"):
                return _double(x.data * (math.pi / 180 if name == "radians" else 180 / math.pi), x.valid)
    return _each(name, [to_double(arg) for arg in args])


def _double(data: Array, valid: Bool | None) -> Vector:
    """NULL where there is no finite number; zero without a sign."""
    finite = np.isfinite(data)
    return Vector(Kind.DOUBLE, np.where(finite, data, 0.0) + 0.0, valid if finite.all() else both(valid, finite))


def _unary(x: Vector, function: Callable[[float], float], most: float) -> Vector:
    """A function that is defined for all finite numbers from -most to most."""
    usable = np.isfinite(x.data) & (np.abs(x.data) <= most)
    return _double(np.where(usable, _asked(function, np.where(usable, x.data, 0.0)), np.nan), x.valid)


def _each(name: str, args: list[Vector]) -> Vector:
    """Value by value, with all that may go wrong."""
    n = max(len(arg.data) for arg in args)
    columns = [np.broadcast_to(arg.data, n).tolist() for arg in args]
    data = np.array([one_value(name, list(row)) for row in zip(*columns)], np.float64)  # None becomes NaN
    valid: Bool | None = None
    for arg in args:
        valid = both(valid, arg.valid)
    return _double(data, valid)


def _distance(lat1: Vector, lon1: Vector, lat2: Vector, lon2: Vector) -> Vector:
    """`great_circle_distance`, with the same operations in the same order; what is constant is worked out once."""
    valid: Bool | None = None
    for arg in (lat1, lon1, lat2, lon2):
        valid = both(valid, arg.valid)
    inside: Bool = np.ones(1, np.bool_)
    angles = []
    for arg, most in ((lat1, LATITUDE_MAX), (lat2, LATITUDE_MAX), (lon1, LONGITUDE_MAX), (lon2, LONGITUDE_MAX)):
        fits = np.abs(arg.data) <= most
        inside = inside & fits
        angles.append(np.where(fits, arg.data, 0.0) * (math.pi / 180))
    a, b, west, east = angles
    north, across = _asked(math.sin, (b - a) / 2), _asked(math.sin, (east - west) / 2)
    square = north * north + _asked(math.cos, a) * _asked(math.cos, b) * (across * across)
    distance = EARTH_DIAMETER * _asked(math.asin, np.minimum(1.0, np.sqrt(square)))
    return _double(np.where(inside, distance, np.nan), valid)


def _asked(function: Callable[[float], float], data: Array) -> Array:
    return np.array(list(map(function, data.tolist())), np.float64)


# -- functions that are exact on exact numbers -------------------------------------------------------


def _absolute(v: Vector) -> Vector:
    if v.kind is Kind.DOUBLE:
        return Vector(Kind.DOUBLE, np.abs(v.data), v.valid)
    return Vector(v.kind, np.abs(_roomy(v.data)), v.valid, v.scale)


def _whole(name: str, v: Vector) -> Vector:
    """floor and ceil; round of exact numbers, halves away from zero."""
    if v.kind is Kind.NULL:
        return v
    if v.kind is Kind.DOUBLE:
        return Vector(Kind.DOUBLE, (np.floor(v.data) if name == "floor" else np.ceil(v.data)) + 0.0, v.valid)
    data, unit = _roomy(v.data), 10**v.scale
    if unit > SAFE:
        data = data.astype(object)
    if name == "floor":
        whole = data // unit
    elif name == "ceil":
        whole = -(-data // unit)
    else:
        size = (np.abs(data) + unit // 2) // unit
        whole = np.where(data < 0, -size, size)
    return Vector(Kind.NUMERIC, whole, v.valid)


def _extreme(name: str, args: list[Vector]) -> Vector:
    """The least or greatest of those that are not NULL, at the scale of the finest."""
    if any(arg.kind is Kind.DOUBLE for arg in args):
        args = [to_double(arg) for arg in args]
    out = args[0]
    for arg in args[1:]:
        out = _of_two(name, out, arg)
    return out


def _of_two(name: str, a: Vector, b: Vector) -> Vector:
    left, right, scale = (a.data, b.data, 0) if a.kind is Kind.DOUBLE else aligned(a, b)
    chosen: Array = np.minimum(left, right) if name == "least" else np.maximum(left, right)
    if a.valid is not None:
        chosen = np.where(a.valid, chosen, right)
    if b.valid is not None:  # where neither is valid it does not matter which
        chosen = np.where(b.valid, chosen, left)
    valid = None if a.valid is None or b.valid is None else a.valid | b.valid
    kind = b.kind if a.kind is Kind.NULL else a.kind if a.kind is b.kind or b.kind is Kind.NULL else Kind.NUMERIC
    return Vector(kind, chosen, valid, scale)


def _roomy(data: Array) -> Array:
    """Integers whose absolute values and sums of two fit."""
    return data if data.dtype == object or bound(data) < SAFE else data.astype(object)
