"""Rows by shard: everyone where `shard_of` says, in order of arrival, nobody lost."""

import json

import hypothesis
import numpy as np
from hypothesis import strategies as st

from segmentation.events.decode import Decoder
from segmentation.events.schema import load_schema
from segmentation.events.split import split, split_reads
from segmentation.shards import shard_of
from tests.events import twin

SCHEMA = load_schema("events: {n: {type: bigint}}")


@hypothesis.given(
    st.lists(st.sampled_from(["a", "b", "ü", "d", "e" * 40, "\U0001f600"]), max_size=30), st.integers(1, 9)
)
def test_every_row_once_and_where_it_belongs(users: list[str], shards: int) -> None:
    fixed = {"event_type": "x", "event_time": "2024-01-01T00:00:00Z"}
    values = [
        json.dumps(fixed | {"user_id": user, "event_id": str(row), "n": row}).encode() for row, user in enumerate(users)
    ]
    rows = Decoder(SCHEMA, None).decode(values, np.arange(len(users)), np.zeros(len(users), np.int64)).rows
    parts = split(rows, shards)
    assert len(parts) == shards
    for shard, part in enumerate(parts):
        mine = [row for row, user in enumerate(users) if shard_of(user, shards) == shard]
        assert part.offset.tolist() == mine
        found = [twin.of_rows(part, row, SCHEMA) for row in range(len(part))]
        assert [(each["user_id"], each["event_id"], each["n"]) for each in found] == [
            (users[row], str(row), row) for row in mine
        ]


def test_one_shard_costs_nothing() -> None:
    rows = Decoder(SCHEMA, None).decode([], np.zeros(0, np.int64), np.zeros(0, np.int64)).rows
    assert split(rows, 1) == [rows]


@hypothesis.given(st.lists(st.lists(st.sampled_from("abcdefg"), max_size=6), min_size=1, max_size=5), st.integers(1, 5))
def test_several_reads_at_once_are_as_each_by_itself(reads: list[list[str]], shards: int) -> None:
    fixed = {"event_type": "x", "event_time": "2024-01-01T00:00:00Z", "n": 1}
    first = np.cumsum([0, *map(len, reads)])
    values = [
        json.dumps(fixed | {"user_id": user, "event_id": str(row)}).encode()
        for row, user in enumerate(user for read in reads for user in read)
    ]
    stamps = np.arange(len(values)) + 100
    rows = Decoder(SCHEMA, None).decode(values, np.arange(len(values)), stamps).rows
    for shard, parts in enumerate(split_reads(rows, stamps, first, shards)):
        for (part, own_stamps), start, read in zip(parts, first[:-1].tolist(), reads, strict=True):
            mine = [str(start + place) for place, user in enumerate(read) if shard_of(user, shards) == shard]
            assert ([] if part is None else part.event_id.tolist()) == mine
            assert own_stamps.tolist() == [100 + int(each) for each in mine]
            assert part is None or part.user_ids is rows.user_ids
