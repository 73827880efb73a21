"""The names of all segments: for suggestions when somebody asks for one that does not exist."""

from storage.queries import Query, Row


def segment_names(limit: int = 2_000) -> Query[list[str]]:
    """Sorted; those that `queries.segments` would list, at most `limit`."""
    sql = "SELECT name FROM tidegate.definitions WHERE state <> 'removed' ORDER BY name LIMIT %s"

    def build(rows: list[Row]) -> list[str]:
        return [name for (name,) in rows]

    return Query(sql, [limit], build)
