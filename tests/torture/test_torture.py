"""A short torture, and that none of the engine's protections can be done without."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import count

import pytest

from tests.kafka_node.node import Unavailable, classpath
from tests.torture.cluster import ROOT
from tests.torture.plan import POINTS, Options, plan

#: Half an hour, for machines that do much else; on one of two cores with nothing else to do it is some 90 s.
pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(1800)]


def on_request(*variables: str) -> pytest.MarkDecorator:
    asked = any(variable in os.environ for variable in variables)
    return pytest.mark.skipif(not asked, reason="takes minutes; TIDEGATE_LONG=1 runs it")


LAST = re.compile(
    r"^torture: seed (\d+), (\d+) kills, (\d+) transitions, (\d+) missing, (\d+) extra, (\d+) repeated\n\Z", re.M
)


@pytest.fixture(scope="module", autouse=True)
def kafka() -> None:
    try:
        classpath()
    except Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(f"CI must run the torture: {reason}")
        pytest.skip(f"no Apache Kafka: {reason}")


def tortured(faults: Mapping[str, int], seed: int, **more: str) -> tuple[int, str, list[int]]:
    """(exit code, what was said, kills and the four figures)"""
    given = {"FAULTS": " ".join(f"{kind}={times}" for kind, times in faults.items()), "SEED": str(seed), **more}
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "TORTURE_SECONDS": "1200", **{f"TORTURE_{name}": value for name, value in given.items()}},
    )  # fmt: skip
    said = done.stdout + done.stderr
    found = LAST.search(done.stdout)
    assert found is not None, said
    assert int(found[1]) == seed
    return done.returncode, said, [int(number) for number in found.groups()[1:]]


@on_request("CI", "TIDEGATE_LONG")
def test_a_short_torture() -> None:
    faults = {
        "kill": 6, **dict.fromkeys(POINTS, 1), "lost_answer": 1, "revive": 1, "crash_database": 1, "drop_database": 1,
        "crash_kafka": 1, "cut_kafka": 1, "killed_reshard": 1, "terminate": 1,
    }  # fmt: skip
    code, said, (kills, transitions, *wrong) = tortured(faults, seed=1)
    assert code == 0, said
    assert wrong == [0, 0, 0]
    assert kills >= 6 + len(POINTS)
    assert transitions > 3_000, said


@on_request("TIDEGATE_LONG")
@pytest.mark.parametrize(
    ("protection", "faults", "sign"),
    [
        ("fencing", {"revive": 2}, "transitions in Postgres: "),
        ("replay", {"kill": 2}, "transitions in Postgres: "),
        ("idempotence", {"lost_answer": 2}, "transitions in the topic: "),
        ("relay_record", {"after_publish": 2}, "transitions in the topic: "),
    ],
)
def test_without_this_protection_it_is_red(protection: str, faults: Mapping[str, int], sign: str) -> None:
    def sure(seed: int) -> bool:
        """Every fault hits an engine of one process that has got something done."""
        return all(fault.first and fault.processes == 1 for fault in plan(Options(seed, faults))[0])

    code, said, (_, _, *wrong) = tortured(faults, next(filter(sure, count())), OFF=protection)
    assert code == 1, said
    assert sum(wrong) > 0, said
    # Not that the run had an unhappy end, but that it left wrong results, or that a second net caught them.
    assert sign in said or "contradict the stored membership" in said, said
