"""`tidegate forecast` from files."""

import json
from pathlib import Path

import pytest

from tests.console.run_command import Done, tidegate

DEFINITIONS = {
    "recent": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '1 hour' GROUP BY user_id",
    "quiet": "SELECT user_id FROM events GROUP BY user_id HAVING max(event_time) <= now() - INTERVAL '1 hour'",
    "office": "SELECT user_id FROM events GROUP BY user_id HAVING extract(hour FROM now() AT TIME ZONE 'UTC') >= 9",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "defs").mkdir()
    (folder / "defs/schema.yml").write_text("events: {}\n")
    for name, text in DEFINITIONS.items():
        (folder / f"defs/{name}.sql").write_text(text)
    events = [("ann", "00:00"), ("bob", "00:30"), ("cid", "00:45"), ("bob", "00:50")]
    (folder / "events.ndjson").write_text("".join(
        json.dumps({"event_id": f"e{number}", "user_id": user, "event_type": "view",
                    "event_time": f"2026-01-01T{time}:00Z"}) + "\n"
        for number, (user, time) in enumerate(events)
    ))  # fmt: skip
    return folder


def forecast(folder: Path, *arguments: str) -> Done:
    return tidegate("forecast", *arguments, "--definitions", "defs", "--events", "events.ndjson", cwd=folder)


def test_counts_come_first_then_who_and_when(folder: Path) -> None:
    done = forecast(folder, "recent", "--within", "1h")
    assert (done.code, done.err) == (0, "")
    assert done.out == """\
recent: by time alone 0 entries and 3 exits from 2026-01-01T00:50:00.000000Z until 2026-01-01T01:50:00.000000Z; \
3 of 3 users are in it now, 0 then.
2026-01-01T01:00:00.000000Z  leaves  ann
2026-01-01T01:45:00.000000Z  leaves  cid
2026-01-01T01:50:00.000000Z  leaves  bob
"""


def test_the_limit_cuts_the_list_not_the_count(folder: Path) -> None:
    done = forecast(folder, "quiet", "--within", "2h", "--limit", "1", "--at", "2026-01-01T00:40:00Z")
    assert "2 entries and 0 exits" in done.out  # cid and the second event of bob are not known yet
    assert done.out.count("enters") == 1
    assert "and 1 more" in done.err


def test_for_programs(folder: Path) -> None:
    told = json.loads(forecast(folder, "office", "--within", "2d", "--json").out)
    assert (told["users"], told["members"], told["enter"], told["leave"], told["members_then"]) == (3, 0, 6, 6, 0)
    assert told["complete"] is True
    assert told["flips"][0] == {
        "user_id": "ann", "enters": True, "at": "2026-01-01T09:00:00.000000Z", "by_event": False,
    }  # fmt: skip
    assert [flip["at"] for flip in told["flips"]] == sorted(flip["at"] for flip in told["flips"])


@pytest.mark.parametrize("within", ["0s", "1 month", "-1h", "h"])
def test_a_length_that_is_none(folder: Path, within: str) -> None:
    done = forecast(folder, "recent", f"--within={within}")
    assert done.code == 2
    assert "such as 90s, 30min, 24h" in done.err
