"""Gates in C and by numpy: the same flips of segments, batch after batch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation import native
from segmentation.compile.plan import Gate, Plan, Reach
from segmentation.evaluate.gate_levels import GateLevels
from segmentation.evaluate.kernel import Flips
from tests.native.test_kernel import steps_of_users, told

pytestmark = pytest.mark.skipif(not native.ENABLED, reason="needs the C part")
LEAVES = 5


@st.composite
def plans(draw: st.DrawFn, wide: bool = False) -> Plan:
    signals: list[Reach | Gate] = [Reach(0, n) for n in range(LEAVES)]
    for _ in range(draw(st.integers(0, 8))):
        inputs = st.tuples(st.integers(0, len(signals) - 1), st.booleans())
        of = draw(st.lists(inputs, min_size=1, max_size=4))
        signals.append(Gate(draw(st.booleans()), tuple(of)))
    if wide:  # so many inputs that a value needs 32 bits
        signals.append(Gate(True, tuple((n % LEAVES, False) for n in range(2**15))))
    root = st.none() | st.tuples(st.integers(0, len(signals) - 1), st.booleans())
    return Plan([], roots=draw(st.lists(root, max_size=8)), signals=[*signals])


def starts_of(plan: Plan, leaves: list[bool]) -> list[bool]:
    starts = list(leaves)
    for signal in plan.signals[LEAVES:]:
        assert isinstance(signal, Gate)
        held = [starts[of] != negated for of, negated in signal.inputs]
        starts.append(all(held) if signal.all else any(held))
    return starts


def hold(plan: Plan, leaves: list[bool], batches: list[list[tuple[int, set[int]]]]) -> None:
    """batches: of steps (user, the leaves that turn there); the rows come in any order."""
    fast, slow = GateLevels(plan, starts_of(plan, leaves)), GateLevels(plan, starts_of(plan, leaves))
    fast.arena._data = fast.arena._data[:1].copy()
    now: dict[tuple[int, int], bool] = {}
    for batch in batches:
        batch = sorted(batch, key=lambda step: step[0])
        rows = []
        for step, (user, turning) in enumerate(batch):
            for leaf in turning:
                now[user, leaf] = not now.get((user, leaf), leaves[leaf])
                rows.append((leaf, step, now[user, leaf]))
        steps = steps_of_users(np.array([user for user, _ in batch], np.int64))
        shuffled = np.array(rows, np.int64).reshape(-1, 3)[np.random.default_rng(len(rows)).permutation(len(rows))]
        flips = Flips(shuffled[:, 0], shuffled[:, 1], shuffled[:, 2] == 1)
        found, expected = fast.apply(flips, steps), slow.apply_by_numpy(flips, steps)
        assert told(found) == told(expected)
        order = list(zip(found.step.tolist(), found.signal.tolist()))
        assert order == sorted(order)
        for gate in range(len(fast.arena.slot)):
            users = np.arange(10)
            assert fast.arena.peek(gate, users).tolist() == slow.arena.peek(gate, users).tolist()


LEAVES_AT_FIRST = st.lists(st.booleans(), min_size=LEAVES, max_size=LEAVES)
BATCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 3), st.sets(st.integers(0, LEAVES - 1), max_size=3)), max_size=8), max_size=4
)


@given(plans(), LEAVES_AT_FIRST, BATCHES)
def test_levels(plan: Plan, leaves: list[bool], batches: list[list[tuple[int, set[int]]]]) -> None:
    hold(plan, leaves, batches)


@settings(max_examples=5)
@given(plans(wide=True), LEAVES_AT_FIRST, BATCHES)
def test_gates_of_32_bits(plan: Plan, leaves: list[bool], batches: list[list[tuple[int, set[int]]]]) -> None:
    hold(plan, leaves, batches)


@pytest.mark.parametrize(("signal", "step"), [(LEAVES + 1, 0), (-1, 0), (0, 1)])
def test_what_is_out_of_range_is_refused(signal: int, step: int) -> None:
    plan = Plan([], roots=[(LEAVES, False)], signals=[*(Reach(0, n) for n in range(LEAVES)), Gate(True, ((0, False),))])
    levels = GateLevels(plan, starts_of(plan, [False] * LEAVES))
    flips = Flips(np.array([signal]), np.array([step]), np.ones(1, np.bool_))
    with pytest.raises(ValueError, match="out of range"):
        levels.apply(flips, steps_of_users(np.zeros(1, np.int64)))


def test_gates_that_do_not_belong_together_are_refused() -> None:
    one, none = np.ones(1, np.int64), np.zeros(0, np.int64)
    edges = np.array([0, 1])
    with pytest.raises(ValueError, match="do not belong together"):  # a gate that goes into itself
        native.code.gates(one, one, 0 * one, one, edges, 0 * one, one, 0 * edges, none, none, 0)
