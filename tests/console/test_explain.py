"""`tidegate validate --explain`, as a person and as a program reads it."""

import json
from pathlib import Path

from tests.console.run_command import tidegate


def folder(path: Path, **definitions: str) -> Path:
    (path / "schema.yml").write_text("events:\n  url: {type: text}\n")
    for name, text in definitions.items():
        (path / f"{name}.sql").write_text(f"SELECT user_id FROM events {text}")
    return path


DEFINITIONS = {
    "buyers": "WHERE event_type = 'buy'",
    "wide": "GROUP BY user_id HAVING count(DISTINCT url) > 3",
    "wide_buyers": "WHERE event_type = 'buy' INTERSECT SELECT user_id FROM events GROUP BY user_id"
    " HAVING count(DISTINCT url) > 3",
}


def test_for_a_person(tmp_path: Path) -> None:
    done = tidegate("validate", folder(tmp_path, **DEFINITIONS), "--explain")
    assert done.code == 0 and not done.err
    assert done.out == f"""\
buyers ({tmp_path / "buyers.sql"})
  - count(*) WHERE event_type = 'buy'  [8 bytes, also read by wide_buyers]
  state: 8 bytes per user

wide ({tmp_path / "wide.sql"})
  - the different values of url  [72 bytes per different value, also read by wide_buyers]
  - count(DISTINCT url)  [8 bytes, also read by wide_buyers]
  state: 8 bytes per user and what grows
  warning: the different values of url: keeps every different value that a user ever has

wide_buyers ({tmp_path / "wide_buyers.sql"})
  same as `buyers` INTERSECT `wide`
  - count(*) WHERE event_type = 'buy'  [8 bytes, also read by buyers]
  - the different values of url  [72 bytes per different value, also read by wide]
  - count(DISTINCT url)  [8 bytes, also read by wide]
  state: 16 bytes per user and what grows
  warning: the different values of url: keeps every different value that a user ever has

3 definitions, 3 features (3 shared), 0 windows, at most 16 bytes per user besides what grows
"""


def test_for_a_program(tmp_path: Path) -> None:
    done = tidegate("validate", folder(tmp_path, **DEFINITIONS), "--explain", "--json")
    found = json.loads(done.out)
    assert done.code == 0 and found["ok"] and found["total"]["shared"] == 3
    wide = {one["name"]: one for one in found["explained"]}["wide_buyers"]
    assert wide["same_as"] == "`buyers` INTERSECT `wide`" and len(wide["warnings"]) == 1
    assert wide["features"][0]["shared_with"] == ["buyers"] and wide["features"][0]["bytes"] == 8


def test_problems_come_first(tmp_path: Path) -> None:
    done = tidegate("validate", folder(tmp_path, good="GROUP BY user_id", bad="WHERE ulr = 'x'"), "--explain")
    assert done.code == 2 and "Unknown column ulr" in done.out and "state:" not in done.out
