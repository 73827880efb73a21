"""Bands: what is understood, what they are called, and when a user moves from one to the next."""

import pytest

from segmentation.compile import problems_of, written
from segmentation.compile.bind import bind_all
from segmentation.compile.depends import dependencies
from segmentation.compile.lower import lower
from segmentation.reference import Event, Reference
from segmentation.types import DAY
from tests.compile.shop import SCHEMA

RECENCY = (
    "SELECT user_id, CASE WHEN now() - max(event_time) < INTERVAL '30 days' THEN NULL "
    "WHEN now() - max(event_time) < INTERVAL '61 days' THEN '30-60' "
    "WHEN now() - max(event_time) < INTERVAL '91 days' THEN '61-90' ELSE '91+' END AS band "
    "FROM events GROUP BY user_id"
)


def banded(case: str) -> str:
    return f"SELECT user_id, {case} AS band FROM events GROUP BY user_id"


def problems(**texts: str) -> list[str]:
    found = problems_of({f"{name}.sql": text for name, text in texts.items()}, SCHEMA)
    return [f"{each.file}:{each.at.line}:{each.at.column} {each.reason} | {each.remedy}" for each in found]


def meanings(text: str) -> dict[str, str]:
    found = bind_all({"x.sql": text}, SCHEMA)
    return {each.name: " ".join(written.definition(each).split("\n")[2:]) for each in found}


def test_each_band_is_a_segment_and_the_first_that_is_true_decides() -> None:
    first = "((max(event_time) > (now() - INTERVAL '30 days')) IS TRUE)"
    second = "((max(event_time) > (now() - INTERVAL '61 days')) IS TRUE)"
    third = "((max(event_time) > (now() - INTERVAL '91 days')) IS TRUE)"
    assert meanings(RECENCY) == {
        "x/30-60": f"HAVING ((NOT {first}) AND {second})",
        "x/61-90": f"HAVING ((NOT {first}) AND (NOT {second}) AND {third})",
        "x/91+": f"HAVING ((NOT {first}) AND (NOT {second}) AND (NOT {third}))",
    }


def test_a_case_of_values() -> None:
    text = banded("CASE count(*) WHEN 1 THEN 'one' WHEN 2 THEN 'few' WHEN 1 + 2 THEN 'few' END")
    one, two, three = (f"((count(*) = {n}) IS TRUE)" for n in (1, 2, 3))
    assert meanings(text) == {
        "x/few": f"HAVING (((NOT {one}) AND {two}) OR ((NOT {one}) AND {three}))",
        "x/one": f"HAVING {one}",
    }


def test_a_move_is_one_step_at_the_instant_of_the_edge() -> None:
    reference = Reference(bind_all({"recency.sql": RECENCY}, SCHEMA), 1, 0, None, False)
    reference.event(0, Event("u", "e", 0, {}), 0)
    reference.finish(61 * DAY - DAY // 2)
    assert reference.members() == {("u", "recency/30-60")}, "day 60.5 is in 30-60"
    reference.finish(61 * DAY - 1)
    assert reference.members() == {("u", "recency/30-60")}
    reference.finish(200 * DAY)
    log = reference.log
    assert [(one.seq, one.segment.removeprefix("recency/"), one.entered, one.effective_at // DAY) for one in log] == [
        (1, "30-60", True, 30),
        (2, "30-60", False, 61), (2, "61-90", True, 61),
        (3, "61-90", False, 91), (3, "91+", True, 91),
    ]  # fmt: skip
    assert all(flip.effective_at % DAY == 0 for flip in log)


def test_reading_bands() -> None:
    assert problems(recency=RECENCY, a='SELECT user_id FROM segments."recency/30-60" r WHERE r.user_id <> \'x\'') == []
    assert problems(
        recency=RECENCY, plain="SELECT user_id FROM events",
        a='SELECT user_id FROM segments."recency/30-61"', b="SELECT user_id, band FROM segments.recency",
        c='SELECT user_id FROM segments."plain/x"', d='SELECT user_id FROM segments."recent/x"',
    ) == [
        "a.sql:1:21 The segment recency has no band 30-61. | Did you mean 30-60?",
        "b.sql:1:17 A definition selects user_id alone, not `band`. | Write SELECT user_id.",
        "c.sql:1:21 The segment plain has no bands. | Write segments.plain.",
        "d.sql:1:21 There is no segment recent. | Did you mean recency?",
    ]  # fmt: skip
    circle = RECENCY.replace("GROUP", 'WHERE user_id IN (SELECT user_id FROM segments."recency/91+") GROUP')
    assert "The segment reads itself: recency reads recency." in problems(recency=circle)[0]
    assert dependencies('SELECT user_id FROM segments."recency/30-60"').segments == ("recency/30-60",)


@pytest.mark.parametrize(
    ("condition", "same"),
    [
        ("band = '30-60'", "SELECT user_id FROM segments.\"recency/30-60\""),
        ("band LIKE '61%' AND band IS NOT NULL", 'SELECT user_id FROM segments."recency/61-90"'),
        ("coalesce(lower(band), '?') >= '91'", 'SELECT user_id FROM segments."recency/91+"'),
    ],
)  # fmt: skip
def test_a_condition_on_the_band_is_that_of_segments(condition: str, same: str) -> None:
    texts = {"recency": RECENCY, "x": f"SELECT user_id FROM segments.recency WHERE {condition}", "y": same}
    plan = lower(bind_all({f"{name}.sql": text for name, text in texts.items()}, SCHEMA), SCHEMA)
    roots = dict(zip(plan.names, plan.roots))
    assert roots["x"] == roots["y"]


def test_wrong_uses_of_the_band() -> None:
    joined = "SELECT e.user_id FROM events e JOIN segments.recency r USING (user_id)"
    assert problems(
        recency=RECENCY, plain="SELECT user_id FROM events",
        a="SELECT user_id FROM segments.recency WHERE band = '30-61' OR band IN ('61-90', '4')",
        b="SELECT user_id FROM segments.plain WHERE band = 'x'",
        c="SELECT user_id FROM segments.recency WHERE band > 3",
        d=f"{joined} GROUP BY e.user_id HAVING count(DISTINCT r.band) = 1",
        e=f"{joined} GROUP BY e.user_id HAVING r.band = '30-60'",
        f="SELECT user_id FROM segments.recency GROUP BY band",
    ) == [
        "a.sql:1:51 The segment recency has no band 30-61. | Did you mean 30-60?",
        "a.sql:1:80 The segment recency has no band 4. | There are 30-60, 61-90, 91+.",
        "b.sql:1:42 Unknown column band. | There is user_id alone.",
        "c.sql:1:51 A text does not compare with a number. | Put it in quotes: '3'.",
        "d.sql:1:98 band is one value per user, the same in all of his rows, and count of it is not supported. | "
        "Compare the band itself: max(band) = '30-60'; or put the condition on it into FILTER.",
        "e.sql:1:98 The column band is not in GROUP BY. | Write max(r.band), or GROUP BY user_id, r.band.",
        "f.sql:1:47 The groups are not those of users: GROUP BY does not name user_id. | Write GROUP BY user_id first.",
    ]  # fmt: skip


def test_bands_share_their_problems() -> None:
    (found,) = problems(x=banded("CASE WHEN max(region) = user_id THEN 'a' WHEN count(*) > 1 THEN 'b' END"))
    assert "user_id is compared with an aggregate." in found


@pytest.mark.parametrize("value", ["", " a", "a/b", "it''s", 'a"b', "a\tb", "a,b", "a\\b", "x" * 64])
def test_names_that_do_not_fit(value: str) -> None:
    (found,) = problems(x=banded(f"CASE WHEN count(*) > 1 THEN '{value}' END"))
    assert "does not fit there" in found


@pytest.mark.parametrize("value", ["0-4", "180+", "< 5 €", "Größe 1.5", "50%", "x" * 63])
def test_names_that_fit(value: str) -> None:
    text = banded(f"CASE WHEN count(*) > 1 THEN '{value}' END")
    assert [each.name for each in bind_all({"x.sql": text}, SCHEMA)] == [f"x/{value}"]


def test_there_may_be_a_hundred() -> None:
    def bands(count: int) -> str:
        whens = " ".join(f"WHEN count(*) < {n} THEN '{n}'" for n in range(count))
        return banded(f"CASE {whens} END")

    assert problems(x=bands(100)) == []
    assert problems(x=bands(101)) == ["x.sql:1:17 There are more than 100 bands. | Make several definitions of them."]
