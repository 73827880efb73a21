"""DuckDB with a table of odd little events: which users does a query return at a given now()?"""

import random
import re
from datetime import UTC, datetime, timedelta

import duckdb

from storage.audit.distance import GREAT_CIRCLE_DISTANCE

START = datetime(2026, 1, 1, tzinfo=UTC)
_NOW = re.compile(r"\bnow\s*\(\s*\)|\bcurrent_timestamp\b", re.IGNORECASE)
_TEXTS = (None, "a", "x", "A%", "california", "100%", "a_b")


class Judge:
    def __init__(self, rows: int = 60, users: int = 12, seed: int = 1) -> None:
        self.connection = duckdb.connect()
        for setting in (
            "SET TimeZone = 'UTC'",
            "SET ieee_floating_point_ops = false",
            "SET error_on_division_by_zero = false",
            "SET threads = 1",  # with several, of values that are equally frequent mode takes now one, now another
        ):
            self.connection.execute(setting)
        self.connection.execute(GREAT_CIRCLE_DISTANCE)
        self.connection.execute(
            "CREATE TABLE events (user_id text, event_id text, event_type text, event_time timestamptz, region text, "
            "url text, amount decimal(18,2), quantity bigint, score double, flag boolean, sent_at timestamptz)"
        )
        choose = random.Random(seed)
        for row in range(rows):
            time = START + timedelta(hours=choose.randrange(24 * 40), microseconds=choose.choice((0, 1, 500_000)))
            sent = choose.choice((None, time + timedelta(minutes=choose.randrange(-90, 90))))
            self.connection.execute(
                "INSERT INTO events VALUES (?, ?, ?, ?::timestamptz, ?, ?, ?, ?, ?, ?, ?::timestamptz)",
                [
                    choose.choice(("u", "test")) + str(choose.randrange(users)), f"e{row}",
                    choose.choice(("purchase", "login", "page_viewed")), time.isoformat(),
                    choose.choice(_TEXTS), choose.choice(_TEXTS),
                    choose.choice((None, "0.00", "1.50", "12.50", "99.99", "-3.00")),
                    choose.choice((None, -3, 0, 1, 2, 3, 5, 20)), choose.choice((None, -1.0, 0.0, 0.1, 0.5, 2.5)),
                    choose.choice((None, True, False)), sent and sent.isoformat(),
                ],
            )  # fmt: skip

        self.connection.execute(
            "CREATE TABLE users (user_id text, city_tier bigint, country text, credit decimal(18,2), vip boolean, "
            "joined timestamptz)"
        )
        ids = [user for (user,) in self.connection.execute("SELECT DISTINCT user_id FROM events ORDER BY 1").fetchall()]
        for user in [*ids, "profile1", "profile2"]:
            joined = choose.choice((None, START + timedelta(hours=choose.randrange(24 * 40))))
            self.connection.execute(
                "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?::timestamptz)",
                [
                    user, choose.choice((None, 1, 2, 3)), choose.choice(_TEXTS), choose.choice((None, "0.00", "12.50")),
                    choose.choice((None, True, False)), joined and joined.isoformat(),
                ],
            )  # fmt: skip

    def users(self, sql: str, now: datetime) -> set[str]:
        """Raises duckdb.Error."""
        query = _NOW.sub(f"TIMESTAMPTZ '{now.isoformat(sep=' ')}'", sql)
        return {user for (user,) in self.connection.execute(query).fetchall()}
