"""The measurement of serving runs, finds no wrong answer, and would find one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest import serving_world as world
from loadtest.serving_compare import Answer, compare
from loadtest.serving_engine import definitions
from loadtest.serving_soak import OUT
from segmentation.compile import compile_files
from segmentation.events.schema import load_schema

pytestmark = pytest.mark.postgres


@pytest.mark.skipif("TIDEGATE_LONG" not in os.environ, reason="half a minute: TIDEGATE_LONG=1 runs it")
def test_it_measures_and_every_answer_is_what_the_log_says() -> None:
    words = ["--users=300", "--segments=10", "--rate=500", "--seconds=1", "--soak=12", "--break-every=3",
             "--soak-rate=300"]  # fmt: skip
    done = subprocess.run([sys.executable, "-m", "loadtest.serving", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["soak_wrong_answers"] == result["soak_failed_calls"] == 0, done.stderr
    assert result["soak_answers"] > 0 and result["soak_flips_met"] > 0
    assert result["soak_database_crashes"] > 0 and result["soak_engine_kills"] > 0
    assert result["unary_ratio"] > 0 and result["batch_checks_per_s"] > 0
    assert json.loads((OUT / "serving.json").read_text())["latency"]["check"]["calls"] > 0
    assert "## check: " in (OUT / "serving.md").read_text()


def test_an_answer_that_the_log_does_not_give_is_found(database_url: str, tmp_path: Path) -> None:
    world.fill(database_url, 40, 3)
    traffic = world.Traffic(database_url, 40, 3, seed=1)
    for _ in range(5):
        traffic.commit(40)
    end = 4_000_000_000_000_000
    inside = world.Traffic(database_url, 40, 3, seed=2)._inside  # read back from the log
    assert (inside == traffic._inside).all()
    begin = [
        Answer(f"u{i}", world.segment_name(s), bool(was), world.START_US if was else 0, world.START_US)
        for i, row in enumerate(world.inside_at_start(40, 3)) for s, was in enumerate(row)
    ]  # fmt: skip
    inside_from = {(user, segment): since for user, segment, was, since, *_ in begin if was}
    fine = compare(database_url, begin, inside_from)
    assert fine.wrong == 0 and fine.answers == 120
    fine.write(tmp_path / "wrong.csv")
    assert not list(tmp_path.iterdir())
    turned = compare(database_url, [one._replace(member=not one.member, since=0) for one in begin], inside_from)
    assert turned.wrong == 120
    turned.write(tmp_path / "wrong.csv")
    assert len((tmp_path / "wrong.csv").read_text().splitlines()) == 121
    stale = [one._replace(as_of=end) for one in begin]
    changed = int((inside != world.inside_at_start(40, 3)).sum())
    assert changed and compare(database_url, stale, inside_from).wrong >= changed


def test_the_definitions_of_the_soak_are_valid() -> None:
    found = definitions(4)
    schema = load_schema(found.pop("schema.yml"))
    assert compile_files(found, schema).names == [world.segment_name(slot) for slot in range(4)]
