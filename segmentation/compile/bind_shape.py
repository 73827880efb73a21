"""Names and places of sqlglot's nodes, and where in a query an expression stands."""

from enum import Enum

from sqlglot import exp

from segmentation.compile.problems import Position

USER_ID = "user_id"


class Reported(Exception):
    """This part has no result, and its problem is in the list already."""


class Place(Enum):
    """Where an expression stands: what it may contain depends on it."""

    WHERE = "WHERE"
    FILTER = "FILTER"
    ARGUMENT = "an aggregate"
    SELECT = "SELECT"  # without GROUP BY
    HAVING = "HAVING"  # or SELECT with it
    USERS = "a query of users"  # its tables have one row per user, whose columns are values of the user

    @property
    def rows(self) -> bool:
        """Conditions on events, not on users."""
        return self not in (Place.HAVING, Place.USERS)

    @property
    def in_aggregate(self) -> bool:
        return self in (Place.FILTER, Place.ARGUMENT)


def place_of(node: exp.Expr) -> Position:
    at = node.meta.get("at")
    return at if isinstance(at, Position) else Position()


def folded(identifier: exp.Expr) -> str:
    """A name as PostgreSQL takes it: lower case unless quoted."""
    name = identifier.name
    return name if identifier.args.get("quoted") else name.lower()


def bare(node: exp.Expr) -> exp.Expr:
    """Without the parentheses around it."""
    while isinstance(node, exp.Paren):
        node = node.this
    return node


def conjuncts(node: exp.Expr) -> list[exp.Expr]:
    """The conditions that all must hold, with their parentheses taken away."""
    inner = bare(node)
    if isinstance(inner, exp.And):
        return [part for each in inner.meta["parts"] for part in conjuncts(each)]
    return [node]
