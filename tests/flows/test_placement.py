"""Where Bytewax really puts the shards, against where we say it does."""

import threading
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import TestingSource, cluster_main

from flows.placement import Placement, bytewax_placement
from flows.shard_keys import shard_keys, worker_key, worker_of
from segmentation.errors import TidegateError


def placed(keys: list[str], workers: int) -> list[int]:
    """The worker that each key's logic really runs on."""
    thread_of: dict[str, int] = {}
    worker_of_thread: dict[int, int] = {}

    class Logic(StatefulBatchLogic[str, Any, None]):
        def on_batch(self, values: list[str]) -> tuple[list[Any], bool]:
            thread_of[values[0]] = threading.get_ident()
            return [], StatefulBatchLogic.RETAIN

        def snapshot(self) -> None:
            return None

    class Nothing(StatelessSinkPartition[Any]):
        def write_batch(self, items: list[Any]) -> None:
            pass

    class Sink(DynamicSink[Any]):
        def build(self, step_id: str, worker_index: int, worker_count: int) -> Nothing:
            worker_of_thread[threading.get_ident()] = worker_index
            return Nothing()

    flow = Dataflow("placement")
    source = op.input("in", flow, TestingSource([(key, key) for key in keys]))
    op.output("out", op.stateful_batch("logic", source, lambda _: Logic()), Sink())
    cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    return [worker_of_thread[thread_of[key]] for key in keys]


@pytest.mark.parametrize(("shards", "workers"), [(4, 2), (4, 4), (8, 2), (8, 4), (6, 3)])
def test_shards_are_spread_evenly(shards: int, workers: int) -> None:
    keys = list(shard_keys(shards))
    assert placed(keys, workers) == [worker_of(key, workers) for key in keys] == [s % workers for s in range(shards)]


def test_worker_keys_reach_every_worker() -> None:
    assert placed([worker_key(worker, 5) for worker in range(5)], 5) == list(range(5))


@pytest.mark.parametrize("shards", [1, 2, 3, 4, 7, 8, 16, 64, 100])
def test_even_for_every_power_of_two(shards: int) -> None:
    for power in range(shards.bit_length()):
        workers = 1 << power
        assert [worker_of(key, workers) for key in shard_keys(shards)] == [shard % workers for shard in range(shards)]


def test_every_shard_is_in_one_process() -> None:
    places = [Placement(8, workers=2, process=process, processes=2) for process in range(2)]
    assert sorted(places[0].shards_here() + places[1].shards_here()) == list(range(8))
    assert [places[0].shards_of_worker(worker) for worker in range(4)] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    with pytest.raises(TidegateError, match="5 workers for 4 shards"):
        Placement(4, workers=5)


def test_placement_from_the_command_line() -> None:
    assert bytewax_placement(4, ["flows.dataflow:flow()"]) == Placement(4)
    arguments = ["flows.dataflow:flow()", "-w", "2", "-i", "1", "-a", "a:1;b:2"]
    assert bytewax_placement(4, arguments) == Placement(4, 2, 1, 2)
