"""Thousands of schedules: whatever is killed, hangs, comes back or is half written, what is committed is
what the record says, once, and every file that a saved state names is whole.

    TIDEGATE_SCHEDULES=20000 python -m pytest tests/simulation -s       (from TIDEGATE_SEED on)
"""

import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest

from segmentation.state import log
from storage.saved_state import damage, read
from tests.flows.test_recovery import check
from tests.flows.world import COLUMNS
from tests.simulation.engine import Simulation, plan

SCHEDULES = int(os.environ.get("TIDEGATE_SCHEDULES", 250 if "CI" in os.environ else 60))
SEED = int(os.environ.get("TIDEGATE_SEED", 1))
#: Schedules that once showed a defect.
FOUND: list[int] = []
PLAN = plan()

pytestmark = pytest.mark.timeout(1_800)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2), ("LONG_ROWS", 0)):
        monkeypatch.setattr(log, name, rows)
    # In memory: a flush costs much and says nothing here.
    monkeypatch.setattr("os.fsync", lambda handle: None)


def run(seed: int, **protections: bool) -> tuple[Simulation, int]:
    """(the simulation, the number of transitions)."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        simulation = Simulation(seed, Path(name), PLAN, protections)
        simulation.run()
        simulation.world.stored = simulation.database.shards  # type: ignore[assignment]
        flips = check(simulation.world)
        for shard in simulation.database.shards:
            if shard.saved is not None:
                saved = read(Path(name), shard.saved)
                assert [problem for _, problem in damage(Path(name), saved, COLUMNS) if problem] == []
    return simulation, flips


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found(seed: int) -> None:
    run(seed)


def test_schedules() -> None:
    kills, flips, flipping = Counter[str](), 0, 0
    for seed in range(SEED, SEED + SCHEDULES):
        try:
            simulation, flipped = run(seed)
        except BaseException:
            print(f"seed {seed}")
            raise
        kills.update(simulation.kills)
        flips, flipping = flips + flipped, flipping + bool(flipped)
    print(f"seeds {SEED} to {SEED + SCHEDULES - 1}: {flips} transitions; killed {dict(kills)}")
    assert flipping * 4 >= SCHEDULES * 3
    if SCHEDULES >= 250:
        for where in ("in a chunk", "in a state", "before a commit", "after a commit", "in a clean-up"):
            assert kills[where] > 0, where


@pytest.mark.parametrize("protection", ["fencing", "replay", "idempotence"])
def test_without_a_protection_it_is_noticed(protection: str) -> None:
    for seed in range(1, 200):
        try:
            run(seed, **{protection: False})
        except (Exception, AssertionError) as error:
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:100]}")
            return
    pytest.fail(f"200 schedules without {protection}, and nobody noticed")
