"""Functions of numbers, which are parsed by their names alone: sqlglot would count their arguments, and badly."""

from typing import Any, ClassVar

from sqlglot.parsers.postgres import PostgresParser

#: The least and the greatest number of arguments (None: any), and how a call is written.
MATHEMATICS: dict[str, tuple[int, int | None, str]] = {
    **{
        name: (1, 1, f"{name}(x)")
        for name in ("sin", "cos", "tan", "asin", "acos", "atan", "sqrt", "radians", "degrees", "abs", "floor", "ceil",
                     "ceiling", "round")
    },
    "atan2": (2, 2, "atan2(y, x)"),
    "pow": (2, 2, "pow(x, y)"),
    "power": (2, 2, "power(x, y)"),
    "pi": (0, 0, "pi()"),
    "least": (2, None, "least(x, y)"),
    "greatest": (2, None, "greatest(x, y)"),
    "great_circle_distance": (4, 4, "great_circle_distance(lat1, lon1, lat2, lon2)"),
}  # fmt: skip


def _without(table: dict[str, Any]) -> dict[str, Any]:
    return {name: parse for name, parse in table.items() if name.lower() not in MATHEMATICS}


class PlainParser(PostgresParser):
    """PostgreSQL's, to which those functions are names like any other."""

    FUNCTIONS: ClassVar = _without(PostgresParser.FUNCTIONS)
    FUNCTION_PARSERS: ClassVar = _without(PostgresParser.FUNCTION_PARSERS)
