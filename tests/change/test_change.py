"""A short proof of changes: a threshold, what the guard holds, a column declared now, and a wrong evaluation."""

import os
import re
import subprocess
import sys

import pytest

from tests.change.edits import EDITS
from tests.kafka_node.node import Unavailable, classpath
from tests.torture.cluster import ROOT
from tests.torture.test_torture import on_request

#: Half an hour, for machines that do much else; on one of two cores with nothing else to do it is some 90 s.
pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(1800)]

LAST = re.compile(r"^change: (\d+) edits, (\d+) kills, (\d+) differences, (\d+) flaps\n\Z", re.M)
SOME = [place for place, edit in enumerate(EDITS) if edit.what.startswith("a threshold,") or edit.held == "withdraw"]
SOME.append(next(place for place, edit in enumerate(EDITS) if edit.what.startswith("a column")))


@on_request("TIDEGATE_LONG")
def test_a_short_proof() -> None:
    try:
        classpath()
    except Unavailable as reason:
        pytest.skip(f"no Apache Kafka: {reason}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.change"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "CHANGE_ONLY": " ".join(map(str, SOME)), "CHANGE_SEED": "5", "CHANGE_KILLS": "0.3"},
    )  # fmt: skip
    said = done.stdout + done.stderr
    found = LAST.search(done.stdout)
    assert done.returncode == 0 and found is not None, said
    assert list(map(int, found.groups()))[::2] == [len(SOME), 0] and found[4] == "0"
    assert "the audit finds" in said and "1 versions were held, 1 of them taken back" in said
