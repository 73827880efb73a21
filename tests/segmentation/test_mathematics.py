"""Functions of numbers: DuckDB's to the last bit, NULL outside their domains, exact where numbers are."""

import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmentation.evaluate import mathematics
from segmentation.evaluate.vectors import Array, Vector, integers
from segmentation.mathematics import calculated, great_circle_distance
from segmentation.types import Kind
from storage.audit.distance import GREAT_CIRCLE_DISTANCE
from tests.oracle.judge import connect

N = 50_000
RANDOM = np.random.default_rng(7)
JUDGE = connect()
#: The ranges of the arguments.
WITHIN: dict[str, list[tuple[float, float]]] = {
    "sin": [(-1e3, 1e3)], "cos": [(-1e3, 1e3)], "tan": [(-1e3, 1e3)], "asin": [(-1, 1)], "acos": [(-1, 1)],
    "atan": [(-50, 50)], "atan2": [(-10, 10), (-10, 10)], "sqrt": [(0, 1e6)], "radians": [(-360, 360)],
    "degrees": [(-7, 7)], "power": [(0.1, 10), (-9, 9)],
    "great_circle_distance": [(-90, 90), (-180, 180), (-90, 90), (-180, 180)],
}  # fmt: skip


def doubles(data: Array) -> Vector:
    return Vector(Kind.DOUBLE, data)


def judged(name: str, columns: list[Array]) -> Array:
    table = pa.table({f"c{number}": column for number, column in enumerate(columns)})
    sql = f"SELECT {name}({', '.join(table.column_names)}) AS result FROM given"
    JUDGE.register("given", table)
    result: Array = JUDGE.execute(sql).fetchnumpy()["result"]
    return result


def bits(data: Array) -> Array:
    return (np.asarray(data, np.float64) + 0.0).view(np.int64)


@pytest.mark.parametrize("name", WITHIN)
def test_every_bit_is_duckdbs(name: str) -> None:
    some = [RANDOM.uniform(low, high, N) for low, high in WITHIN[name]]
    small = [column * RANDOM.uniform(0, 1e-6, N) for column in some]
    round_ = [np.round(column, 1) + 0.0 for column in some]
    columns = [np.concatenate(parts) for parts in zip(some, small, round_)]
    expected = judged(name, columns)
    found = mathematics.calculated(name, [doubles(column) for column in columns])
    assert np.array_equal(bits(found.data), bits(expected)) and found.valid is None
    one_by_one = [calculated(name, list(row)) for row in zip(*(column[::10].tolist() for column in columns))]
    assert np.array_equal(bits(np.array(one_by_one)), bits(expected[::10]))


@pytest.mark.parametrize(
    ("name", "args"),
    [("acos", [1.1]), ("asin", [-1.0000001]), ("sqrt", [-1e-300]), ("sin", [math.inf]), ("atan", [-math.inf]),
     ("power", [0.0, -1.0]), ("power", [-8.0, 1 / 3]), ("power", [10.0, 400.0]), ("degrees", [1e308]),
     ("great_circle_distance", [90.1, 0.0, 0.0, 0.0]), ("great_circle_distance", [0.0, 0.0, 0.0, -180.5])],
)  # fmt: skip
def test_outside_its_domain_a_function_is_null(name: str, args: list[float]) -> None:
    assert calculated(name, args) is None
    found = mathematics.calculated(name, [doubles(np.array([arg, 0.5])) for arg in args])
    assert found.valid is not None and found.valid.tolist() == [False, True]
    assert found.data[1] == calculated(name, [0.5] * len(args))


def test_null_makes_null() -> None:
    null = Vector(Kind.NULL, np.zeros(1, np.int64), np.zeros(1, np.bool_))
    there = doubles(np.array([0.1, 0.2]))
    for name, within in WITHIN.items():
        found = mathematics.calculated(name, [null, *[there] * (len(within) - 1)])
        assert found.valid is not None and not found.valid.any()


def test_a_zero_has_no_sign() -> None:
    assert calculated("atan2", [-0.0, -1.0]) == math.pi == calculated("atan2", [0.0, -1.0])
    assert mathematics.calculated("atan2", [doubles(np.array([-0.0])), doubles(np.array([-1.0]))]).data[0] == math.pi


def test_the_docs_show_the_macro() -> None:
    assert GREAT_CIRCLE_DISTANCE.strip() in (Path(__file__).parents[2] / "docs" / "mathematics.md").read_text()


def test_distances() -> None:
    around = 2 * math.pi * 6_371_008.8
    assert great_circle_distance(12.5, 77.5, 12.5, 77.5) == 0
    assert great_circle_distance(0, -90, 0, 90) == pytest.approx(around / 2)
    assert great_circle_distance(90, 10, 0, 123) == pytest.approx(around / 4)
    assert great_circle_distance(0, 179.5, 0, -179.5) == pytest.approx(around / 360)
    london_paris = great_circle_distance(51.5074, -0.1278, 48.8566, 2.3522)
    assert london_paris == pytest.approx(343_556, abs=100)


NUMBERS = st.none() | st.integers(-(10**20), 10**20) | st.integers(-300, 300)
COLUMN = st.lists(NUMBERS, min_size=3, max_size=3)


def vector(values: list[int | None], scale: int) -> Vector:
    valid = np.array([value is not None for value in values])
    return Vector(Kind.NUMERIC, integers([value or 0 for value in values]), None if valid.all() else valid, scale)


def values(v: Vector, n: int) -> list[Fraction | None]:
    valid = np.broadcast_to(np.ones(1, np.bool_) if v.valid is None else v.valid, n)
    data = np.broadcast_to(v.data, n)
    return [Fraction(int(a), 10**v.scale) if held else None for a, held in zip(data.tolist(), valid.tolist())]


def thousandths(value: Fraction) -> Decimal:
    return Decimal(value.numerator * (1000 // value.denominator)).scaleb(-3)


@given(COLUMN, st.integers(0, 3))
def test_whole_numbers_are_exact(column: list[int | None], scale: int) -> None:
    given_ = values(vector(column, scale), 3)
    for name, rounding in (("floor", "ROUND_FLOOR"), ("ceil", "ROUND_CEILING"), ("round", "ROUND_HALF_UP")):
        found = mathematics.calculated(name, [vector(column, scale)])
        exact = [None if v is None else thousandths(v).to_integral_value(rounding) for v in given_]
        assert values(found, 3) == exact and found.scale == 0
    assert values(mathematics.calculated("abs", [vector(column, scale)]), 3) == [v and abs(v) for v in given_]


@given(COLUMN, COLUMN, st.lists(NUMBERS, min_size=1, max_size=1), st.integers(0, 2), st.integers(0, 2))
def test_least_and_greatest_pass_over_nulls(
    a: list[int | None], b: list[int | None], c: list[int | None], first: int, second: int
) -> None:
    args = [vector(a, first), vector(b, second), vector(c, 0)]
    rows = list(zip(*(values(arg, 3) for arg in args)))
    for name, function in (("least", min), ("greatest", max)):
        found = mathematics.calculated(name, args)
        some = [[value for value in row if value is not None] for row in rows]
        assert values(found, 3) == [function(row) if row else None for row in some]
        assert found.scale == max(first, second)
