"""DuckDB, the judge: who is a member at t, by running the definitions' own SQL.

The session is fixed: UTC, x/0 is NULL. `events` is a view of the deduplicated events known at t, `users` one
of all users known by then, each with his latest profile known by then.
What else may differ from a definition's file is in rewrites.py.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence

import duckdb

from segmentation.reference import Known, Version
from segmentation.types import BIGINT, TEXT, TIMESTAMPTZ, Kind, Type
from tests.oracle.distance import GREAT_CIRCLE_DISTANCE
from tests.oracle.rewrites import NOW, for_judge, segment_table, segments_read

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


class Judge:
    """One open DuckDB; `columns` are the declared ones of events, event_type included, `users` those of users."""

    def __init__(self, columns: Mapping[str, Type], users: Mapping[str, Type] = {}) -> None:
        self.columns = {**FIXED, **columns}
        self.connection = connect()
        declared = ", ".join(f"{name} {_duckdb_type(type_)}" for name, type_ in self.columns.items())
        self.connection.execute(f"CREATE TABLE log ({declared}, known_at BIGINT)")
        self.users = dict(users)
        declared = "".join(f", {name} {_duckdb_type(type_)}" for name, type_ in self.users.items())
        self.connection.execute(
            f"CREATE TABLE versions (user_id VARCHAR, time BIGINT, version VARCHAR, known_at BIGINT{declared})"
        )
        self._rewritten: dict[str, str] = {}

    def load(self, known: Iterable[Known]) -> None:
        """Replaces the log."""
        known = list(known)
        events = [k for k in known if not isinstance(k.event, Version)]
        versions = [k for k in known if isinstance(k.event, Version)]
        self._fill(
            "log", [*self.columns.values(), BIGINT],
            [[*(k.event.column(name) for name in self.columns), k.known_at] for k in events],
        )
        self._fill(
            "versions", [TEXT, BIGINT, TEXT, BIGINT, *self.users.values()],
            [[k.event.user_id, k.event.time, k.event.event_id[1:], k.known_at,
              *(k.event.values.get(name) for name in self.users)] for k in versions],
        )

    def _fill(self, table: str, types: Sequence[Type], rows: Sequence[Sequence[object]]) -> None:
        self.connection.execute(f"DELETE FROM {table}")
        if rows:
            row = "(" + ", ".join(map(_placeholder, types)) + ")"
            values = ", ".join([row] * len(rows))
            self.connection.execute(f"INSERT INTO {table} VALUES {values}", [value for row in rows for value in row])

    def members(self, definitions: Mapping[str, str], t: int) -> set[tuple[str, str]]:
        """(user, segment) at t; `definitions` are SQL texts by name, a band's being that of its definition."""
        if not definitions:
            return set()
        each = " UNION ALL ".join(
            f"SELECT user_id, '{name}' FROM ({self._users(name, sql)})" for name, sql in definitions.items()
        )
        tables = {
            "events": f"SELECT * EXCLUDE (known_at) FROM log WHERE known_at <= {t}",
            "users": "SELECT * FROM (SELECT user_id FROM events UNION SELECT user_id FROM versions "
            f"WHERE known_at <= {t}) LEFT JOIN (SELECT * EXCLUDE (time, version, known_at) FROM versions "
            f"WHERE known_at <= {t} QUALIFY row_number() OVER (PARTITION BY user_id ORDER BY time DESC, version DESC) "
            "= 1) USING (user_id)",
        }
        for name in definitions:
            self._add(name, definitions, tables)
        with_ = ", ".join(f'"{name}" AS MATERIALIZED ({text})' for name, text in tables.items())
        text = f"WITH {with_} {each}".replace(NOW, f"({instant(t)})")
        return set(self.connection.execute(text).fetchall())

    def _add(self, name: str, definitions: Mapping[str, str], tables: dict[str, str]) -> None:
        """The tables that a definition reads, each after those that it reads itself."""
        for other in segments_read(definitions[name]):
            if segment_table(other) not in tables:
                self._add(other, definitions, tables)
                users = self._users(other, definitions[other])
                tables[segment_table(other)] = f"SELECT DISTINCT user_id FROM ({users})"

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


def _placeholder(type_: Type) -> str:
    return "make_timestamptz(?::BIGINT)" if type_.kind is Kind.TIMESTAMPTZ else "?"
