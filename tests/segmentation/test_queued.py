"""What waits is found in the queue as in the log: each step of a shard that lets some in is what the same polls come
to where they are run again from the record, which looks through the log."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from segmentation.compile import compile_files
from segmentation.evaluate import queued
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import PROFILES, Poll
from tests.oracle.streams import profiles_of
from tests.segmentation.test_incomplete import AT, MINUTE, event
from tests.segmentation.test_slices import FILES, SCHEMA, log_of

USERS = 24
MORE = {
    "minute.sql": "SELECT user_id FROM events WHERE event_time >= date_trunc('minute', now() AT TIME ZONE 'UTC') "
    "AT TIME ZONE 'UTC' GROUP BY user_id",
    "last.sql": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '5 minutes' GROUP BY user_id "
    "HAVING arg_max(amount, event_time) >= 2",
    # It turns for everybody at instants at which something else is due for only some.
    **{
        f"clock{minute}.sql": f"SELECT user_id FROM events "
        f"WHERE now() >= TIMESTAMPTZ '2026-01-01 00:{minute:02}:00+00' GROUP BY user_id" for minute in (2, 3, 7)
    },
}  # fmt: skip
#: (minutes of the clock, events as (user, minutes late, amount), who is erased, how much may be taken).
READS = st.tuples(
    st.integers(0, 2),
    st.lists(st.tuples(st.integers(0, USERS - 1), st.sampled_from([0, 0, 0, 1, 4]), st.integers(1, 3)), max_size=USERS),
    st.none() | st.none() | st.integers(0, USERS - 1), st.integers(0, 9),
)  # fmt: skip


def polls(
    number: int, minute: int, events: list[tuple[int, int, int]], erased: int | None, offsets: list[int]
) -> list[Poll]:
    """offsets: the next of events and of profiles, which go on here."""
    clock = AT + minute * MINUTE
    rows, high = None, clock
    if events:
        messages = [
            event(number * 100 + place, minute - late, user, amount, False)
            for place, (user, late, amount) in enumerate(events)
        ]
        at = np.arange(offsets[0], offsets[0] + len(messages), dtype=np.int64)
        rows = Decoder(SCHEMA, None).decode(messages, at, np.full(len(messages), -1), partition=0).rows
        offsets[0] += len(messages)
    versions = None if erased is None else profiles_of([(f"u{erased}", clock - 2 * MINUTE)], offsets[1])
    offsets[1] += erased is not None
    return [
        Poll(PROFILES, offsets[1], clock, clock, clock, None, versions), Poll(0, offsets[0], clock, high, clock, rows),
    ]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(READS, min_size=4, max_size=16), st.sampled_from([1, 256]))
def test_the_queue_finds_what_the_log_has(
    reads: list[tuple[int, list[tuple[int, int, int]], int | None, int | None]], at_once: int
) -> None:
    plan = compile_files(FILES | MORE, SCHEMA)
    shard, again = (Shard(plan, 1, 0, None, True) for _ in range(2))
    for each in (shard, again):
        each.add_partitions(1, 1)
    everybody = [(user, 0, 1 + user % 3) for user in range(USERS)]
    minute, offsets = 0, [0, 0]
    before = queued._LEAST
    queued._LEAST = at_once
    try:
        for number, (more, events, erased, most) in enumerate([(0, everybody, None, None), *reads]):
            minute += more
            some = polls(number, minute, events, erased, offsets)
            step = shard.run(some, most)
            some[-1].front = shard.front
            twin = again.run(some)
            assert sorted(log_of(step)) == sorted(log_of(twin))
            assert (shard.front, shard.expired_to) == (again.front, again.expired_to)
    
        assert dict(shard.members()) == dict(again.members())
    finally:
        queued._LEAST = before


def test_layers_become_few_and_each_change_is_let_in_once() -> None:
    """One wave and many later instants behind it, one user each: a slice ends with its layer or with the wave."""
    plan = compile_files(FILES, SCHEMA)
    shard = Shard(plan, 1, 0, None, True)
    shard.add_partitions(1, 0)
    offsets = [0, 0]
    for minute in range(3):
        events = [(user, 0, 1) for user in range(USERS)] if not minute else [(USERS + minute, 0, 1)]
        shard.run(polls(minute, minute, events, None, offsets)[1:])
    left = []
    for number in range(3, 200):
        minute = min(number, 9)
        step = shard.run(polls(number, minute, [], None, offsets)[1:], 2 if number > 9 else 1)
        left += [(user, at) for user, _, at, _ in log_of(step)]
        queue = shard._slicing._queue
        if queue is None and number > 9:
            break
        assert queue is None or len(queue._layers) < 4
    ends = [(f"u{user}", AT + wait * MINUTE) for user in range(USERS) for wait in (3, 4)]
    ends += [(f"u{USERS + minute}", AT + (minute + wait) * MINUTE) for minute in (1, 2) for wait in (3, 4)]
    assert sorted(left) == sorted(ends) and shard.front is None
