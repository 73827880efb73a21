"""The measurement of serving runs, finds no wrong answer, and would find one."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from loadtest import serving
from loadtest import serving_world as world

pytestmark = pytest.mark.postgres


@pytest.mark.skipif("TIDEGATE_LONG" not in os.environ, reason="half a minute: TIDEGATE_LONG=1 runs it")
def test_it_measures_and_every_answer_is_what_the_log_says() -> None:
    words = ["--users=300", "--segments=10", "--rate=500", "--seconds=1", "--soak=4", "--break-every=1"]
    done = subprocess.run([sys.executable, "-m", "loadtest.serving", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["soak_wrong_answers"] == result["soak_failed_calls"] == 0, done.stderr
    assert result["soak_answers"] > 0 and result["soak_database_crashes"] > 0
    assert result["unary_ratio"] > 0 and result["batch_checks_per_s"] > 0
    assert json.loads((serving.OUT / "serving.json").read_text())["latency"]["check"]["calls"] > 0
    assert "## check: " in (serving.OUT / "serving.md").read_text()


def test_an_answer_that_the_log_does_not_give_is_found(database_url: str) -> None:
    world.fill(database_url, 40, 3)
    traffic = world.Traffic(database_url, 40, 3, seed=1)
    for _ in range(5):
        traffic.commit(40)
    end, told = 4_000_000_000_000_000, dict[str, Any]()
    inside = world.Traffic(database_url, 40, 3, seed=2)._inside  # read back from the log
    assert (inside == traffic._inside).all()
    begin = [
        (f"u{i}", world.segment_name(s), bool(was), world.START_US if was else 0, world.START_US)
        for i, row in enumerate(world.inside_at_start(40, 3)) for s, was in enumerate(row)
    ]  # fmt: skip
    assert serving.wrong_answers(database_url, begin, told) == 0 and told["checked"] == 120
    turned = [(user, segment, not member, 0, as_of) for user, segment, member, _, as_of in begin]
    assert serving.wrong_answers(database_url, turned, told) == 120
    stale = [(user, segment, member, since, end) for user, segment, member, since, _ in begin]
    changed = int((inside != world.inside_at_start(40, 3)).sum())
    assert changed and serving.wrong_answers(database_url, stale, told) >= changed
