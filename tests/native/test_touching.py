"""What the rows of a batch do to the cells, in C and by numpy, for batches as a shard has them."""

import copy
from collections.abc import Iterator

import numpy as np
import pytest

from loadtest import workload
from segmentation import native
from segmentation.compile import compile_files
from segmentation.evaluate.kernel import Flips, Kernel, Settled
from segmentation.evaluate.rows import CellRows, FromLog, LinearRows, ValueRows
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.steps import Steps
from segmentation.evaluate.touching import Touching
from segmentation.events.decode import Decoder
from segmentation.events.rows import Int32, Int64, Poll
from segmentation.events.schema import load_schema
from segmentation.state.chunks import Columns
from tests.native.test_kernel import rows_of, told

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
ZONE = " AT TIME ZONE 'Asia/Kolkata'"
OTHERS = {
    "residual": "sum(amount) FILTER (WHERE amount > 50 AND event_type = 'purchase') > 60",
    "computed": "sum(amount * 2 + 1) FILTER (WHERE event_time > now() - INTERVAL '7 days') > 900",
    "average": "avg(amount) FILTER (WHERE event_time > now() - INTERVAL '14 days') > 55",
    "largest": "max(amount) FILTER (WHERE event_time > now() - INTERVAL '7 days') > 99",
    "earlier": "count(*) FILTER (WHERE event_time <= now() - INTERVAL '7 days') >= 3",
    "distinct": "count(DISTINCT url) FILTER (WHERE event_time > now() - INTERVAL '7 days') >= 3",
    "weighed": "sum(amount) * 3 - 2 * count(*) > 700",
    "today": f"count(*) FILTER (WHERE event_time >= date_trunc('day', now(){ZONE}){ZONE}) >= 2",
    "enormous": "sum(amount) * 4000000000000 - count(amount) * 3 > 1",
}


def linear(*parts: LinearRows) -> list[tuple[int, int, int]]:
    rows = LinearRows.joined(list(parts))
    return sorted(zip(rows.step.tolist(), rows.cell.tolist(), rows.delta.tolist()))


def offers(rows: ValueRows) -> list[tuple[int, ...]]:
    return sorted(zip(*(getattr(rows, name).tolist() for name in ValueRows.__slots__)))


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many rows of cells there were in each batch. In each, both ways are held against each other: what is
    undecided after C has looked, what numpy makes of the rest, and what either makes of all that together."""
    found: list[int] = []
    in_c, applied = Touching.cell_rows, Kernel.apply

    def both(self: Touching, rows: Columns, phase: Int64, step: Int64) -> CellRows:
        fast, slow = in_c(self, rows, phase, step), self.by_numpy(rows, phase, step)
        assert fast.log is not None
        assert linear(fast.linear, fast.log.slowly()) == linear(slow.linear)
        for kind in ("registers", "distincts", "bags"):
            assert offers(getattr(fast, kind)) == offers(getattr(slow, kind))
        found.append(len(slow.linear.cell))
        return fast

    def settle(
        self: Kernel, rows: LinearRows, steps: Steps, log: FromLog | None = None, settled: bool = True
    ) -> tuple[Flips, Settled]:
        slow = copy.deepcopy(self.arena)
        flips, values = applied(self, rows, steps, log, True)
        every = LinearRows.joined([rows, *([] if log is None else [log.slowly()])])
        self.arena, fast = slow, self.arena
        expected, expected_values = self.apply_by_numpy(every.cell, every.step, every.delta, steps)
        self.arena = fast
        assert told(flips) == told(expected) and rows_of(values) == rows_of(expected_values)
        return flips, values

    monkeypatch.setattr(Touching, "cell_rows", both)
    monkeypatch.setattr(Kernel, "apply", settle)
    yield found


def run(files: dict[str, str]) -> None:
    schema = load_schema(workload.SCHEMA)
    stream = workload.stream(3_000, 40, 25.0, disorder=0.3)
    decoder = Decoder(schema, None)
    shard = Shard(compile_files(files, schema), 1, 250_000, 7 * workload.DAY_US, True)
    for first in range(0, 3_000, 500):
        offsets = np.arange(first, first + 500)
        rows = decoder.decode(stream.messages[first : first + 500], offsets, np.full(500, 2**60, np.int64)).rows
        high = int(rows.high[-1])
        shard.run([Poll(0, first + 500, high, high, None, rows)])


def test_definitions_of_the_workload(batches: list[int]) -> None:
    run(workload.files(40, per_user=60))
    assert sum(batches) > 10_000


@pytest.mark.parametrize("name", OTHERS)
def test_other_terms(name: str, batches: list[int]) -> None:
    run({
        "a.sql": f"SELECT user_id FROM events GROUP BY user_id HAVING {OTHERS[name]}",
        "b.sql": "SELECT user_id FROM events GROUP BY user_id HAVING sum(amount) > 100",
    })  # fmt: skip
    assert sum(batches) > 2_000


def test_products_and_ranges() -> None:
    one, none = np.ones(1, np.int64), np.zeros(0, np.int64)
    first = np.array([0, 1, 1])  # arrivals touch the term, late ones nothing
    cells = native.code.cells(0 * one, 0 * one, one, 0 * one, np.array([0, 0]), none, none)
    made = native.code.expansion(1, 1, first, 0 * one, one, 0 * one, one << 60, 0 * one, one << 60, 0 * one)
    code = np.zeros(1, np.int32)

    def apply(argument: int, valid: bool = True, code: Int32 = code, step: int = 0) -> object:
        rows = (made, none, code, 0 * one, 0 * one, step * one, [argument * one, np.array([valid])])
        data = np.zeros(1, np.int64)
        found = native.code.cells_apply(cells, rows, none, none, none, 0 * one, 0 * code, data, 1, False)
        return None if found is None else int(data[0])

    assert apply(3) == 3 << 60
    assert apply(4) is None and apply(16) is None  # beyond 62 bits, beyond 64
    assert apply(16, valid=False) == 0
    for wrong in ({"code": code + 1}, {"code": code - 1}, {"step": 1}, {"step": -1}):
        with pytest.raises(ValueError, match="out of range"):
            apply(1, **wrong)
    with pytest.raises(ValueError, match="not two arrays"):
        native.code.undecided((made, none, code, 0 * one, 0 * one, 0 * one, []))
    with pytest.raises(ValueError, match="do not belong together"):
        native.code.expansion(1, 1, first, one, one, 0 * one, one, 0 * one, one, 0 * one)
