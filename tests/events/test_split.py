"""Rows by shard: everyone where `shard_of` says, in order of arrival, nobody lost."""

import json

import hypothesis
import numpy as np
from hypothesis import strategies as st

from segmentation.events.decode import Decoder
from segmentation.events.schema import load_schema
from segmentation.events.split import split
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
