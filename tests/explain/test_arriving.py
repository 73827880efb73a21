"""Which events could keep a flip from happening, and how that is said."""

import pytest

from segmentation.compile import compile_files
from segmentation.events.schema import load_schema
from segmentation.explain.arriving import event_types, unless

SCHEMA = load_schema("events:\n  amount: {type: bigint}\nusers:\n  tier: {type: bigint}\n")
BUYS = "count(*) FILTER (WHERE event_type = 'purchase' AND event_time > now() - INTERVAL '30 days')"
LAST = "SELECT user_id FROM events WHERE event_type = 'purchase' GROUP BY user_id"
SOMETHING = "unless something arrives before"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (f"SELECT user_id FROM events GROUP BY user_id HAVING {BUYS} >= 1", "unless a purchase arrives before"),
        (f"SELECT user_id FROM events GROUP BY user_id HAVING {BUYS} = 0 AND sum(amount) FILTER "
         "(WHERE event_type = 'order') > 3", "unless an order or a purchase arrives before"),
        (f"{LAST} HAVING max(event_time) <= now() - INTERVAL '3 days'", "unless a purchase arrives before"),
        (f"{LAST} HAVING count(*) FILTER (WHERE event_type = 'refund') = 0", "unless a purchase arrives before"),
        (f"SELECT user_id FROM events GROUP BY user_id HAVING {BUYS} = 0 AND user_id NOT IN ({LAST})",
         "unless a purchase arrives before"),
        (f"{LAST} UNION SELECT user_id FROM segments.carts", "unless a cart_opened or a purchase arrives before"),
        ("SELECT user_id FROM events WHERE event_type IN ('a', 'b', 'c', 'd') GROUP BY user_id", SOMETHING),
        (f"SELECT user_id FROM events GROUP BY user_id HAVING {BUYS} = 0 AND count(*) > 3", SOMETHING),
        (f"SELECT user_id FROM events GROUP BY user_id HAVING {BUYS} = 0 OR max(amount) > 3", SOMETHING),
        ("SELECT user_id FROM events WHERE event_type = 'buy' OR amount > 3 GROUP BY user_id", SOMETHING),
        ("SELECT user_id FROM events WHERE event_type <> 'buy' GROUP BY user_id", SOMETHING),
        ("SELECT user_id FROM events WHERE event_type = '+' GROUP BY user_id",
         "unless an event of type '+' arrives before"),
        ("SELECT user_id FROM users WHERE tier = 1", SOMETHING),
        ("SELECT user_id FROM events GROUP BY user_id HAVING extract(hour FROM now() AT TIME ZONE 'UTC') >= 9",
         "whatever arrives"),
    ],
)  # fmt: skip
def test_the_types_that_could(sql: str, said: str) -> None:
    carts = "SELECT user_id FROM events WHERE event_type = 'cart_opened' GROUP BY user_id"
    plan = compile_files({"asked.sql": sql, "carts.sql": carts}, SCHEMA)
    (definition,) = [one for one in plan.segments if one.name == "asked"]
    assert unless(event_types(definition.query, True)) == said


def test_the_first_event_of_all_makes_somebody_known() -> None:
    sql = f"SELECT user_id FROM events GROUP BY user_id HAVING {BUYS} = 0"
    (definition,) = compile_files({"asked.sql": sql}, SCHEMA).segments
    assert event_types(definition.query, False) is None
    assert event_types(definition.query, True) == frozenset(["purchase"])
