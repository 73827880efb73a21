"""Numbers in JSON text, exactly: text to `numeric(p,s)`, bigint and double, and the fast way for columns.

`numeric(p,s)` is held as an integer, the value times 10**s. Its input is rounded to s digits, half away from
zero, as PostgreSQL does it, from the digits as they were written: 1.005 is 1.01 at scale 2, though the nearest
double lies below 1.005. More than p digits after rounding is no value.

`scaled_floats` does it through doubles, and says for which it is sure: a text's nearest double is off by less
than 2**-53 of it, and the product with 10**s (exact up to s = 22) by as much again. So if the product is further
from a half than 2**-51 of itself, text and product lie on the same side of it and round alike.
"""

import re
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int64

BIGINT_MIN, BIGINT_MAX = -(2**63), 2**63 - 1

_NUMBER = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(?:[eE]([+-]?)(\d+))?", re.ASCII)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_EXPONENT_DIGITS = 10  # more than any message can make up for with zeros
_CONTEXT = Context(prec=60, rounding=ROUND_HALF_UP)


def decimal_of(text: str) -> Decimal | None:
    """The exact value; None if it is not a sign, digits, a point and an exponent in that order.

    An exponent of more than ten digits becomes plus or minus 10**10: as far out of every type's range, and as
    close to zero, but something that `Decimal` can hold.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, digits, exponent_sign, exponent = found.groups()
    exponent = (exponent or "").lstrip("0") or "0"
    if len(exponent) > _EXPONENT_DIGITS:
        exponent = "1" + "0" * _EXPONENT_DIGITS
    return Decimal(f"{sign}{digits}e{exponent_sign or ''}{exponent}")


def scaled(value: Decimal, precision: int, scale: int) -> int | None:
    """The value times 10**scale, rounded half away from zero; None where it needs more than `precision` digits."""
    if value.is_zero() or value.adjusted() < -scale - 1:
        return 0
    if value.adjusted() >= precision - scale:
        return None
    whole = int(value.quantize(Decimal(1).scaleb(-scale), context=_CONTEXT).scaleb(scale, context=_CONTEXT))
    return whole if abs(whole) < 10**precision else None


def integer(value: Decimal) -> int | None:
    """The value where it is a whole number within bigint, however written (12, 12.0, 1.2e1); else None."""
    if value.is_zero():
        return 0
    if not 0 <= value.adjusted() < 19 or value != value.to_integral_value():
        return None
    whole = int(value)
    return whole if BIGINT_MIN <= whole <= BIGINT_MAX else None


def double(text: str) -> float | None:
    """The nearest double, -0 as 0; None if the text is no number or is beyond the largest double."""
    if _NUMBER.fullmatch(text) is None:
        return None
    value = float(text) + 0.0
    return value if abs(value) != float("inf") else None


def json_number(text: str) -> str | None:
    """The same number in JSON's spelling, digit for digit (+5, .5, 007 are none in JSON); None if it is none."""
    if _JSON_NUMBER.fullmatch(text):
        return text
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, digits, exponent_sign, exponent = found.groups()
    whole, _, fraction = digits.partition(".")
    number = ("-" if sign == "-" else "") + (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")
    return number + (f"e{exponent_sign}{exponent}" if exponent else "")


def scaled_floats(values: NDArray[np.float64], precision: int, scale: int) -> tuple[Int64, Bool]:
    """(values times 10**scale rounded, bool[n]: certainly the same as from the text). No NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        product = values * float(10**scale)
        size = np.abs(product)
        sure = size < float(min(2**50, 10**precision - 1))
        product = np.where(sure, product, 0.0)
        size = np.abs(product)
        from_half = np.abs(size - np.floor(size) - 0.5)
    sure &= from_half > size * 2.0**-51
    return np.rint(product).astype(np.int64), sure
