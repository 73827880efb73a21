"""Segments as tables: which may be read, in which order they are understood, and what is said otherwise."""

import pytest

from segmentation.compile import compile_files, problems_of
from segmentation.compile.bind import bind_all, bind_each
from segmentation.compile.depends import dependencies
from segmentation.compile.plan import Plan
from segmentation.compile.problems import DefinitionErrors
from segmentation.compile.tree import Definition
from tests.compile.shop import SCHEMA

BUYERS = "SELECT user_id FROM events WHERE event_type = 'purchase' GROUP BY user_id HAVING count(*) >= 3"
READER = "SELECT user_id FROM segments."


def problems(**texts: str) -> list[str]:
    found = problems_of({f"{name}.sql": text for name, text in texts.items()}, SCHEMA)
    return [f"{each.file}:{each.at.line}:{each.at.column} {each.reason} | {each.remedy}" for each in found]


def bound(**texts: str) -> dict[str, Definition]:
    return {each.name: each for each in bind_all({f"{name}.sql": text for name, text in texts.items()}, SCHEMA)}


def plan(**texts: str) -> Plan:
    return compile_files({f"{name}.sql": text for name, text in texts.items()}, SCHEMA)


def test_unknown() -> None:
    assert problems(high_value=BUYERS, a=f"{READER}hihg_value") == [
        "a.sql:1:21 There is no segment hihg_value. | Did you mean high_value?"
    ]
    assert problems(high_value=BUYERS, a=f"{READER}recent EXCEPT\n{READER}other") == [
        "a.sql:1:21 There is no segment recent. | There are a, high_value.",
        "a.sql:2:21 There is no segment other. | There are a, high_value.",
    ]


def test_disabled() -> None:
    off = "/*\nenabled: false\n*/\nSELECT user_id FROM events WHERE nope"
    assert problems(off=off, a=f"{READER}off", b=BUYERS) == [
        "a.sql:1:21 The segment off is disabled. | Enable it in its header, or do not read it."
    ]


def test_circles_are_named_with_their_path() -> None:
    texts = {"a": f"{READER}b", "b": f"{READER}c UNION {READER}a", "c": f"{BUYERS} UNION {READER}b", "d": f"{READER}a"}
    assert problems(**texts) == [
        "a.sql:1:21 The segment reads itself: a reads b reads a. | Take one of these out.",
        "b.sql:1:58 The segment reads itself: b reads a reads b. | Take one of these out.",
        "c.sql:1:122 The segment reads itself: c reads b reads c. | Take one of these out.",
        "d.sql:1:21 The segment a has problems of its own. | Correct those first.",
    ]
    assert problems(a=f"{READER}a") == ["a.sql:1:21 The segment reads itself: a reads a. | Take one of these out."]


def test_what_others_read_must_be_right_itself() -> None:
    wrong = "SELECT user_id FROM events GROUP BY user_id HAVING arg_min(region, event_time) FILTER (WHERE {}) = url"
    assert problems(a=f"{READER}b", b="SELECT user_id FROM events WHERE nope = 1", c=BUYERS)[0] == (
        "a.sql:1:21 The segment b has problems of its own. | Correct those first."
    )
    unlowered = "SELECT user_id FROM events GROUP BY user_id HAVING max(region) = user_id"
    assert problems(a=f"{READER}b", b=unlowered)[0] == (
        "a.sql:1:21 The segment b has problems of its own. | Correct those first."
    )
    assert len(problems(a=f"{READER}b", b=wrong)) == 2
    fine, refused = bind_each({"a.sql": f"{READER}b", "b.sql": wrong, "c.sql": BUYERS}, SCHEMA)
    assert [each.name for each in fine] == ["c"] and {each.file for each in refused} == {"a.sql", "b.sql"}


def test_a_segment_has_users_alone() -> None:
    assert problems(b=BUYERS, a=f"{READER}b WHERE amount > 1", c="SELECT user_id FROM segments") == [
        "a.sql:1:38 Unknown column amount. | There is user_id alone.",
        "c.sql:1:21 There is no table segments. | Name one segment: FROM segments.high_value.",
    ]


def test_any_order_of_names() -> None:
    texts = {"a": f"{READER}z", "m": f"{READER}a INTERSECT {READER}z", "z": BUYERS}
    assert list(bound(**texts)) == ["a", "m", "z"]
    assert plan(**texts).roots == [(0, False)] * 3


def test_a_long_chain() -> None:
    links = {f"s{n:04}": f"{READER}s{n + 1:04} UNION {BUYERS} AND sum(amount) > {n}" for n in range(800)}
    assert len(plan(s0800="SELECT user_id FROM events WHERE flag", **links).signals) > 800


def test_the_meaning_of_what_is_read_is_part_of_the_meaning() -> None:
    before, after = bound(a=f"{READER}b", b=BUYERS), bound(a=f"{READER}b", b=BUYERS.replace("3", "4"))
    reworded = bound(a=f"-- a remark\n{READER}b x", b=BUYERS.replace(">= 3", ">= 3 -- times"))
    assert before["a"].meaning == reworded["a"].meaning != after["a"].meaning


def test_parts_that_are_equal_are_shared() -> None:
    """However a set is written: by its own conditions, by a segment, or by a query inside."""
    flagged = "SELECT user_id FROM events WHERE flag"
    counted = "SELECT user_id, count(*) AS n FROM events WHERE event_type = 'purchase' GROUP BY user_id"
    first = plan(b=BUYERS, a=f"{BUYERS} EXCEPT {flagged}")
    for text in (
        f"{READER}b EXCEPT {flagged}",
        f"{READER}b WHERE user_id NOT IN ({flagged})",
        f"{READER}b b WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.user_id = b.user_id AND flag)",
        f"SELECT b.user_id FROM segments.b LEFT JOIN ({flagged}) f ON f.user_id = b.user_id WHERE f.user_id IS NULL",
        f"WITH f AS ({flagged}) SELECT user_id FROM ({BUYERS}) b EXCEPT SELECT user_id FROM f",
        f"{BUYERS} AND user_id NOT IN ({flagged})",
        BUYERS.replace("GROUP", f"AND user_id NOT IN ({flagged}) GROUP"),
        f"SELECT user_id FROM ({counted}) b WHERE n >= 3 AND user_id NOT IN ({flagged})",
    ):
        other = plan(b=BUYERS, a=text)
        assert (set(other.linears), other.registers) == (set(first.linears), first.registers), text


def test_dependencies() -> None:
    reads = dependencies(
        f"WITH x AS (SELECT user_id, sum(amount) AS total FROM events GROUP BY user_id) SELECT user_id FROM x "
        f'WHERE total > 5 INTERSECT SELECT user_id FROM segments."b" EXCEPT {READER}a'
    )
    assert reads.segments == ("a", "b") and reads.columns == ("amount", "user_id")


def test_errors_are_raised_together() -> None:
    with pytest.raises(DefinitionErrors) as caught:
        plan(a=f"{READER}b", b="SELECT user_id FROM events WHERE nope = 1")
    assert [problem.file for problem in caught.value.problems] == ["a.sql", "b.sql"]
