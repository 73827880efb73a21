"""`explain`: features in words, who shares them, what grows, and which definitions are the same set."""

import pytest

from segmentation.compile import compile_files
from segmentation.compile.explain import Explained, explain, totals
from tests.compile.shop import SCHEMA


def explained(**definitions: str) -> dict[str, Explained]:
    whole = {
        f"{name}.sql": text if text.startswith(("SELECT", "WITH")) else f"SELECT user_id FROM events {text}"
        for name, text in definitions.items()
    }
    return {one.name: one for one in explain(compile_files(whole, SCHEMA))}


def having(condition: str) -> str:
    return f"GROUP BY user_id HAVING {condition}"


@pytest.mark.parametrize(
    ("condition", "text", "windows"),
    [
        ("count(*) > 3", "count(*)", ()),
        ("count(*) FILTER (WHERE event_type = 'buy' AND event_time > now() - INTERVAL '1 day') > 3",
         "count(*) WHERE event_type = 'buy', less than 1 day old", ("1 day",)),
        ("count(*) FILTER (WHERE event_time BETWEEN now() - INTERVAL '7 days' AND now() - INTERVAL '7201 seconds') > 3",
         "count(*), at least 7201 seconds old and at most 7 days old", ("7201 seconds", "7 days")),
        ("coalesce(sum(amount), 0) - 2 * count(*) > 5", "sum(amount) - 2 * count(*)", ()),
        ("count(DISTINCT url) FILTER (WHERE flag OR quantity > 1) > 1",
         "count(DISTINCT url) WHERE flag OR (quantity > 1)", ()),
        ("arg_max(region, event_time) = 'x'", "arg_max(region, event_time)", ()),
        ("mode(region) FILTER (WHERE url IN ('a', 'b') AND NOT (flag OR quantity > 1)) = 'x'",
         "mode(region) WHERE url IN ('a', 'b') AND quantity <= 1 AND NOT flag", ()),
    ],
)  # fmt: skip
def test_features_in_words(condition: str, text: str, windows: tuple[str, ...]) -> None:
    found = explained(x=having(condition))["x"]
    assert text in [feature.text for feature in found.features]
    assert found.windows == windows


def test_shared_features_are_read_by_others_too() -> None:
    found = explained(
        a=having("count(*) FILTER (WHERE flag) > 3 AND max(amount) > sum(quantity)"),
        b=having("count(*) FILTER (WHERE flag) > 5"),
        c=having("5 < count(*) FILTER (WHERE url = 'x')"),
    )
    shared = {feature.text: others for feature, others in zip(found["a"].features, found["a"].shared)}
    assert shared["count(*) WHERE flag"] == ("b",)
    assert shared["max(amount)"] == ()
    assert found["b"].shared == (("a",),) and found["c"].shared == ((),)
    total = totals(list(found.values()))
    assert total["definitions"] == 3 and total["shared"] == 1
    assert total["features"] == len({feature for one in found.values() for feature in one.features})
    assert total["bytes_per_user"] == sum({f: f.bytes for one in found.values() for f in one.features}.values())


def test_what_grows_is_warned_of() -> None:
    found = explained(
        different=having("count(DISTINCT url) > 3"),
        window=having("count(DISTINCT url) FILTER (WHERE event_time > now() - INTERVAL '1 day') > 3"),
        flags=having("count(DISTINCT flag) > 1"),
        mode=having("mode(url) = 'x'"),
        rows=having("mode(url) FILTER (WHERE event_time > now() - INTERVAL '1 day') = 'x'"),
        best=having("max(url) > 'x'"),
        plain=having("count(*) > 1 AND max(amount) > sum(amount)"),
    )
    forever = "keeps every different value that a user ever has"
    assert found["different"].warnings == (f"the different values of url: {forever}",)
    assert found["mode"].warnings == (f"mode(url): {forever}",)
    assert found["rows"].warnings == ("mode(url), less than 1 day old: keeps every row while in the window",)
    assert not any(found[name].warnings for name in ("window", "flags", "best", "plain"))
    assert found["plain"].bytes > 0


BUY = "event_type = 'buy'"
A, B, C = (f"WHERE event_type = '{kind}' GROUP BY user_id" for kind in ("buy", "view", "login"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"WHERE '{'buy'}' = event_type GROUP BY user_id", "`a`"),
        (having(f"count(*) FILTER (WHERE NOT ({BUY}) IS NOT TRUE) >= 1"), "`a`"),
        (f"SELECT user_id FROM events {A} INTERSECT SELECT user_id FROM events {C}", "`a` INTERSECT `c`"),
        ("GROUP BY user_id HAVING bool_or(event_type = 'login') AND bool_or(event_type = 'buy')"
         " AND bool_or(event_type = 'view')", "`a` INTERSECT `b` INTERSECT `c`"),
        ("WHERE event_type IN ('buy') AND user_id NOT IN (SELECT user_id FROM events WHERE event_type = 'view')"
         " GROUP BY user_id", "`a` EXCEPT `b`"),
        (f"SELECT user_id FROM events {A} UNION SELECT user_id FROM events {B}", "`a` UNION `b`"),
        ("SELECT user_id FROM segments.a UNION SELECT user_id FROM segments.c", "`a` UNION `c`"),
        (f"SELECT user_id FROM events {A} INTERSECT SELECT user_id FROM events WHERE flag", ""),
        (having("count(*) > 1"), ""),
    ],
)  # fmt: skip
def test_what_is_made_of_others_says_so(text: str, expected: str) -> None:
    found = explained(a=A, b=B, c=C, x=text)
    assert found["x"].same_as == expected
    assert not found["b"].same_as and not found["c"].same_as


def test_larger_parts_are_preferred() -> None:
    both = f"SELECT user_id FROM events {A} INTERSECT SELECT user_id FROM events {B}"
    found = explained(a=A, b=B, c=C, both=both, x=f"SELECT user_id FROM events {C} INTERSECT {both}")
    assert found["both"].same_as == "`a` INTERSECT `b`"
    assert found["x"].same_as == "`both` INTERSECT `c`"


def test_nobody() -> None:
    found = explained(x=having("count(*) < 0"))["x"]
    assert found.nobody and found.features == () and not found.same_as


def test_rows_beside_a_value_of_the_user() -> None:
    """The value is a feature of its own, which others may read; the rows are kept, and that is said."""
    first = "(SELECT min(e.event_time) FROM events e WHERE e.user_id = events.user_id AND e.flag)"
    found = explained(
        a=having(f"count(*) FILTER (WHERE event_type = 'view' AND event_time < {first}) > 3"),
        b=having("min(event_time) FILTER (WHERE flag) < max(event_time)"),
        c=having(f"count(*) FILTER (WHERE {first} > event_time AND event_type = 'view') > 5"),
        d=having(f"count(*) FILTER (WHERE event_time < {first} AND event_time > now() - INTERVAL '1 day') > 5"),
    )
    text = "count(*) WHERE event_type = 'view' AND event_time < (SELECT min(event_time) FILTER (WHERE flag)"
    kept, value = found["a"].features
    text += " FROM events s WHERE (s.user_id = events.user_id))"
    assert (kept.text, kept.each) == (text, "row that may count")
    assert kept.heavy.endswith("for ever") and value.text == "min(event_time) WHERE flag"
    assert found["a"].shared == (("c",), ("b", "c", "d"))
    assert found["c"].features == found["a"].features
    assert found["d"].features[0].heavy.endswith("while in the window") and found["d"].windows == ("1 day",)
