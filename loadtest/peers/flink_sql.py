"""The measured definitions as Flink SQL, in two forms; a pure function of the definitions.

*Lifetime*, the form that suits Flink best: one GROUP BY user_id that keeps every distinct aggregate once, however many
definitions use it, and above it one expression per 62 definitions that packs their truth into a BIGINT. So Flink hashes
and shuffles each event once, keeps one row of state a user, and writes one row a user. *Over*: the same with one
30-day `OVER` window, which is how Flink SQL lets events leave after a time.

Neither makes transitions and neither sees time pass without an event; both are spared that work.
"""

from collections.abc import Sequence

from loadtest.peers.world import equalities
from loadtest.workload import Condition

#: Definitions per BIGINT.
BITS = 62
MASKS = "masks"

_EVENTS = """\
CREATE TABLE events (
  event_id STRING, user_id STRING, event_type STRING, event_time TIMESTAMP_LTZ(6), region STRING, device_type STRING,
  url STRING, properties ROW<amount DECIMAL(18, 2)>{time}
) WITH ({options})"""
_TIME = """,
  happened AS CAST(event_time AS TIMESTAMP_LTZ(3)),
  WATERMARK FOR happened AS happened - INTERVAL '{late}' HOUR TO SECOND"""


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def options(values: dict[str, str]) -> str:
    return ", ".join(f"{literal(key)} = {literal(value)}" for key, value in values.items())


def source(values: dict[str, str], disorder_seconds: int | None) -> str:
    """The table `events`. disorder_seconds: how late events may come, where there is a window; None where not."""
    time = ""
    if disorder_seconds is not None:
        minutes, seconds = divmod(disorder_seconds, 60)
        time = _TIME.format(late=f"{minutes // 60}:{minutes % 60:02}:{seconds:02}")
    return _EVENTS.format(time=time, options=options(values))


def sink(values: dict[str, str], masks: int, key: bool) -> str:
    columns = "".join(f", m{number} BIGINT" for number in range(masks))
    primary = ", PRIMARY KEY (user_id) NOT ENFORCED" if key else ""
    return f"CREATE TABLE {MASKS} (user_id STRING{columns}{primary}) WITH ({options(values)})"


def masks_of(count: int) -> int:
    return -(-count // BITS)


def insert(definitions: Sequence[Sequence[Condition]], over_days: int | None) -> str:
    """The statement that fills MASKS. over_days: the window of all aggregates; None for lifetime."""
    features: dict[str, str] = {}
    packed = []
    for first in range(0, len(definitions), BITS):
        bits = [
            f"CASE WHEN {' AND '.join(_condition(each, features, over_days) for each in one)} "
            f"THEN CAST({1 << number} AS BIGINT) ELSE CAST(0 AS BIGINT) END"
            for number, one in enumerate(definitions[first : first + BITS])
        ]
        packed.append(" + ".join(bits))
    inner = ", ".join(f"{sql} AS {name}" for sql, name in features.items())
    if over_days is None:
        rows = f"SELECT user_id, {inner} FROM events GROUP BY user_id"
    else:
        window = (
            f"PARTITION BY user_id ORDER BY happened RANGE BETWEEN INTERVAL '{over_days}' DAY PRECEDING AND CURRENT ROW"
        )
        rows = f"SELECT user_id, {inner} FROM events WINDOW w AS ({window})"
    return f"INSERT INTO {MASKS} SELECT user_id, {', '.join(packed)} FROM ({rows})"


def _condition(one: Condition, features: dict[str, str], over_days: int | None) -> str:
    """A comparison of a feature, which is entered in `features` (SQL: name)."""
    rows = " AND ".join(f"{column} = {literal(value)}" for column, value in equalities(one))
    if over_days is not None:  # an OVER aggregate takes no FILTER
        value = "1" if one.function == "count" else "properties.amount"
        sql = f"SUM(CASE WHEN {rows} THEN {value} ELSE 0 END) OVER w"
    else:
        value = "COUNT(*)" if one.function == "count" else "SUM(properties.amount)"
        sql = f"{value} FILTER (WHERE {rows})"
    name = features.setdefault(sql, f"f{len(features)}")
    return f"COALESCE({name}, 0) {'<' if one.negated else '>='} {one.at_least}"
