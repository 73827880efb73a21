"""Mathematical functions of doubles, as the C library works them out, and the distance on the Earth.

DuckDB and Python's `math` call the same C library and agree to the last bit; numpy has functions of
its own that do not. Where an argument is outside a function's domain, or the result is no finite number
(DuckDB and PostgreSQL raise an error for most of that), the value is NULL, here None. A zero has no sign.
"""

import math
from collections.abc import Callable
from typing import Any

#: The mean radius of the Earth in metres (2a + b over 3, of WGS 84), twice.
EARTH_DIAMETER = 2 * 6_371_008.8
LATITUDE_MAX, LONGITUDE_MAX = 90.0, 180.0


def great_circle_distance(lat1: float, lon1: float, lat2: float, lon2: float) -> float | None:
    """Metres between two places in degrees on a sphere, by the haversine formula; None outside +-90, +-180."""
    if not (abs(lat1) <= LATITUDE_MAX and abs(lat2) <= LATITUDE_MAX):
        return None
    if not (abs(lon1) <= LONGITUDE_MAX and abs(lon2) <= LONGITUDE_MAX):
        return None
    a, b = math.radians(lat1), math.radians(lat2)
    north = math.sin((b - a) / 2)
    east = math.sin((math.radians(lon2) - math.radians(lon1)) / 2)
    square = north * north + math.cos(a) * math.cos(b) * (east * east)
    return EARTH_DIAMETER * math.asin(min(1.0, math.sqrt(square)))


def _atan2(y: float, x: float) -> float:
    return math.atan2(y + 0.0, x + 0.0)


#: By name, what is worked out from finite doubles; raises ValueError or OverflowError outside the domain.
_FUNCTIONS: dict[str, Callable[..., float | None]] = {
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin, "acos": math.acos, "atan": math.atan,
    "atan2": _atan2, "sqrt": math.sqrt, "radians": math.radians, "degrees": math.degrees, "power": math.pow,
    "great_circle_distance": great_circle_distance,
}  # fmt: skip


def calculated(name: str, args: list[Any]) -> float | None:
    """The function's value for doubles; None for NULL."""
    if not all(math.isfinite(arg) for arg in args):
        return None
    try:
        value = _FUNCTIONS[name](*args)
    except (ValueError, OverflowError):
        return None
    return value if value is not None and math.isfinite(value) else None
