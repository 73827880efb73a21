"""Sums beyond 64 bits: exact on the way up, past the edge, and back to the last unit."""

from hypothesis import given
from hypothesis import strategies as st

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.schema import load_schema
from segmentation.reference import Event, Reference
from segmentation.types import BIGINT, TEXT, numeric
from tests.oracle.strategies import Read
from tests.oracle.streams import polls_of

SCHEMA = load_schema('events:\n  n: {type: bigint}\n  a: {type: "numeric(18,2)"}\n')
COLUMNS = {"event_type": TEXT, "n": BIGINT, "a": numeric(18, 2)}
HUGE = [2**63 - 1, -(2**63), 2**62, -(2**62), 2**62 - 1, 3, -3, 0]
FILES = {
    "window.sql": "SELECT user_id FROM events GROUP BY user_id HAVING "
    "sum(n) FILTER (WHERE event_time > now() - INTERVAL '5 microseconds') >= 9223372036854775808",
    "negative.sql": "SELECT user_id FROM events GROUP BY user_id HAVING sum(n) < -9223372036854775808",
    "equal.sql": "SELECT user_id FROM events GROUP BY user_id HAVING "
    "coalesce(sum(n) FILTER (WHERE event_time > now() - INTERVAL '3 microseconds'), 0) = 0",
    "twice.sql": "SELECT user_id FROM events GROUP BY user_id HAVING 2 * sum(n) - sum(n + n) = 0",
    "product.sql": "SELECT user_id FROM events GROUP BY user_id HAVING "
    "sum(n) * sum(n) > 85070591730234615847396907784232501249",
    "filter.sql": "SELECT user_id FROM events WHERE n * n > 42 GROUP BY user_id HAVING count(*) > 1",
    "last.sql": "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(n, event_time) = min(n)",
    "most.sql": "SELECT user_id FROM events GROUP BY user_id HAVING max(n) > sum(n)",
}


AMOUNT = st.sampled_from(HUGE) | st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.tuples(st.integers(0, 3), AMOUNT), min_size=1, max_size=12))
def test_no_sum_wraps_around(amounts: list[tuple[int, int]]) -> None:
    plan = compile_files(FILES, SCHEMA)
    time, events = 1_000, []
    for number, (gap, n) in enumerate(amounts):
        time += gap
        events.append(Event("u", f"e{number}", time, {"event_type": "x", "n": n, "a": None}))
    reference = Reference(plan.segments, 1, 0, None, False)
    for event in events:
        reference.event(0, event, 0)
    reference.finish(time + 20)
    shard = Shard(plan, 1, 0, None, False)
    steps = []
    for poll in polls_of([Read(0, 0, events)], COLUMNS, 1, lambda _read, event: event % 3 == 0)[0]:
        steps.append(shard.run([poll]))
        shard = Shard.load(shard.dump(), plan, 1, 0, None, False)
    steps.append(shard.finish(time + 20))
    log = [
        (int(t.seq[m]), plan.names[t.segment[f]], bool(t.entered[f]), int(t.effective_at[m]))
        for t in (step.transitions for step in steps)
        for m in range(len(t)) for f in range(t.first[m], t.first[m + 1])
    ]
    assert sorted(log) == sorted((f.seq, f.segment, f.entered, f.effective_at) for f in reference.log)
    assert {("u", plan.names[s]) for _, inside in shard.members() for s in inside} == reference.members()
