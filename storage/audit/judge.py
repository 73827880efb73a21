"""DuckDB, the judge: who is a member at t, by running the definitions' own SQL.

The session is fixed: UTC, x/0 is NULL, one thread. `events` is a view of the deduplicated events known at t, `users`
one of all users known by then, each with his latest profile known by then.
What else may differ from a definition's file is in rewrites.py.
"""

import datetime
from collections.abc import Mapping

import duckdb

from segmentation.types import BIGINT, TEXT, TIMESTAMPTZ, Kind, Type
from storage.audit.columns import KNOWN_AT, TIME, VERSION
from storage.audit.distance import GREAT_CIRCLE_DISTANCE
from storage.audit.rewrites import NOW, for_judge, segment_table, segments_read

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
FIXED: dict[str, Type] = {"user_id": TEXT, "event_id": TEXT, "event_time": TIMESTAMPTZ}


def connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET timezone = 'UTC'")
    connection.execute("SET threads = 1")
    connection.execute("SET ieee_floating_point_ops = false")
    connection.execute("SET error_on_division_by_zero = false")
    connection.execute(GREAT_CIRCLE_DISTANCE)
    return connection


def instant(t: int) -> str:
    """t (µs) as a DuckDB literal."""
    return f"TIMESTAMPTZ '{(EPOCH + datetime.timedelta(microseconds=t)).isoformat(' ')}'"


class Judging:
    """One open DuckDB with two empty tables, which the caller fills: `log`, with `event_columns`, and `versions`, of
    profiles, with `version_columns`.

    columns: the declared ones of events, event_type included; users: those of users."""

    def __init__(self, columns: Mapping[str, Type], users: Mapping[str, Type] = {}) -> None:
        self.columns = {**FIXED, **columns}
        self.users = dict(users)
        self.event_columns = {**self.columns, KNOWN_AT: BIGINT}
        self.version_columns = {"user_id": TEXT, TIME: BIGINT, VERSION: TEXT, KNOWN_AT: BIGINT, **self.users}
        self.connection = connect()
        for table, its in (("log", self.event_columns), ("versions", self.version_columns)):
            declared = ", ".join(f'"{name}" {_duckdb_type(type_)}' for name, type_ in its.items())
            self.connection.execute(f"CREATE TABLE {table} ({declared})")
        self._rewritten: dict[str, str] = {}

    def members(self, definitions: Mapping[str, str], t: int, only: Mapping[str, str] | None = None) -> set[
        tuple[str, str]
    ]:  # fmt: skip
        """(user, segment) at t; `definitions` are SQL texts by name, a band's being that of its definition.

        only: of these, the others being there to be read by them. None: all."""
        asked = definitions if only is None else only
        if not asked:
            return set()
        each = " UNION ALL ".join(
            f"SELECT user_id, '{name}' FROM ({self._users(name, sql)})" for name, sql in asked.items()
        )
        known = f'"{KNOWN_AT}" <= {t}'
        latest = f'row_number() OVER (PARTITION BY user_id ORDER BY "{TIME}" DESC, "{VERSION}" DESC) = 1'
        tables = {
            "events": f'SELECT * EXCLUDE ("{KNOWN_AT}") FROM log WHERE {known}',
            "users": f"SELECT * FROM (SELECT user_id FROM events UNION SELECT user_id FROM versions WHERE {known}) "
            f'LEFT JOIN (SELECT * EXCLUDE ("{TIME}", "{VERSION}", "{KNOWN_AT}") FROM versions WHERE {known} '
            f"QUALIFY {latest}) USING (user_id)",
        }
        for name in asked:
            self._add(name, definitions, tables)
        with_ = ", ".join(f'"{name}" AS MATERIALIZED ({text})' for name, text in tables.items())
        text = f"WITH {with_} {each}".replace(NOW, f"({instant(t)})")
        return set(self.connection.execute(text).fetchall())

    def _add(self, name: str, definitions: Mapping[str, str], tables: dict[str, str]) -> None:
        """The tables that a definition reads, each after those that it reads itself."""
        for other in segments_read(definitions[name]):
            if segment_table(other) not in tables:
                band = next((each for each in definitions if each.startswith(f"{other}/")), None)
                named = other if other in definitions or band is None else band
                self._add(named, definitions, tables)
                if named == other:
                    text = f"SELECT DISTINCT user_id FROM ({self._users(other, definitions[other])})"
                else:  # a definition with bands, by its own name
                    text = f"SELECT user_id, band FROM ({self._text(definitions[named])}) WHERE band IS NOT NULL"
                tables[segment_table(other)] = text

    def _users(self, name: str, sql: str) -> str:
        """Those in the segment; the name says which band, if the query has any."""
        _, _, band = name.partition("/")
        return f"SELECT user_id FROM ({self._text(sql)}) WHERE band = '{band}'" if band else self._text(sql)

    def _text(self, sql: str) -> str:
        if sql not in self._rewritten:
            self._rewritten[sql] = for_judge(sql, self.columns | self.users)
        return self._rewritten[sql]


def _duckdb_type(type_: Type) -> str:
    if type_.kind is Kind.NUMERIC:
        return f"DECIMAL({type_.precision},{type_.scale})"
    return "VARCHAR" if type_.kind is Kind.TEXT else str(type_.kind).upper()
