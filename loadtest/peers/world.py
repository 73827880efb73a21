"""What all contenders are given: a stream, definitions in two forms, and the members that DuckDB finds.

*lifetime*: aggregates over all events of a user. *over*: the same over the last 30 days. The thresholds are chosen by
loadtest.calibration, so that every definition has members and others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import duckdb

from loadtest import calibration, workload
from loadtest.workload import Condition

Form = Literal["lifetime", "over"]
Members = set[tuple[str, int]]  # (user, number of the definition)
DAYS, OVER_DAYS = 60.0, 30
RATE = 0.3
_FOR_EVER_DAYS = 10_000  # longer than the stream


@dataclass(slots=True)
class World:
    """messages: JSON in order of arrival; definitions: by number, the conditions that must all hold."""

    form: Form
    messages: list[bytes]
    definitions: list[list[Condition]]
    last: int  # newest event, µs
    disorder_us: int  # how much later than its place in the stream an event may come

    def files(self) -> dict[str, str]:
        """Tidegate's definitions folder."""
        texts = {f"s{number:03}.sql": _sql(one, self.form, "now()") for number, one in enumerate(self.definitions)}
        return {"schema.yml": workload.SCHEMA, **texts}


def make(form: Form, events: int, users: int, definitions: int) -> World:
    """`definitions` that flip users RATE times an event between them, after the first third of the events."""
    drawn = workload.draw(events, users, DAYS)
    days = OVER_DAYS if form == "over" else _FOR_EVER_DAYS
    chosen = calibration.calibrated(drawn, definitions, RATE, 90, events // 3, windows=(days,))
    return World(
        form, drawn.messages(), list(chosen.values()), int(drawn.time.max()),
        int(20 * DAYS * workload.DAY_US / events) + 1_000_000,
    )  # fmt: skip


def _sql(conditions: Sequence[Condition], form: Form, now: str) -> str:
    return "SELECT user_id FROM events GROUP BY user_id HAVING " + " AND ".join(
        _condition(one, form, now) for one in conditions
    )


def _condition(one: Condition, form: Form, now: str) -> str:
    rows = " AND ".join(f"{column} = '{wanted}'" for column, wanted in equalities(one))
    if form == "over":
        rows += f" AND event_time > {now} - INTERVAL '{OVER_DAYS} days'"
    value = "count(*)" if one.function == "count" else "sum(amount)"
    value = f"coalesce({value} FILTER (WHERE {rows}), 0)" if one.function == "sum" else f"{value} FILTER (WHERE {rows})"
    return f"{value} {'<' if one.negated else '>='} {one.at_least}"


def equalities(one: Condition) -> list[tuple[str, str]]:
    """Column and value of each; there is at least one."""
    columns = ("event_type", one.event_type), ("region", one.region), ("device_type", one.device)
    return [(column, value) for column, value in columns if value is not None]


class Judge:
    """DuckDB over the same bytes."""

    def __init__(self, world: World, file: Path) -> None:
        """file: the messages, one per line."""
        self._world = world
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(
            "CREATE TABLE events AS SELECT user_id, event_type, CAST(event_time AS TIMESTAMPTZ) AS event_time, region, "
            "CAST(properties.amount AS DECIMAL(18, 2)) AS amount FROM read_json(?, format = 'newline_delimited', "
            "columns = {user_id: 'VARCHAR', event_type: 'VARCHAR', event_time: 'VARCHAR', region: 'VARCHAR', "
            "properties: 'STRUCT(amount VARCHAR)'})",
            [str(file)],
        )

    def members(self, now: int) -> Members:
        """At this instant, µs."""
        instant = f"make_timestamptz({now})"
        return self._all(_sql(one, self._world.form, instant) for one in self._world.definitions)

    def members_at_last_events(self) -> Members:
        """Each user as of the user's last event, in whole milliseconds: what an OVER window of Flink tells."""
        self._connection.execute(
            "CREATE OR REPLACE TABLE within AS SELECT * FROM (SELECT *, date_trunc('milliseconds', event_time) AS ms, "
            "max(date_trunc('milliseconds', event_time)) OVER (PARTITION BY user_id) AS last FROM events) "
            f"WHERE ms >= last - INTERVAL '{OVER_DAYS} days'"
        )
        sqls = (_sql(one, "lifetime", "").replace("FROM events", "FROM within") for one in self._world.definitions)
        return self._all(sqls)

    def _all(self, sqls: Iterable[str]) -> Members:
        return {
            (user, number) for number, sql in enumerate(sqls) for (user,) in self._connection.execute(sql).fetchall()
        }


def users_of(world: World) -> int:
    return len({message[message.index(b'"user_id":"') + 11 :].split(b'"', 1)[0] for message in world.messages})


def split(world: World, members: Members) -> int:
    """How many definitions have members and others."""
    users = users_of(world)
    inside = [0] * len(world.definitions)
    for _, number in members:
        inside[number] += 1
    return sum(0 < count < users for count in inside)
