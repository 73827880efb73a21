"""`tidegate test`: what passes, how a difference is shown, and every wrong file to a line with its place."""

import json
from pathlib import Path

import pytest

from console.segment_tests import times
from console.segment_tests.problems import Wrong
from segmentation.events.times import instant
from tests.architecture.source import ROOT
from tests.console.run_command import Done, tidegate

SCHEMA = """\
events:
  region: {type: text}
  amount: {type: "numeric(18,2)", path: properties.amount}
  sent_at: {type: timestamptz}
users:
  city_tier: {type: bigint, path: address.tier}
  joined: {type: timestamptz}
"""
DEFINITIONS = {
    "spender": "SELECT user_id FROM events GROUP BY user_id HAVING sum(amount) >= 10.00",
    "recent": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '1 hour' GROUP BY user_id",
    "prompt": "SELECT user_id FROM events GROUP BY user_id HAVING bool_or(event_time - sent_at < INTERVAL '1 minute')",
    "recency": "SELECT user_id, CASE WHEN max(event_time) > now() - INTERVAL '31 days' THEN '0-30' "
    "WHEN max(event_time) > now() - INTERVAL '61 days' THEN '31-60' END AS band FROM events GROUP BY user_id",
    "tier_one": "SELECT user_id FROM users WHERE city_tier = 1 AND joined < TIMESTAMPTZ '2026-03-01 00:00:00+00'",
    "tier_one_buyers": "SELECT user_id FROM events JOIN users USING (user_id) WHERE city_tier = 1 AND amount > 5",
    "idle": "SELECT user_id FROM users WHERE user_id NOT IN (SELECT user_id FROM segments.recent)",
    "off": "/*\nenabled: false\n*/\nSELECT user_id FROM events GROUP BY user_id",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "defs/tests").mkdir(parents=True)
    (tmp_path / "defs/schema.yml").write_text(SCHEMA)
    for name, text in DEFINITIONS.items():
        (tmp_path / f"defs/{name}.sql").write_text(text)
    return tmp_path


def run(folder: Path, text: str, *more: str) -> Done:
    """A file of tests under `clock: 2026-03-01T00:00:00Z`, unless it has its own first line."""
    whole = text if text.startswith(("clock", "tests", "-")) else f"clock: 2026-03-01T00:00:00Z\ntests:\n{text}"
    (folder / "defs/tests/x.yml").write_text(whole)
    return tidegate("test", "--definitions", "defs", *more, cwd=folder)


def test_the_repositorys_own_tests_pass() -> None:
    done = tidegate("test", "--definitions", "segment_defs", "--json", cwd=ROOT)
    said = json.loads(done.out)
    assert done.code == 0 and said["ok"], done.out
    assert said["passed"] == len(said["tests"]) >= 15
    assert len({segment for test in said["tests"] for segment in test["segments"]}) >= 8


def test_passing(folder: Path) -> None:
    text = """\
  one:
    events:
    - {user: ann, at: -2h, amount: 4.50}
    - {user: ann, at: 1 hour ago, amount: 5.50}
    - {user_id: bob, event_type: buy, event_time: "2026-03-01T01:00:00+01:00", amount: 9}
    members:
      spender: [ann]
      recent: {-1h: [ann], -30m: [ann], now: [bob], +1h: []}
    transitions:
      spender: {ann: {-1h: enters}}
      recent: {ann: {-2h: enters, now: leaves}, bob: {now: enters, +1h: leaves}}
  two:
    clock: 2027-01-01T00:00:00Z
    events:
    - {user: ann, sent_at: -59s}
    - {user: bob, sent_at: -60s}
    members: {prompt: {2027-01-01T00:00:00Z: [ann]}}
"""
    done = run(folder, text)
    assert (done.code, done.out) == (0, "ok    x.yml  one\nok    x.yml  two\n"), done
    assert done.err == "2 passed\nwithout a test: idle, recency, tier_one, tier_one_buyers\n"


def test_bands(folder: Path) -> None:
    text = """\
  moves:
    events: [{user: ann, at: -40d}, {user: bob}, {user: cleo, at: -61d}]
    members:
      recency: {now: {ann: 31-60, bob: 0-30}, +21d -1us: {ann: 31-60, bob: 0-30}, +21d: {bob: 0-30}}
      recency/0-30: {now: [bob]}
    transitions:
      recency:
        ann: {-40d: 0-30, -9d: 31-60, +21d: none}
        bob: {now: 0-30, +31d: 31-60, +61d: none}
        cleo: {-61d: 0-30, -30d: 31-60, now: none}
      recency/31-60:
        ann: {-9d: enters, +21d: leaves}
        bob: {+31d: enters, +61d: leaves}
        cleo: {-30d: enters, now: leaves}
"""
    done = run(folder, text)
    assert done.code == 0, done.out
    done = run(folder, text.replace("+21d: none", "+21d: 0-30"))
    assert done.code == 1
    assert "  10    recency  +21d  2026-03-22T00:00:00Z  ann   0-30      none\n" in done.out


def test_profiles(folder: Path) -> None:
    text = """\
  they change:
    profiles:
    - {user: ann, city_tier: 2, joined: -1us}
    - {user: ann, city_tier: 1, joined: -1us, at: +1d}
    - {user: bob, city_tier: 1, joined: now}
    - {user: cleo, city_tier: 1, joined: 2025-12-31T00:00:00Z, at: +2d}
    - {user: cleo, city_tier: null, at: +3d}
    events:
    - {user: ann, at: -1h, amount: 6}
    - {user: bob, at: -1h, amount: 6}
    - {user: dora, at: -1h, amount: 6}
    members:
      tier_one: {now: [], +1d -1us: [], +1d: [ann], +2d: [ann, cleo], +3d: [ann]}
      tier_one_buyers: {-1us: [bob], +1d: [ann, bob]}
      idle: {-1us: [], now: [ann, bob, dora], +2d: [ann, bob, cleo, dora]}
    transitions:
      tier_one: {ann: {+1d: enters}, cleo: {+2d: enters, +3d: leaves}}
      idle: {ann: {now: enters}, bob: {now: enters}, dora: {now: enters}, cleo: {+2d: enters}}
  who is erased:
    profiles:
    - {user: ann, city_tier: 1, joined: -1d, at: -2h}
    - {user: ann, erased: true, at: +1h}
    - {user: bob, erased: true, at: now}
    - {user: bob, city_tier: 1, joined: -1d, at: +2h}
    events: [{user: ann, at: -2h, amount: 6}, {user: bob, at: -2h}, {user: bob, at: +3h, amount: 7}]
    members:
      tier_one: {-2h: [ann], +1h -1us: [ann], +1h: [], +2h: [bob]}
      idle: {-1h: [ann, bob], now: [ann], +1h: [], +2h: [bob]}
    transitions:
      tier_one: {bob: {+2h: enters}}
      tier_one_buyers: {bob: {+3h: enters}}
"""
    done = run(folder, text)
    assert done.code == 0, done.out
    done = run(folder, text.replace("+2d: [ann, cleo]", "+2d: [ann]"))
    assert "given of cleo:\n    +2d  2026-03-03T00:00:00Z  profile  city_tier=1  joined=2025-12-31" in done.out


def test_a_difference_is_shown_with_the_users_events(folder: Path) -> None:
    text = """\
  sums:
    events:
    - {user: ann, at: -2h, amount: 4.50, region: x}
    - {user: bob, at: -2h, amount: 10}
    members:
      spender: [ann]
    transitions:
      spender: {ann: {-1h: enters}}
"""
    done = run(folder, text)
    assert done.code == 1
    assert done.out == """\
FAIL  defs/tests/x.yml:3  sums
  line  segment  at                         user  expected  got
  8     spender  now  2026-03-01T00:00:00Z  ann   is in     is out
  8     spender  now  2026-03-01T00:00:00Z  bob   is out    is in
  10    spender  -2h  2026-02-28T22:00:00Z  bob   nothing   enters
  10    spender  -1h  2026-02-28T23:00:00Z  ann   enters    nothing
  given of ann:
    -2h  2026-02-28T22:00:00Z  event  amount=4.50  region=x
  given of bob:
    -2h  2026-02-28T22:00:00Z  event  amount=10
"""
    assert done.err.startswith("0 passed, 1 failed\n")
    said = json.loads(run(folder, text, "--json").out)
    assert (said["ok"], said["passed"], said["failed"]) == (False, 0, 1)
    assert said["tests"][0]["differences"][0] == {
        "line": 8, "segment": "spender", "at": "2026-03-01T00:00:00Z", "user": "ann", "about": "members",
        "expected": "in", "got": "out",
    }  # fmt: skip


def test_what_is_asked_for_is_run(folder: Path) -> None:
    text = """\
  one: {events: [{user: ann}], members: {recent: [ann]}}
  two: {events: [{user: ann}], members: {recency/0-30: [ann]}}
"""
    one, two = "ok    x.yml  one\n", "ok    x.yml  two\n"
    assert run(folder, text, "recent").out == one
    assert run(folder, text, "recency").out == run(folder, text, "recency/0-30").out == two
    assert run(folder, text, "x").out == run(folder, text, "defs/tests/x.yml").out == one + two
    done = run(folder, text, "spender")
    assert (done.code, done.err) == (
        2, "tidegate: no test is about spender. Write one with `tidegate test --create`.\n"
    )  # fmt: skip
    done = run(folder, text, "recnet")
    assert done.err == "tidegate: recnet is neither a segment nor a file of tests. Did you mean recent?\n"
    (folder / "defs/tests/x.yml").unlink()
    done = tidegate("test", "--definitions", "defs", cwd=folder)
    assert done.code == 2 and "there are no tests" in done.err


@pytest.mark.parametrize(("text", "line", "said"), [
    ("tests: {}", 1, "this is not what `tests` holds. | Write tests by their names, with events and members below "
     "each."),
    ("- a", 1, "the file has no tests. | Write `tests:`, and below it each test under its name."),
    ("clock: 2026-01-01T00:00:00Z", 1,
     "the file has no tests. | Write `tests:`, and below it each test under its name."),
    ("tests:\n  a:\n    evnts: []", 3, "there is no key `evnts` here. | Did you mean events?"),
    ("tests:\n  a:", 2, "the test `a` is empty or no mapping. | Write `events:` and `members:` below it."),
    ("  a:\n    events: {user: ann}", 4,
     "this is not what `events` holds. | Write a list of events: - {user: ann, type: purchase, at: -30d, "
     "amount: 9.99}."),
    ("  a: {events: [{user: ann}]}", 3, "the test expects nothing. | Write `members:` or `transitions:`."),
    ("  a:\n    events:\n    - {user: ann,\n       amout: 1}\n    members: {recent: [ann]}", 6,
     "there is no column amout. | Did you mean amount?"),
    ("  a: {events: [{type: x}], members: {recent: []}}", 3, "the event has no user. | Write user: ann."),
    ("  a: {events: [{user: 17}], members: {recent: []}}", 3, 'the user 17 is not a text. | Put it in quotes: "17".'),
    ("  a: {events: [{user: ann, region: 5}], members: {recent: [ann]}}", 3,
     '`region` is a text, and 5 is none. | Put it in quotes: "5".'),
    ("  a: {events: [{user: ann, amount: much}], members: {recent: [ann]}}", 3,
     "the event would be refused: amount (properties.amount): expected a number, not in quotes (unless the "
     'column has empty_as_null: true), got the string "much". | Correct the value.'),
    ("  a: {events: [{user: ann, at: 3d}], members: {recent: [ann]}}", 3,
     "`3d` does not say whether it is before or after the clock. | Write -3d or +3d."),
    ("  a: {events: [{user: ann, at: -1 month}], members: {recent: [ann]}}", 3,
     "`month` has no fixed length. | Write days, or the date: 2026-03-01T00:00:00Z."),
    ("  a: {profiles: [{user: ann, city_teir: 1}], members: {tier_one: [ann]}}", 3,
     "there is no column city_teir. | Did you mean city_tier?"),
    ("  a: {profiles: [{user: ann, city_tier: one}], members: {tier_one: [ann]}}", 3,
     "the profile would be refused: city_tier (address.tier): expected a number, not in quotes (unless the column "
     'has empty_as_null: true), got the string "one". | Correct the value.'),
    ("  a: {profiles: [{city_tier: 1}], members: {tier_one: []}}", 3, "the profile has no user. | Write user: ann."),
    ("  a: {profiles: [{user: ann, erased: true, city_tier: 1}], members: {tier_one: []}}", 3,
     "who is erased has no values. | Leave them out, or take `erased` out."),
    ("  a: {events: [{user: ann}], members: {recnt: [ann]}}", 3, "there is no segment recnt. | Did you mean recent?"),
    ("  a: {events: [{user: ann}], members: {off: [ann]}}", 3,
     "the segment off is not enabled. | Remove `enabled: false` from its header."),
    ("  a: {events: [{user: anna}], members: {recent: [ann]}}", 3, "the test has no user ann. | Did you mean anna?"),
    ("  a: {events: [{user: ann}], members: {recent: {noon: [ann]}}}", 3,
     "`noon` is not a time. | Write 2026-03-01T00:00:00Z, or what lies between it and the clock: now, -30d, +1h, 30 "
     "days ago."),
    ("  a: {events: [{user: ann}], members: {recent: {now: ann}}}", 3,
     "members are a list of users. | Write [ann, bob], or [] for nobody."),
    ("  a: {events: [{user: ann}], members: {recency: [ann]}}", 3,
     "recency has bands. | Write users and bands: {ann: 0-30}, or recency/0-30."),
    ("  a: {events: [{user: ann}], members: {recency: {now: {ann: 0-31}}}}", 3,
     "recency has no band 0-31. | Did you mean 0-30?"),
    ("  a: {events: [{user: ann}], transitions: {recent: {ann: {now: in}}}}", 3,
     "`in` is not what a user does here. | Write enters or leaves."),
    ("  a: {events: [{user: ann}], transitions: {recent: {ann: {now: enters, +0s: leaves}}}}", 3,
     "this instant is named twice. | Keep one of them."),
    ("  a: {events: [{user: ann}], members: {recent: [ann]}, until: -1d}", 3,
     "`until` is before something that the test names. | Write a later time."),
    ("clock: -1d\ntests: {a: {events: [{user: ann}], members: {recent: [ann]}}}", 1,
     "a clock is set to a date and a time, not to `-1d`. | Write clock: 2026-01-01T00:00:00Z"),
    ("  a: {events: [{user: ann}, {user: ann}], members: {recent: [ann], recent: []}}", 3,
     "`recent` is given twice, first in line 3. | Keep one of them."),
])  # fmt: skip
def test_wrong_files(folder: Path, text: str, line: int, said: str) -> None:
    done = run(folder, text)
    reason, _, remedy = said.partition(" | ")
    assert done.code == 2
    assert done.out == f"defs/tests/x.yml:{line}: {reason}\n  {remedy}\n"
    found = json.loads(run(folder, text, "--json").out)
    assert found["problems"] == [{"file": "defs/tests/x.yml", "line": line, "reason": reason, "remedy": remedy}]


def test_all_problems_of_all_files_at_once_and_the_rest_is_run(folder: Path) -> None:
    (folder / "defs/tests/y.yml").write_text("tests:\n  right: {events: [{user: ann}], members: {recent: [ann]}}\n")
    done = run(folder, "  a:\n    events: [{user: ann, x: 1}]\n    members: {recent: [bob], nobody: []}\n")
    assert done.code == 2
    assert done.out.startswith("ok    y.yml  right\n")
    assert [line.partition(": ")[0] for line in done.out.splitlines() if line.startswith("defs")] == [
        "defs/tests/x.yml:4", "defs/tests/x.yml:5", "defs/tests/x.yml:5",
    ]  # fmt: skip


CLOCK = instant("2026-03-01T00:00:00Z", None)
HOUR = 3_600_000_000


@pytest.mark.parametrize(("text", "distance"), [
    ("now", 0), ("-1h", -HOUR), ("+ 1 hour", HOUR), ("1 hour ago", -HOUR), ("2 hours later", 2 * HOUR),
    ("-1d12h", -36 * HOUR), ("-1d +12h", -12 * HOUR), ("now +1us", 1), ("now - 1µs", -1), ("+90 MIN", HOUR * 3 // 2),
    ("-1w", -168 * HOUR), ("2026-03-01T01:00:00+01:00", 0), ("2026-03-01 00:00:00.0000019Z", 1),
])  # fmt: skip
def test_times(text: str, distance: int) -> None:
    assert times.parse(text, CLOCK) - CLOCK == distance


@pytest.mark.parametrize("text", ["", " ", "1h", "-h", "-1", "+1 fortnight", "- 1h x", "now1h", "2026-03-01", "ago",
                                  "2026-03-01T00:00:00", "-9999999d", "2026-02-30T00:00:00Z", "nowish"])  # fmt: skip
def test_no_times(text: str) -> None:
    with pytest.raises(Wrong) as caught:
        times.parse(text, CLOCK)
    assert caught.value.reason and caught.value.remedy


@pytest.mark.parametrize("distance", [0, HOUR, -36 * HOUR, 1, -30 * 24 * HOUR, 25 * HOUR])
def test_distances_are_read_back(distance: int) -> None:
    assert times.parse(times.between(CLOCK + distance, CLOCK), CLOCK) - CLOCK == distance
