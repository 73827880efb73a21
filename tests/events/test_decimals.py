"""Numbers: exact from the text, and the way through doubles is sure only where it is right."""

import math
from decimal import Decimal
from fractions import Fraction

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from segmentation.events import decimals
from tests.events import messages

scales = st.integers(1, 18).flatmap(lambda precision: st.tuples(st.just(precision), st.integers(0, precision)))


def half_away(value: Fraction, scale: int) -> int:
    whole: int = math.floor(abs(value) * 10**scale + Fraction(1, 2))
    return -whole if value < 0 else whole


@hypothesis.given(st.decimals(allow_nan=False, allow_infinity=False), scales)
def test_rounding_is_half_away_from_zero(value: Decimal, kind: tuple[int, int]) -> None:
    precision, scale = kind
    hypothesis.assume(abs(value.adjusted()) < 500)
    expected = half_away(Fraction(value), scale)
    assert decimals.scaled(value, precision, scale) == (expected if abs(expected) < 10**precision else None)


@hypothesis.given(st.lists(messages.number_texts, min_size=1), scales)
def test_where_doubles_are_sure_they_are_right(texts: list[str], kind: tuple[int, int]) -> None:
    precision, scale = kind
    values = np.array([float(text) for text in texts])
    hypothesis.assume(np.isfinite(values).all())
    data, sure = decimals.scaled_floats(values, precision, scale)
    for text, whole, certain in zip(texts, data.tolist(), sure.tolist()):
        if certain:
            number = decimals.decimal_of(text)
            assert number is not None and decimals.scaled(number, precision, scale) == whole


@hypothesis.given(st.integers(0, 2**50), st.integers(-3, 3), st.integers(0, 18))
def test_close_to_a_half(whole: int, ulps: int, scale: int) -> None:
    """The doubles around k + 1/2, where a wrong bound would show."""
    product = whole + 0.5
    value = product / 10**scale
    for _ in range(abs(ulps)):
        value = math.nextafter(value, math.inf if ulps > 0 else 0)
    for text in (repr(value), f"{whole}.5e-{scale}", f"{whole}.4999999999999999999e-{scale}"):
        data, sure = decimals.scaled_floats(np.array([float(text)]), 18, scale)
        number = decimals.decimal_of(text)
        assert number is not None
        if sure[0]:
            assert decimals.scaled(number, 18, scale) == data[0]


def test_usual_amounts_are_sure() -> None:
    amounts = np.arange(0, 100_000_000, 997) / 100
    data, sure = decimals.scaled_floats(amounts, 18, 2)
    assert sure.all() and (data == np.arange(0, 100_000_000, 997)).all()


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("1.005", 101), ("-0.005", -1), ("0.004999999999999999999999", 0), ("2.675", 268), ("1e400", None),
        ("-1e99999999999999999999", None), ("1e-99999999999999999999", 0), ("0e99999999999999999999", 0),
        ("9999999999999999.994", 999999999999999999), ("9999999999999999.995", None), ("+.5", 50), ("5.", 500),
        ("0." + "0" * 5000 + "1", 0), ("1" * 5000, None),
    ],
)  # fmt: skip
def test_numeric_of_18_2(text: str, whole: int | None) -> None:
    number = decimals.decimal_of(text)
    assert number is not None
    assert decimals.scaled(number, 18, 2) == whole


@pytest.mark.parametrize(
    "text", ["", "+", ".", "1e", "e1", "NaN", "Infinity", "1_000", "0x1", " 1", "1 ", "1,5", "٣", "--1"]
)
def test_no_number(text: str) -> None:
    assert decimals.decimal_of(text) is None
    assert decimals.double(text) is None
    assert decimals.json_number(text) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12), ("12.0", 12), ("1.2e1", 12), ("-0", 0), ("0.0", 0), ("1.5", None), ("1e-1", None),
        ("9223372036854775807", 2**63 - 1), ("9223372036854775808", None), ("-9223372036854775808", -(2**63)),
        ("9007199254740993.0", 9007199254740993), ("1.00000000000000000000000000000001", None), ("1e18", 10**18),
        ("1e99999999999999999999", None), ("1e-99999999999999999999", None),
    ],
)  # fmt: skip
def test_bigint(text: str, value: int | None) -> None:
    number = decimals.decimal_of(text)
    assert number is not None
    assert decimals.integer(number) == value


@hypothesis.given(messages.quoted_numbers)
def test_json_spelling_means_the_same(text: str) -> None:
    spelled, number = decimals.json_number(text), decimals.decimal_of(text)
    assert (spelled is None) == (number is None)
    if spelled is not None:
        assert decimals._JSON_NUMBER.fullmatch(spelled)
        assert decimals.decimal_of(spelled) == number
