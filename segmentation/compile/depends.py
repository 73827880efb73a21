"""What a definition reads, derived from its text: nobody writes dependencies down."""

from dataclasses import dataclass

import sqlglot
from sqlglot import exp

from segmentation.compile.bind_shape import folded

_SEGMENTS_SCHEMA = "segments"


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Sorted. columns: of events, user_id included; segments: those read as `segments.NAME`."""

    columns: tuple[str, ...]
    segments: tuple[str, ...]


def dependencies(sql: str) -> Dependencies:
    """Of a query that `bind` has accepted: what is checked there is not checked again."""
    query = sqlglot.parse_one(sql, dialect="postgres")
    # What a query in FROM names is no column of events, unless the name is one of those that it is made of.
    named = {folded(alias.args["alias"]) for alias in query.find_all(exp.Alias)}
    inside = {folded(column.this) for alias in query.find_all(exp.Alias) for column in alias.find_all(exp.Column)}
    names = {folded(column.this) for column in query.find_all(exp.Column) if isinstance(column.this, exp.Identifier)}
    columns = names - (named - inside)
    segments = {folded(table.this) for table in query.find_all(exp.Table) if table.db.lower() == _SEGMENTS_SCHEMA}
    return Dependencies(tuple(sorted(columns)), tuple(sorted(segments)))
