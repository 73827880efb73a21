"""Bringing shards to one place, and that nothing of a state is forgotten when its users go elsewhere."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.evaluate.redistribute import level, redistribute
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Poll
from segmentation.state.dump import unpack
from segmentation.types import NEVER
from storage.reservoir import Reservoir
from tests.oracle.running import SCHEMA

#: What is in a saved state. Whoever adds to it teaches redistribute (or an `adopt` below it) to move it too.
HANDLED: dict[str, Any] = {
    "structure": None, "next_offset": None, "high": None, "partition": None, "watermark": None, "clock": None,
    "applied_to": None, "users": None, "texts": None, "newest": None, "applied": None, "seq": None, "had_event": None,
    "homes": None, "since": None, "front": None,
    "network": {
        "cells": {"blocks": None, "data": None, "big": None},
        "registers": {"blocks": None, "data": None, "big": None},
        "gates": {"blocks": None, "data": None, "big": None},
        "event_ids": None, "values": {"key": None, "value": None, "count": None, "wide": None}, "bags": None,
    },
    "log": {
        "rows": {}, "cut_at": None, "lost": None, "dropped": None,
        "chunks": {"refs": None, "erased": None, "dirty": None},
    },
    "waiting": None, "erasures": {"digests": None, "until": None},
}  # fmt: skip


def plan() -> Plan:
    return lower([], SCHEMA)


def shard(partitions: int = 3, live: bool = False) -> Shard:
    return Shard(plan(), partitions, 10, None, live)


def test_every_part_of_a_state_is_handled(tmp_path: Path) -> None:
    state = unpack(Shard(plan(), 3, 10, None, False, Reservoir(tmp_path, 0, 1, {})).dump())
    state["log"]["rows"] = {}  # its columns are those of the plan
    assert parts(state) == HANDLED


def parts(state: Any) -> Any:
    return {name: parts(value) for name, value in state.items()} if isinstance(state, dict) else None


polls = st.lists(
    st.builds(
        Poll, partition=st.integers(0, 2), next_offset=st.just(7), clock=st.integers(0, 100), high=st.integers(0, 120),
        watermark=st.none() | st.integers(0, 100),
    ),
    max_size=6,
)  # fmt: skip


@given(st.lists(polls, min_size=2, max_size=4), st.booleans(), st.sets(st.integers(0, 3)))
def test_level_brings_all_to_one_place(each: list[list[Poll]], live: bool, grown: set[int]) -> None:
    """Whatever each has seen, also where the topic has grown and only some had noticed."""
    shards = []
    for number, some in enumerate(each):
        one = shard(3, live)
        one.run([Poll(partition, 7, NEVER) for partition in range(3)])
        if number in grown:
            one.add_partitions(4)
        one.run(some)
        shards.append(one)
    for one in shards:
        one.add_partitions(4)
        one.run([Poll(3, 0, NEVER)])
    before = [one.standing() for one in shards]
    rounds = 0
    while found := level(shards):
        rounds += 1
        assert rounds <= 2
        for one in shards:
            one.run(found)
    after = shards[0].standing()
    assert all(one.standing() == after for one in shards)
    assert after.clock == max(one.clock for one in before)
    assert after.watermark >= max(one.watermark for one in before)
    for partition, watermark in after.watermarks.items():
        assert watermark >= max(one.watermarks[partition] for one in before)
    assert all(one.standing() == after for one in redistribute(shards, 3, lambda _: shard(0, live)))
    if not live:
        assert after.watermark == max(one.watermark for one in before) or after.watermark == min(
            max(one.watermarks[partition] for one in before) for partition in range(4)
        ), "no further than it was known"
