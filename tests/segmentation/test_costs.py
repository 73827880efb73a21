"""What segments cost, on streams whose costs can be counted by hand."""

import numpy as np

from segmentation.compile.bind import bind_all
from segmentation.compile.lower import lower
from segmentation.evaluate.costs import Cost, costs
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Poll, Rows, TextColumn, ValueColumn
from segmentation.events.schema import load_schema
from segmentation.state.dump import unpack

SCHEMA = load_schema("events: {amount: {type: bigint}}")
BUYS, VIEWS, USERS = 30, 10, 5


def cost_of(**definitions: str) -> dict[str, Cost]:
    """30 purchases and 10 views of 5 users."""
    plan = lower(bind_all({f"{name}.sql": sql for name, sql in definitions.items()}, SCHEMA), SCHEMA)
    shard = Shard(plan, 1, 0, None, False)
    n = BUYS + VIEWS
    time = np.arange(n, dtype=np.int64) * 1_000_000
    kind = TextColumn((np.arange(n) >= BUYS).astype(np.int32), ["buy", "view"])
    rows = Rows(
        np.arange(n), (np.arange(n) % USERS).astype(np.int32), [f"u{user}" for user in range(USERS)], time, time,
        np.array([f"e{row}" for row in range(n)], object),
        {"event_type": kind, "amount": ValueColumn(np.arange(n) % 7)},
    )  # fmt: skip
    shard.run([Poll(0, n, 0, int(time[-1]), None, rows)])
    return costs(plan, unpack(shard.dump()))


def test_pairs_are_counted_and_what_has_a_window_twice() -> None:
    found = cost_of(
        bought="SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id",
        seen="SELECT user_id FROM events WHERE event_type = 'view' AND event_time > now() - INTERVAL '1 day' "
             "GROUP BY user_id",
    )  # fmt: skip
    assert (found["bought"].pairs, found["seen"].pairs) == (BUYS, 2 * VIEWS)
    assert (found["bought"].bytes, found["seen"].bytes) == (8 * USERS, 8 * USERS)


def test_what_several_read_is_divided() -> None:
    found = cost_of(
        one="SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id",
        other="SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id HAVING count(*) >= 3",
    )
    assert found["one"] == found["other"] == Cost(BUYS / 2, 8 * USERS / 2)


def test_different_values_and_rows_take_more_room() -> None:
    found = cost_of(
        values="SELECT user_id FROM events GROUP BY user_id HAVING count(DISTINCT amount) >= 3",
        best="SELECT user_id FROM events WHERE event_type = 'view' GROUP BY user_id HAVING max(amount) > min(amount)",
    )
    assert found["values"].bytes >= 72 * 35 and found["best"].bytes >= 2 * 24 * USERS
