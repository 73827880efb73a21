"""With the clock of the world no late event takes effect at an instant that answers were given about."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.events.schema import load_schema
from tests.segmentation.test_incomplete import AT, event

SCHEMA = load_schema("events:\n  amount: {type: bigint}\n  note: {type: text}\n  weight: {type: bigint}\n")
FILES = {
    "last.sql": "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(amount, event_time) = 1",
    "some.sql": "SELECT user_id FROM events GROUP BY user_id HAVING arg_max(amount, event_time) = 2",
}
LATENESS = 1_000_000
#: (partition, minute of the event, user, amount; None: the partition is idle), in steps.
READS = st.tuples(st.integers(0, 1), st.none() | st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(0, 2)))


@given(st.lists(st.lists(READS, min_size=1, max_size=4), min_size=1, max_size=12))
def test_what_was_told_stays_true(steps: list[list[tuple[int, tuple[int, int, int] | None]]]) -> None:
    plan, decoder = compile_files(FILES, SCHEMA), Decoder(SCHEMA, None)
    shard, again = Shard(plan, 2, LATENESS, None, True), Shard(plan, 2, LATENESS, None, True)
    told: dict[str, int] = {}
    flipped: dict[str, int] = {}
    number, offsets = 0, [0, 0]
    for turn, reads in enumerate(steps):
        polls, times = [], set()
        # The clock is later than all events.
        now = AT + 20 * 60_000_000 + turn * 8_000
        for partition, one in reads:
            if one is None:
                polls.append(Poll(partition, offsets[partition], now, watermark=now - LATENESS))
                continue
            number += 1
            rows = decoder.decode(
                [event(number, *one, False)], np.array([offsets[partition]]), np.array([-1]), partition=partition
            ).rows
            times.add(AT + one[0] * 60_000_000)
            offsets[partition] += 1
            polls.append(Poll(partition, offsets[partition], now, int(rows.high[-1]), None, rows))
        before = shard.watermark
        nudges = shard.nudges(polls)
        step = shard.run([*nudges, *polls])
        assert shard.watermark >= before
        for user, at in zip(step.transitions.user_id, step.transitions.effective_at.tolist()):
            # Of two events of one instant, both in time, the second may come later.
            assert at > told.get(user, before - 1) or (at == flipped.get(user) and at in times)
            flipped[user] = at
        # What the answers after this step are complete up to.
        told = {user: max(shard.watermark - 1, flipped.get(user, shard.watermark - 1)) for user in ("u0", "u1")}
        # Run again from what is recorded: the same.
        recorded = [
            Poll(part.partition, part.next_offset, part.clock, poll.high, part.watermark, poll.rows)
            for part, poll in zip(step.parts, [*nudges, *polls], strict=True)
        ]
        same = again.run(recorded)
        assert again.watermark == shard.watermark and again.dump() == shard.dump()
        assert same.transitions.effective_at.tolist() == step.transitions.effective_at.tolist()
