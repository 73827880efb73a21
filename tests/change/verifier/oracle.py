"""Members at a place of the log, by the definitions' own SQL in DuckDB.

A place is a step of every shard. Which events are known there, and up to which instant time has been applied to each
user, follows from the recorded steps by the rules of time alone (tests.torture.verifier.arrivals). All users are asked
at once, each at his own instant: `now()` becomes a column beside his events.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tests.torture.verifier.arrivals import Account, Arrival
from tests.torture.verifier.decode import Column
from tests.torture.verifier.judge import connect

Members = set[tuple[str, str]]
_ARROW = {"text": pa.string(), "bigint": pa.int64(), "boolean": pa.bool_()}
_NUMERIC = re.compile(r"numeric\((\d+),\s*(\d+)\)")
_SEGMENT = re.compile(r"\bsegments\.(\w+)")
_BANDS = re.compile(r"\bAS band\b")
_TIE = re.compile(r"\b(arg_min|arg_max)\((\w+), event_time\)")


class Place:
    """The events that have taken effect, and each user's instant."""

    def __init__(self, columns: Sequence[Column], made: Account) -> None:
        self._names = ", ".join(column.name for column in columns)
        self._db = connect()
        arrivals = made.applied()
        now = self._instants(arrivals, made.bounds())
        table: dict[str, Any] = {
            "user_id": [each.event.user_id for each in arrivals],
            "event_id": [each.event.event_id for each in arrivals],
            "time_us": [each.event.time for each in arrivals],
            "now_us": [now[each.event.user_id] for each in arrivals],
        }
        for number, column in enumerate(columns):
            table[column.name] = pa.array([each.event.columns[number] for each in arrivals], _type(column.type))
        self._db.register("loaded", pa.table(table))
        self._db.execute(
            "CREATE TABLE events AS SELECT user_id, event_id, make_timestamptz(time_us) AS event_time, "
            f"make_timestamptz(now_us) AS now_, {self._names} FROM loaded"
        )

    @staticmethod
    def _instants(arrivals: Sequence[Arrival], bounds: Mapping[str, int]) -> dict[str, int]:
        """The last instant that has been applied: that of the user's last event, or the last before the bound."""
        last: dict[str, int] = {}
        for each in arrivals:
            last[each.event.user_id] = max(each.known_at, last.get(each.event.user_id, each.known_at))
        return {user: at if at >= bounds[user] else bounds[user] - 1 for user, at in last.items()}

    def members(self, definitions: Mapping[str, str]) -> Members:
        """(segment, user)"""
        found: Members = set()
        for name, sql in definitions.items():
            text = self._text(name, definitions)
            if _BANDS.search(sql):
                rows = self._db.execute(f"SELECT user_id, band FROM ({text}) WHERE band IS NOT NULL").fetchall()
                found |= {(f"{name}/{band}", user) for user, band in rows}
            else:
                found |= {(name, user) for (user,) in self._db.execute(f"SELECT user_id FROM ({text})").fetchall()}
        return found

    def _text(self, name: str, definitions: Mapping[str, str]) -> str:
        sql = definitions[name].replace("now()", "now_").replace("GROUP BY user_id", "GROUP BY user_id, now_")
        sql = _TIE.sub(r"\1(\2, (event_time, event_id))", sql)
        return _SEGMENT.sub(lambda found: f"({self._text(found[1], definitions)})", sql)


def _type(name: str) -> pa.DataType:
    found = _NUMERIC.fullmatch(name)
    return _ARROW[name] if found is None else pa.decimal128(int(found[1]), int(found[2]))
