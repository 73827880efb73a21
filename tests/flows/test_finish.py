"""The end of a finite input: time ends only where all of it was read."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.engine import Engine, Goal
from flows.evaluate_step import ShardLogic
from flows.items import ShardPoll
from flows.shard_runner import Rules, ShardRunner
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import Poll
from storage.engine_state import Takeover
from tests.simulation.engine import plan

AT = 1_800_000_000_000_000


@pytest.mark.parametrize(("read", "ended"), [({0: 5, 1: 3}, True), ({0: 5, 1: 2}, False), ({0: 5}, False), ({}, False)])
def test_time_ends_only_where_every_partition_was_read(read: dict[int, int], ended: bool) -> None:
    takeover = Takeover(0, 1, 0, 0, {}, None, [])
    runner = ShardRunner(takeover, Shard(plan(), 2, 0, None, False), Rules(10**9, 2), 0)
    for partition, offset in read.items():
        runner.take([ShardPoll(0, 0, Poll(partition, offset, 0))], 0)
    engine: Any = SimpleNamespace(goal=Goal(True, AT), ending=False, ends={0: 5, 1: 3}, fatal=None)
    engine.guarded = lambda call: call()
    logic = ShardLogic(cast(Engine, engine))
    logic._runner = runner
    works, _ = logic.on_eof()
    reached = [work.commit.watermark for work in works]
    assert (max(reached, default=0) > AT) == ended
