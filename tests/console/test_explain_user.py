"""`tidegate explain` from files: what an operator reads, what a program gets, and what is said of nothing."""

import json
from pathlib import Path

import pytest

from tests.console.run_command import Done, tidegate

SCHEMA = """\
events:
  region: {type: text}
  amount: {type: "numeric(18,2)"}
users:
  tier: {type: bigint}
"""
DEFINITIONS = {
    "quiet": "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(region, event_time) = 'CA' "
    "AND count(*) FILTER (WHERE event_type = 'buy' AND event_time > now() - INTERVAL '30 days') = 0",
    "spender": "SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id HAVING sum(amount) >= 10",
    "top": "SELECT user_id FROM users WHERE tier = 1 INTERSECT SELECT user_id FROM segments.spender",
    "orders": "SELECT user_id, CASE WHEN count(*) < 5 THEN '0-4' ELSE '5+' END AS band FROM events GROUP BY user_id",
    "office": "SELECT user_id FROM events GROUP BY user_id HAVING extract(hour FROM now() AT TIME ZONE 'UTC') >= 9",
    "off": "/*\nenabled: false\n*/\nSELECT user_id FROM events GROUP BY user_id",
}
EVENTS = [
    ("e1", "ann", "buy", "2026-01-01T00:00:00Z", "CA", 7.5),
    ("e2", "ann", "view", "2026-01-03T00:00:00Z", "CA", None),
    ("e3", "ann", "buy", "2026-01-02T00:00:00Z", None, 4.5),
    ("e3", "ann", "buy", "2026-01-02T00:00:00Z", None, 4.5),
    ("e4", "bob", "view", "2026-01-05T00:00:00Z", "NV", None),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    (folder / "defs").mkdir()
    (folder / "defs/schema.yml").write_text(SCHEMA)
    for name, text in DEFINITIONS.items():
        (folder / f"defs/{name}.sql").write_text(text)
    keys = ("event_id", "user_id", "event_type", "event_time", "region", "amount")
    (folder / "events.ndjson").write_text("".join(json.dumps(dict(zip(keys, event))) + "\n" for event in EVENTS))
    (folder / "users.csv").write_text("user_id,profile_time,tier\nann,2026-01-02T12:00:00Z,1\n")
    return folder


def explain(folder: Path, *arguments: str) -> Done:
    return tidegate("explain", *arguments, "--definitions", "defs", "--events", "events.ndjson", cwd=folder)


def test_an_operator_reads_why_and_until_when(folder: Path) -> None:
    done = explain(folder, "ann", "quiet", "--at", "2026-01-10T00:00:00Z")
    assert (done.code, done.err) == (0, "")
    assert done.out == """\
ann is not in quiet, and never was, as of 2026-01-10T00:00:00.000000Z.
Enters on 2026-02-01T00:00:00.000000Z by time alone, unless something arrives before.
  then holds: the number of events where event_type is 'buy' and it was less than 30 days ago: 0, wanted = 0
Known of ann: 3 events.

no    all of:
  yes   the last region: 'CA', wanted = 'CA'
        SQL: arg_max(region, event_time) = 'CA'
        2 events count, 1 decides:
          2026-01-03T00:00:00.000000Z  e2
  no    the number of events where event_type is 'buy' and it was less than 30 days ago: 2, wanted = 0
        SQL: count(*) FILTER (WHERE ((event_type = 'buy') AND (event_time > (now() - INTERVAL '30 days')))) = 0
        2 events count, the newest first:
          2026-01-02T00:00:00.000000Z  e3
          2026-01-01T00:00:00.000000Z  e1
"""


def test_afterwards_and_before(folder: Path) -> None:
    after = explain(folder, "ann", "quiet", "--at", "2026-02-01T00:00:00Z").out
    assert after.startswith("ann is in quiet since 2026-02-01T00:00:00.000000Z, as of")
    assert "Stays in until something arrives" in after
    before = explain(folder, "ann", "spender", "--at", "2026-01-01T12:00:00Z").out
    assert "the sum of amount where event_type is 'buy': 7.5, wanted >= 10" in before
    assert "2 arrivals became known later and do not count" in before


def test_segments_in_segments_and_profiles(folder: Path) -> None:
    done = explain(folder, "ann", "top", "--profiles", "users.csv", "--show", "1")
    assert done.out.startswith("ann is in top since 2026-01-02T12:00:00.000000Z")
    for line in ("the profile's tier: 1, wanted = 1", "is in the segment spender:", "profile of 2026-01-02T12:00:00",
                 "the sum of amount where event_type is 'buy': 12, wanted >= 10", "and 1 more"):  # fmt: skip
        assert line in done.out, done.out


def test_the_clock_turns(folder: Path) -> None:
    told = json.loads(explain(folder, "bob", "office", "--json").out)
    assert (told["member"], told["next_flip"]) == (False, "2026-01-05T09:00:00.000000Z")
    assert told["turns"][0]["then"] is True
    (side, wanted), condition = told["condition"]["sides"], told["condition"]
    assert (side["value"], condition["op"], wanted["value"]) == (0, ">=", 9)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("eve", "quiet"), 1, "nothing is known of the user 'eve' by 2026-01-05T00:00:00.000000Z"),
        (("bob", "quiet", "--at", "2026-01-04T00:00:00Z"), 1, "It becomes known later"),
        (("ann", "quite"), 2, "Did you mean 'quiet'?"),
        (("ann", "off"), 2, "is not enabled"),
        (("ann", "orders"), 2, "orders/0-4, orders/5+"),
        (("ann", "quiet", "--at", "2026-01-04"), 2, "has no zone"),
    ],
)
def test_what_cannot_be_explained(folder: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    done = explain(folder, *arguments)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
