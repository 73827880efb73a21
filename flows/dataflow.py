"""The flow, whole: Kafka -> decode -> shard -> evaluate -> Postgres.

    python -m bytewax.run "flows.dataflow:flow()"

starts it with the settings of tidegate.yml and the TIDEGATE_* variables, in one process or, with
Bytewax's `-w`, `-i` and `-a`, in several.
"""

from bytewax import operators as op
from bytewax.dataflow import Dataflow

from flows.engine import Engine
from flows.evaluate_step import ShardLogic
from flows.sink import PostgresSink
from flows.source import KafkaSource
from flows.steps import by_shard, decode, to_shards


def build(engine: Engine) -> Dataflow:
    dataflow = Dataflow("tidegate")
    read = op.input("kafka", dataflow, KafkaSource(engine))
    keyed = op.flat_map_batch("shard", read, lambda items: by_shard(to_shards(engine, decode(engine, items))))
    steps = op.stateful_batch("evaluate", keyed, lambda resumed: ShardLogic(engine))
    op.output("postgres", steps, PostgresSink(engine))
    return dataflow


def flow() -> Dataflow:
    """For `python -m bytewax.run`."""
    from flows.run import open_for_bytewax

    return build(open_for_bytewax())
