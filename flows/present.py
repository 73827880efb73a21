"""A shard from its saved state to its last committed step, beside a running engine: the recorded steps are run again,
as a restarted engine runs them (flows.catch_up), on messages read from Kafka again. Nothing is written or taken over.
"""

import threading

from flows import kafka
from flows.catch_up import CatchUp
from flows.engine import Engine, Goal, meaning_of
from flows.pace import Pace
from flows.partitions import bounds, there_are
from flows.placement import Placement
from flows.reading import read_to
from flows.steps import decode, to_shards
from segmentation.errors import TidegateError
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.profiles import ProfileDecoder
from segmentation.events.rows import partition_name
from storage.checkpoints import CheckpointStore
from storage.disk import StorageError
from storage.one_user import Deployed, NotReplayed
from storage.reservoir import kept_columns
from storage.settings import Settings
from storage.standing import Standing

#: Kafka is waited for so long, and what it delivers so long, s.
REACH_SECONDS, READ_SECONDS = 5.0, 120.0
#: What fits into memory and patience: messages since the saved state.
MESSAGES_MAX = 20_000_000


class Present:
    """See storage.one_user.Replay. settings: for the way to Kafka; what they say of the engine must be what it runs
    with."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def __call__(self, what: Deployed, standing: Standing, shard: Shard) -> None:
        stop = threading.Event()
        limit = threading.Timer(READ_SECONDS, stop.set)
        limit.daemon = True
        limit.start()
        try:
            self._run(what, standing, shard, stop)
        except StorageError:
            raise  # a file that was deleted meanwhile: to be tried again with what is saved then
        except kafka.Stopped:
            raise NotReplayed(
                f"Kafka at {self._settings.kafka} did not deliver what arrived since within {READ_SECONDS:g} s."
            ) from None
        except TidegateError as error:
            raise error if isinstance(error, NotReplayed) else NotReplayed(str(error)) from error
        finally:
            limit.cancel()

    def _run(self, what: Deployed, standing: Standing, shard: Shard, stop: threading.Event) -> None:
        settings = self._settings.model_copy(update={"shards": what.shards})
        differing = sorted(name for name, value in meaning_of(settings).items() if what.options.get(name) != value)
        for name in ("lateness", "dedupe_horizon"):  # stored with six digits
            if name in what.options and float(what.options[name]) != getattr(settings, name):
                differing.append(name)
        if differing:
            raise NotReplayed(f"these settings are not the engine's: {', '.join(differing)}.")
        reached = dict(standing.record.offsets)
        ends = {part.partition: part.next_offset for part in standing.parts}
        starts = {partition: reached.get(partition, 0) for partition in ends}
        needed = {partition: end for partition, end in ends.items() if end > starts[partition]}
        run = CatchUp(shard, standing.parts, reached)
        if needed:
            engine = _reader(settings, what, {partition: starts[partition] for partition in needed}, needed, stop)
            for reads in read_to(engine, needed):
                items = [item for _, item in to_shards(engine, decode(engine, reads))]
                run.take(item for item in items if item.shard == standing.shard)
        else:
            run.take([])
        if not run.done:
            raise NotReplayed("messages that the engine has counted since are missing in the topic.")


def _reader(
    settings: Settings, what: Deployed, starts: dict[int, int], ends: dict[int, int], stop: threading.Event
) -> Engine:
    """Of an engine what reading and decoding needs."""
    messages = sum(end - starts[partition] for partition, end in ends.items())
    if messages > MESSAGES_MAX:
        raise NotReplayed(f"{messages:,} messages came since, more than are read for an answer ({MESSAGES_MAX:,}).")
    kafka.wait_until_reachable(settings, REACH_SECONDS, stop)
    found = bounds(settings, there_are(settings, stop), stop)
    for partition, start in starts.items():
        if partition not in found or found[partition][0] > start:
            raise NotReplayed(
                f"partition {partition_name(partition)} at {settings.kafka} does not reach back to offset {start}."
            )
    return Engine(
        settings, Placement(what.shards), Goal(), what.plan,
        Decoder(what.schema, settings.max_skew_us if what.live else None), ProfileDecoder(what.schema), [], starts,
        ends, {}, Pace(range(what.shards), 2**62, 2**62), stop, CheckpointStore(settings.storage_url),
        kept_columns(what.schema),
    )  # fmt: skip
