"""The engine whose older events are in files, with chunks of a few rows, against its slow twin."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.reference import Flip
from segmentation.state import log
from segmentation.state.archive import ChunkRef, StoredRows
from storage.reservoir import Reservoir, Writing
from tests.oracle import cases
from tests.oracle.erasures import with_erasures
from tests.oracle.grammar import ALL_COLUMNS
from tests.oracle.running import EXAMPLES, Bits, Outcome, Tally, bound, engine, finish, planned, reference_of
from tests.oracle.strategies import Scenario, scenarios

pytestmark = pytest.mark.timeout(1_800)

#: To the very end of streams with many reads.
MANY_CUTS = st.binary(min_size=60, max_size=60).map(lambda cuts: int.from_bytes(cuts, "big"))


class Counting(Reservoir):
    def __init__(self, seen: Counter[str], folder: Path, shard: int, token: int) -> None:
        super().__init__(folder, shard, token, ALL_COLUMNS, group_rows=2)
        self._seen = seen

    def write(self, rows: StoredRows, late: bool) -> Writing:
        self._seen["late" if late else "chunks"] += 1
        return super().write(rows, late)

    def merge(self, refs: Sequence[ChunkRef], without: Mapping[int, int]) -> Writing:
        self._seen["merged"] += 1
        return super().merge(refs, without)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2), ("LONG_ROWS", 0)):
        monkeypatch.setattr(log, name, rows)


@pytest.fixture
def folder() -> Iterator[Path]:
    memory = Path("/dev/shm")  # flushing to a disk would be most of the time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@pytest.mark.parametrize("some", [scenarios(events=40), with_erasures(scenarios(events=40))], ids=["", "erasures"])
def test_logs_are_those_of_the_reference(folder: Path, some: st.SearchStrategy[Scenario]) -> None:
    tally, seen = Tally(), Counter[str]()

    @settings(max_examples=EXAMPLES // 6)
    @given(some, MANY_CUTS)
    def property_(scenario: Scenario, cuts: int) -> None:
        _hold(scenario, cuts, folder, tally, seen)

    property_()
    tally.check()
    print(dict(seen))
    if tally.examples >= 100:
        assert all(seen[what] > 0 for what in ("chunks", "late")), seen


@pytest.mark.parametrize("file", sorted(cases.FOLDER.glob("*.yml")), ids=lambda file: file.stem)
def test_cases(file: Path, folder: Path) -> None:
    # With the state saved and loaded after each poll.
    _hold(cases.load(file.read_text()), 2**200 - 1, folder, Tally(), Counter())


def _hold(scenario: Scenario, cuts: int, folder: Path, tally: Tally, seen: Counter[str]) -> None:
    plan = planned(bound(scenario, tally), tally)
    reference = reference_of(scenario, plan.segments)
    finish(reference, scenario)
    tally.add(reference.log)
    token = 0

    def archive(shard: int) -> Reservoir:
        nonlocal token
        token += 1
        return Counting(seen, folder, shard, token)

    outcome = engine(scenario, plan, 2, Bits(cuts), archive=archive)
    for path in folder.rglob("*.*"):
        path.unlink()
    said = f"{_text(outcome)}\n{cases.log_text(reference.log)}\n{cases.dump(scenario)}"
    assert _text(outcome) == cases.log_text(sorted(reference.log, key=_key)), said
    assert outcome.members == reference.members(), said
    assert outcome.repeated == reference.repeated, said


def _text(outcome: Outcome) -> str:
    return cases.log_text(sorted(outcome.log, key=_key))


def _key(flip: Flip) -> tuple[str, int, str]:
    return flip.user_id, flip.seq, flip.segment
