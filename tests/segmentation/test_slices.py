"""Many users, few instants: in slices of any size, run again in portions of any size from the record, the same."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Step
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.events.schema import load_schema
from tests.segmentation.test_incomplete import AT, MINUTE, event

SCHEMA = load_schema("events:\n  amount: {type: bigint}\n  note: {type: text}\n  weight: {type: bigint}\n")
FILES = {
    f"{name}.sql": "SELECT user_id FROM events GROUP BY user_id "
    f"HAVING count(*) FILTER (WHERE event_time > now() - INTERVAL '{minutes} minutes') >= {least}"
    for name, minutes, least in (("short", 3, 1), ("long", 4, 1), ("twice", 4, 2))
}
USERS = 30
Log = list[tuple[str, int, int, tuple[int, ...]]]
#: (minute of the clock, users who have an event of that minute or None for nobody, how much may be taken).
READS = st.tuples(
    st.integers(0, 2), st.none() | st.lists(st.integers(0, USERS - 1), min_size=1, max_size=USERS, unique=True),
    st.none() | st.integers(0, 12),
)


def log_of(step: Step) -> Log:
    said = step.transitions
    return [
        (user, int(said.seq[i]), int(said.effective_at[i]), tuple(said.segment[said.first[i] : said.first[i + 1]]))
        for i, user in enumerate(said.user_id)
    ]


def poll(number: int, minute: int, users: list[int] | None, offset: int) -> Poll:
    clock = AT + minute * MINUTE
    if users is None:
        return Poll(0, offset, clock, watermark=clock)
    messages = [event(number * USERS + user, minute, user, 1, False) for user in users]
    offsets = np.arange(offset, offset + len(messages), dtype=np.int64)
    rows = Decoder(SCHEMA, None).decode(messages, offsets, np.full(len(messages), -1), partition=0).rows
    return Poll(0, offset + len(messages), clock, int(rows.high[-1]), None, rows)


def again_of(poll: Poll, step: Step, shard: Shard) -> Poll:
    (part,) = step.parts
    return Poll(0, poll.next_offset, part.clock, poll.high, part.watermark, poll.rows, front=shard.front)


@given(st.lists(READS, min_size=4, max_size=14), st.lists(st.booleans(), min_size=14, max_size=14), st.integers(0, 14))
def test_slices(reads: list[tuple[int, list[int] | None, int | None]], cuts: list[bool], killed: int) -> None:
    plan = compile_files(FILES, SCHEMA)
    shard, whole, again = (Shard(plan, 1, 0, None, True) for _ in range(3))
    log: Log = []
    expected: Log = []
    after: Log = []
    waiting: list[Poll] = []
    minute = offset = 0
    for number, (more, users, most) in enumerate(reads):
        minute += more
        one = poll(number, minute, users, offset)
        offset = one.next_offset
        step = shard.run([one], most)
        assert shard.expired_to <= shard.watermark
        log += log_of(step)
        expected += log_of(whole.run([one]))
        if number < killed:  # what was committed is run again, in other portions
            waiting.append(again_of(one, step, shard))
            if cuts[number % len(cuts)] or number == min(killed, len(reads)) - 1:
                again.run(waiting)
                waiting = []
                if number == min(killed, len(reads)) - 1:
                    assert (again.front, again.watermark) == (shard.front, shard.watermark)
                    assert sorted(again.members()) == sorted(shard.members())
                    after = list(log)
        else:  # and then goes on, with slices of its own
            after += log_of(again.run([one], 3))
    end = AT + (minute + 10) * MINUTE
    last = Poll(0, offset, end, watermark=end)
    log += log_of(shard.run([last]))
    expected += log_of(whole.run([last]))
    after += log_of(again.run([last]))
    assert sorted(log) == sorted(expected) == sorted(after)
    assert shard.front is None and dict(shard.members()) == dict(whole.members()) == dict(again.members())


def test_one_instant_is_taken_in_as_many_steps_as_are_needed() -> None:
    shard = Shard(compile_files(FILES, SCHEMA), 1, 0, None, True)
    shard.run([poll(0, 0, list(range(USERS)), 0)])
    gone = []
    for number in range(8):
        clock = AT + 3 * MINUTE + 1 + number
        step = shard.run([Poll(0, USERS, clock, watermark=clock)], 4)
        gone += step.transitions.user_id
        assert set(step.transitions.effective_at.tolist()) == {AT + 3 * MINUTE}
        assert shard.expired_to == (AT + 3 * MINUTE if number < 7 else clock)
        assert json.dumps(shard.front) == json.dumps(Shard.load(shard.dump(), shard.plan, 0, 0, None, True).front)
    assert sorted(gone) == sorted(f"u{user}" for user in range(USERS))
