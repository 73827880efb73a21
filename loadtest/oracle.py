"""Who is a member at the end, by DuckDB: the definitions' own SQL over all events, with `now()` being the end.

Every contender's final members must be these, or its figure is not reported. Thousands of definitions are asked
in two ways: some with their SQL as it stands, and all of them by the value of their aggregates, which DuckDB computes
once for each and then compares. The two ways must agree where both are there.
"""

import random
import re

import duckdb
import pyarrow as pa

from loadtest.workload import DEVICES, REGIONS, TYPES, Condition, Drawn, sql
from storage.audit.judge import connect, instant

#: So many are asked with their SQL as it stands.
VERBATIM = 300
_SHAPE = re.compile(r"(.*) (<|>=) (\d+)")

Members = set[tuple[str, str]]


class Oracle:
    """All events of the stream are known; `at` is their latest time, µs."""

    def __init__(self, drawn: Drawn) -> None:
        self.at = int(drawn.time.max())
        self._connection = connect()
        texts = {
            "event_type": pa.array(TYPES).take(pa.array(drawn.kind)),
            "region": pa.array(REGIONS).take(pa.array(drawn.region)),
            "device_type": pa.array(DEVICES).take(pa.array(drawn.device)),
        }
        columns = {"u": drawn.user, "t": drawn.time, "cents": drawn.cents, **texts}
        self._connection.register("drawn", pa.table(columns))
        self._connection.execute(
            "CREATE TABLE events AS SELECT printf('user-%08d', u) AS user_id, make_timestamptz(t) AS event_time, "
            "event_type, region, device_type, (cents / 100)::decimal(18,2) AS amount FROM drawn"
        )

    def members(self, definitions: dict[str, list[Condition]]) -> tuple[Members, int]:
        """((user, segment) of all definitions, how many of these were asked with their SQL as it stands)."""
        names = sorted(definitions)
        verbatim = names if len(names) <= VERBATIM else random.Random(1).sample(names, VERBATIM)
        as_written = set[tuple[str, str]]()
        for name in verbatim:
            as_written |= self._asked(name, sql(definitions[name]).replace("now()", instant(self.at)))
        if len(verbatim) == len(names):
            return as_written, len(verbatim)
        by_value = self._by_value(definitions)
        chosen = set(verbatim)
        if {member for member in by_value if member[1] in chosen} != as_written:
            raise SystemExit("the oracle contradicts itself; no figure is reported")
        return by_value, len(verbatim)

    def _by_value(self, definitions: dict[str, list[Condition]]) -> Members:
        """The same with each aggregate computed once."""
        column: dict[str, str] = {}
        asked: dict[str, str] = {}
        for name, conditions in definitions.items():
            parts = []
            for condition in conditions:
                found = _SHAPE.fullmatch(condition.sql())
                assert found is not None
                value, compare, bound = found.groups()
                parts.append(f"{column.setdefault(value, f'f{len(column)}')} {compare} {bound}")
            asked[name] = f"SELECT user_id FROM by_user WHERE {' AND '.join(parts)}"
        values = ", ".join(f"{value.replace('now()', instant(self.at))} AS {name}" for value, name in column.items())
        self._connection.execute(f"CREATE OR REPLACE TABLE by_user AS SELECT user_id, {values} FROM events GROUP BY 1")
        members: Members = set()
        for name, query in asked.items():
            members |= self._asked(name, query)
        return members

    def _asked(self, name: str, query: str) -> Members:
        return {(user, name) for (user,) in self._connection.execute(query).fetchall()}

    def close(self) -> None:
        self._connection.close()


def version() -> str:
    return duckdb.__version__
