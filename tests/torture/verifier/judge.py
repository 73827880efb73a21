"""The whole log by DuckDB: every definition's own SQL, asked at every step of every user.

A step is an instant together with the events that are known in it. One that an event makes has the event's
known_at; the others are the instants at which an event's age reaches an interval that the definition names, and
one microsecond later. An instant at which an event of the same user becomes known too belongs to that event's
step, the first where there are several.

DuckDB is asked about all steps at once by giving each step as a user of its own: `events` then holds, for the
step's number as user_id, the events that are known in it, and beside them the instant as `now_`. So a
definition's text is run as it is in its file, save for three replacements: `now()` becomes `now_`, `now_` joins
the GROUP BY, and arg_min and arg_max break ties by event_id.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from tests.torture.verifier.arrivals import Arrival
from tests.torture.verifier.decode import Column

UNITS = {"second": 1_000_000, "minute": 60_000_000}
_INTERVAL = re.compile(r"INTERVAL\s+'(\d+)\s+(second|minute)s?'")
_NOW = re.compile(r"\bnow\(\)")
_GROUP = re.compile(r"\bGROUP BY user_id\b")
_TIE = re.compile(r"\b(arg_min|arg_max)\((\w+), event_time\)")
#: Events that one query looks at, over all steps: bounds its memory.
PAIRS = 8_000_000

#: (user_id, t, known, by_event, segment, entered): t in µs, known: how many events are known in the step.
Flip = tuple[str, int, int, bool, str, bool]


def connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    for setting in ("timezone = 'UTC'", "ieee_floating_point_ops = false", "error_on_division_by_zero = false"):
        connection.execute(f"SET {setting}")
    return connection


class Judge:
    """definitions: SQL by name."""

    def __init__(self, columns: Sequence[Column], definitions: Mapping[str, str]) -> None:
        self._columns, self._definitions = columns, definitions
        self._db = connect()
        self._names = ", ".join(column.name for column in columns)

    def load(self, arrivals: Iterable[Arrival], bounds: Mapping[str, int]) -> None:
        """bounds: per user, µs: nothing that time does at or after it is applied yet."""
        arrivals = list(arrivals)
        table: dict[str, Any] = {
            "user_id": [a.event.user_id for a in arrivals], "idx": [a.index for a in arrivals],
            "known_at": [a.known_at for a in arrivals], "event_id": [a.event.event_id for a in arrivals],
            "time_us": [a.event.time for a in arrivals], "bound": [bounds[a.event.user_id] for a in arrivals],
        }  # fmt: skip
        for place, column in enumerate(self._columns):
            table[column.name] = pa.array([a.event.columns[place] for a in arrivals], _arrow(column.type))
        loaded = pa.table(table)
        self._db.register("loaded", loaded)
        self._db.execute(
            f"CREATE TABLE log AS SELECT user_id, idx, known_at, bound, event_id, time_us, "
            f"make_timestamptz(time_us) AS event_time, {self._names} FROM loaded ORDER BY user_id, idx"
        )
        self._db.execute("CREATE TABLE known AS SELECT user_id, known_at AS t, max(idx) + 1 AS n FROM log GROUP BY ALL")

    def members(self, at: int) -> set[tuple[str, str]]:
        """(segment, user) at the instant (µs) over the events known by then: the files' SQL, once."""
        found: set[tuple[str, str]] = set()
        for name, sql in self._definitions.items():
            text = _NOW.sub(f"make_timestamptz({at})", _TIE.sub(r"\1(\2, (event_time, event_id))", sql))
            events = f"SELECT user_id, event_id, event_time, {self._names} FROM log WHERE known_at <= {at}"
            rows = self._db.execute(f"WITH events AS ({events}) SELECT user_id FROM ({text})").fetchall()
            found |= {(name, user) for (user,) in rows}
        return found

    def flips(self) -> list[Flip]:
        """In no order."""
        return [
            (user, t, known, by_event, name, entered)
            for name, sql in self._definitions.items()
            for user, t, known, by_event, entered in self._of(sql)
        ]

    def _of(self, sql: str) -> list[tuple[Any, ...]]:
        """(user_id, t, known, by_event, entered)"""
        self._steps(offsets_of(sql))
        text = _GROUP.sub("GROUP BY user_id, now_", _NOW.sub("now_", sql))
        text = _TIE.sub(r"\1(\2, (event_time, event_id))", text)
        self._db.execute("CREATE OR REPLACE TEMP TABLE truths (id BIGINT)")
        for first, last in self._portions():
            events = (
                f"SELECT s.id AS user_id, make_timestamptz(s.t) AS now_, e.event_id, e.event_time, {self._names} "
                f"FROM (SELECT * FROM steps WHERE id BETWEEN {first} AND {last}) s "
                "JOIN log e ON e.user_id = s.user_id AND e.idx < s.n"
            )
            self._db.execute(f"INSERT INTO truths WITH events AS ({events}) SELECT user_id FROM ({text})")
        return self._db.execute(
            """
            SELECT user_id, t, n, by_event, member FROM (
                SELECT s.*, member, lag(member, 1, false) OVER (PARTITION BY s.user_id ORDER BY s.id) AS before
                FROM (SELECT steps.*, truths.id IS NOT NULL AS member FROM steps LEFT JOIN truths USING (id)) s
            ) WHERE member <> before
            """
        ).fetchall()

    def _steps(self, offsets: Iterable[int]) -> None:
        """Table steps (id, user_id, t, n, by_event): ids in order of user and time."""
        ages = ", ".join(f"({offset}::BIGINT)" for offset in sorted(offsets)) or "(NULL::BIGINT)"
        self._db.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE steps AS
            WITH expiries AS (
                SELECT DISTINCT user_id, time_us + age AS t FROM log, (VALUES {ages}) AS ages(age)
                WHERE time_us + age < bound
            ), quiet AS (SELECT * FROM expiries ANTI JOIN known USING (user_id, t)),
            every AS (
                SELECT user_id, known_at AS t, idx + 1 AS n, true AS by_event FROM log
                UNION ALL
                SELECT q.user_id, q.t, k.n, false FROM quiet q ASOF JOIN known k ON q.user_id = k.user_id AND q.t > k.t
            )
            SELECT row_number() OVER (ORDER BY user_id, t, n) AS id, * FROM every ORDER BY id
            """
        )

    def _portions(self) -> list[tuple[int, int]]:
        return self._db.execute(
            f"""
            SELECT min(id), max(id) FROM (SELECT id, sum(n) OVER (ORDER BY id) // {PAIRS} AS portion FROM steps)
            GROUP BY portion ORDER BY portion
            """
        ).fetchall()


def offsets_of(sql: str) -> set[int]:
    """Ages, µs, at which an event may begin or cease to count."""
    ages = {int(number) * UNITS[unit] for number, unit in _INTERVAL.findall(sql)}
    return {age + after for age in ages for after in (0, 1)}


def _arrow(type_: str) -> pa.DataType:
    if type_.startswith("numeric"):
        precision, scale = map(int, re.findall(r"\d+", type_))
        return pa.decimal128(precision, scale)
    return {"text": pa.string(), "bigint": pa.int64(), "boolean": pa.bool_()}[type_]
