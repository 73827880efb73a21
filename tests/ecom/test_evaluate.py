"""`tidegate evaluate` on a real clickstream against DuckDB on the same file."""

import csv
import datetime
import io
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ecom import shop

pytestmark = pytest.mark.skipif(not shop.FOUND.exists(), reason=f"the clickstream is not at {shop.FOUND}")


def evaluate(folder: Path, events: Path, *flags: str) -> list[dict[str, str]]:
    command = [
        sys.executable, "-m", "console.main", "evaluate", "--definitions", str(folder), "--events", str(events),
        "--map", shop.MAPPING, "--timezone", "UTC", *flags,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_members_and_history(tmp_path: Path) -> None:
    folder = shop.write_definitions(tmp_path / "defs")
    events = shop.write_events(tmp_path / "ecom.csv.gz")
    answers = shop.Answers(events)
    first, last = answers.ends()
    members = {(row["user_id"], row["segment"]) for row in evaluate(folder, events)}
    judged = answers.members(last)
    assert members == judged
    assert {segment for _, segment in judged} == set(shop.DEFINITIONS), "a definition without members shows nothing"

    log = evaluate(folder, events, "--transitions")
    assert [row["effective_at"] for row in log] == sorted(row["effective_at"] for row in log)
    for part in range(1, 6):
        at = first + (last - first) * part / 6
        assert folded(log, at) == answers.members(at), at
    middle = (first + (last - first) / 2).replace(microsecond=0)
    asked = evaluate(folder, events, "--at", middle.isoformat())
    assert {(row["user_id"], row["segment"]) for row in asked} == answers.members(middle)


def folded(log: list[dict[str, str]], at: datetime.datetime) -> set[tuple[str, str]]:
    inside: set[tuple[str, str]] = set()
    for row in log:
        if datetime.datetime.fromisoformat(row["effective_at"]) <= at:
            key = (row["user_id"], row["segment"])
            (inside.add if row["entered"] == "true" else inside.discard)(key)
    return inside
