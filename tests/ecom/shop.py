"""A real shop's clickstream as a file of events, definitions on it, and DuckDB's answers.

The clickstream is not part of the project: set TIDEGATE_ECOM to the file, or keep it where FOUND
says; tests that use it skip elsewhere. It has neither amounts nor regions. They are made from it
by a formula: region = REGIONS[crc32(user_id) % 5], and for purchases and carts
amount = (crc32(user_id timestamp event) % 20000) / 100.
"""

import csv
import datetime
import gzip
import os
from pathlib import Path
from zlib import crc32

from segmentation.types import TEXT, Type, numeric
from storage.audit.rewrites import NOW, for_judge
from tests.oracle.judge import EPOCH, connect

_NEAR = Path(__file__).resolve().parents[3] / "shared" / "data" / "ecom" / "ecom.csv.gz"
FOUND = Path(os.environ.get("TIDEGATE_ECOM", _NEAR))
REGIONS = ("California", "Texas", "Bavaria", "Bihar", "Kerala")
MAPPING = "user_id=user_id,event_type=event,event_time=timestamp"
SCHEMA = """\
events:
  platform: {type: text}
  region: {type: text}
  amount: {type: "numeric(18,2)"}
  session_id: {type: text}
  acquisition_channel: {type: text}
"""
COLUMNS: dict[str, Type] = {
    "event_type": TEXT, "platform": TEXT, "region": TEXT, "amount": numeric(18, 2), "session_id": TEXT,
    "acquisition_channel": TEXT,
}

DEFINITIONS = {
    "californians_without_purchase": """
        HAVING arg_max(region, event_time) = 'California'
           AND count(*) FILTER (WHERE event_type = 'purchase' AND event_time > now() - INTERVAL '30 days') = 0""",
    "mobile_visitors_gone": """
        WHERE platform = 'mobile' GROUP BY user_id
        HAVING count(*) FILTER (WHERE event_type = 'product_view') >= 10
           AND max(event_time) < now() - INTERVAL '7 days'""",
    "spenders": """
        HAVING sum(amount) FILTER (WHERE event_type = 'purchase' AND event_time >= now() - INTERVAL '60 days') > 150""",
    "average_basket": """
        HAVING sum(amount) FILTER (WHERE event_type = 'purchase')
             / count(*) FILTER (WHERE event_type = 'purchase') > 100""",
    "cart_without_purchase": """
        HAVING count(*) FILTER (WHERE event_type = 'add_to_cart'
                                  AND event_time BETWEEN now() - INTERVAL '14 days' AND now() - INTERVAL '1 day') > 0
           AND NOT count(*) FILTER (WHERE event_type = 'purchase' AND event_time > now() - INTERVAL '14 days') > 0""",
    "hot": """
        WHERE event_time > now() - INTERVAL '36 hours'""",
    "came_by_email_or_search": """
        HAVING (arg_min(acquisition_channel, event_time) IN ('email', 'organic')
                OR arg_min(acquisition_channel, event_time) LIKE 'paid%')
           AND count(*) FILTER (WHERE lower(platform) <> 'desktop') > 5""",
    "biggest_cart_twice_the_smallest": """
        HAVING max(amount) FILTER (WHERE event_type = 'add_to_cart')
             > 2 * min(amount) FILTER (WHERE event_type = 'add_to_cart')""",
    "carts_outweigh_purchases": """
        HAVING coalesce(sum(amount) FILTER (WHERE event_type = 'add_to_cart'
                                              AND event_time > now() - INTERVAL '30 days'), 0)
             > 2 * coalesce(sum(amount) FILTER (WHERE event_type = 'purchase'
                                                  AND event_time > now() - INTERVAL '30 days'), 0)""",
    "moved_platform": """
        HAVING arg_max(platform, event_time) <> arg_min(platform, event_time)""",
}


def sql(tail: str) -> str:
    group = "" if "GROUP BY" in tail else " GROUP BY user_id"
    where, having = (tail, "") if "HAVING" not in tail else tail.split("HAVING", 1)
    return f"SELECT user_id FROM events {where.strip()}{group}" + (f" HAVING {having.strip()}" if having else "")


def write_definitions(folder: Path) -> Path:
    folder.mkdir()
    (folder / "schema.yml").write_text(SCHEMA)
    for name, tail in DEFINITIONS.items():
        (folder / f"{name}.sql").write_text(sql(tail) + "\n")
    return folder


def write_events(path: Path) -> Path:
    """The clickstream with regions and amounts, in its own order: by user, not by time."""
    with gzip.open(FOUND, "rt", newline="") as source, gzip.open(path, "wt", newline="") as target:
        rows = csv.DictReader(source)
        names = [*(rows.fieldnames or ()), "region", "amount"]
        writer = csv.DictWriter(target, names)
        writer.writeheader()
        for row in rows:
            row["region"] = REGIONS[crc32(row["user_id"].encode()) % 5]
            cents = crc32(f"{row['user_id']} {row['timestamp']} {row['event']}".encode()) % 20_000
            paid = row["event"] in ("purchase", "add_to_cart")
            row["amount"] = f"{cents // 100}.{cents % 100:02}" if paid else ""
            writer.writerow(row)
    return path


class Answers:
    """DuckDB over the same file. An event without an id is named by the file's digest and its row;
    the digest being the same for all, ties of arg_min and arg_max go by the row's number as text."""

    def __init__(self, events: Path) -> None:
        self._connection = connect()
        self._connection.execute(
            "CREATE TABLE events AS SELECT n::VARCHAR AS event_id, user_id, event AS event_type,"
            " timestamp::TIMESTAMPTZ AS event_time, platform, region, amount::DECIMAL(18,2) AS amount, session_id,"
            " acquisition_channel FROM (SELECT *, row_number() OVER () AS n FROM read_csv(?, all_varchar=true))",
            [str(events)],
        )

    def ends(self) -> tuple[datetime.datetime, datetime.datetime]:
        ends = "SELECT epoch_us(min(event_time)), epoch_us(max(event_time)) FROM events"
        row = self._connection.execute(ends).fetchone()
        assert row is not None
        first, last = (EPOCH + datetime.timedelta(microseconds=micros) for micros in row)
        return first, last

    def members(self, at: datetime.datetime) -> set[tuple[str, str]]:
        types = {"user_id": TEXT, "event_id": TEXT, **COLUMNS}
        found: set[tuple[str, str]] = set()
        for name, tail in DEFINITIONS.items():
            text = for_judge(sql(tail), types).replace(NOW, f"(TIMESTAMPTZ '{at.isoformat(' ')}')")
            known = f"WITH events AS (SELECT * FROM main.events WHERE event_time <= TIMESTAMPTZ '{at.isoformat(' ')}') "
            found |= {(user, name) for (user,) in self._connection.execute(known + text).fetchall()}
        return found
