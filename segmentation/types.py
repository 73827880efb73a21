"""Column and expression types, and how their values are held.

| type        | as a Python value       | in a numpy column                              |
|-------------|-------------------------|------------------------------------------------|
| text        | str                     | int32 codes into a dictionary, -1 is NULL      |
| bigint      | int                     | int64                                          |
| numeric     | decimal.Decimal         | int64, the value times 10**scale               |
| double      | float                   | float64 (never NaN; -0.0 is stored as 0.0)     |
| boolean     | bool                    | bool_                                          |
| timestamptz | int, µs since 1970 UTC  | int64                                          |
| timestamp   | int, µs since 1970 on a local clock | (expressions only)                 |
| interval    | int, µs                 | (expressions only)                             |
| ratio       | fractions.Fraction      | (expressions only: an exact quotient)          |
"""

from dataclasses import dataclass
from enum import StrEnum

MICROSECOND = 1
SECOND = 1_000_000
DAY = 86_400 * SECOND

#: Before every event: the time of what has not been seen.
NEVER = -(2**62)
#: After every event.
FOREVER = 2**62


class Kind(StrEnum):
    TEXT = "text"
    BIGINT = "bigint"
    NUMERIC = "numeric"
    DOUBLE = "double"
    BOOLEAN = "boolean"
    TIMESTAMPTZ = "timestamptz"
    TIMESTAMP = "timestamp"
    INTERVAL = "interval"
    RATIO = "ratio"
    NULL = "null"


@dataclass(frozen=True, slots=True)
class Type:
    """A type; precision and scale only for numeric."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    @property
    def exact(self) -> bool:
        """True for numbers that are computed without rounding."""
        return self.kind in (Kind.BIGINT, Kind.NUMERIC, Kind.RATIO)

    def __str__(self) -> str:
        return f"numeric({self.precision},{self.scale})" if self.kind is Kind.NUMERIC else str(self.kind)


TEXT = Type(Kind.TEXT)
BIGINT = Type(Kind.BIGINT)
DOUBLE = Type(Kind.DOUBLE)
BOOLEAN = Type(Kind.BOOLEAN)
TIMESTAMPTZ = Type(Kind.TIMESTAMPTZ)
TIMESTAMP = Type(Kind.TIMESTAMP)
INTERVAL = Type(Kind.INTERVAL)
RATIO = Type(Kind.RATIO)
NULL = Type(Kind.NULL)


def numeric(precision: int, scale: int) -> Type:
    return Type(Kind.NUMERIC, precision, scale)
