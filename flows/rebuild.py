"""`--rebuild`: the topic is read again with the present definitions, and only the differences are written.

The topic must reach back to its first message. It is read as far as it has been counted; the flow
that starts then takes what is new, event by event. Everything is done by one process before that;
until the differences are committed, at once, readers see the old membership, and an engine that
still runs goes on until it is shut out. With the live clock, messages are read under the present
clock: a late event may have become known at another instant than the first time, on time events
cannot. Windows are expired as far as the stored membership's were, so nobody re-enters a segment
that time had moved him out of. Another topic than before is read to its end.
"""

import logging
import threading
from collections.abc import Sequence
from contextlib import closing

import numpy as np

from flows import clock, kafka
from flows.engine import Engine, Goal, meaning_of, wait_for_database
from flows.pace import Pace
from flows.placement import Placement
from flows.progress import Counted, counted_of
from flows.reading import read_to
from flows.steps import decode, to_shards
from segmentation.compile import compile_files
from segmentation.errors import TidegateError
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.types import NEVER
from storage.checkpoints import CheckpointStore
from storage.definitions_folder import read_definitions
from storage.engine_state import EngineRecord, tokens
from storage.rebuild import Rebuild
from storage.reservoir import columns_of
from storage.settings import Settings

log = logging.getLogger("tidegate.rebuild")

def rebuild_all(settings: Settings, stop: threading.Event) -> None:
    """Raises TidegateError where it cannot be done; then nothing has been changed."""
    folder = read_definitions(settings.definitions)
    plan = compile_files(folder.files, folder.schema)
    record = EngineRecord.of(plan.segments, plan.digest, folder.schema.digest, settings.shards, meaning_of(settings))
    topic = settings.events_topic
    partitions = kafka.partition_count(settings, topic, stop=stop)
    if not partitions:
        raise TidegateError(f"there is no topic {topic} at {settings.kafka} to rebuild from. Check `events_topic`.")
    found = kafka.offsets(settings, topic, partitions, stop=stop)
    for partition, (first, _) in enumerate(found):
        if first > 0:
            raise TidegateError(
                f"topic {topic} at {settings.kafka} no longer reaches back to its beginning: partition {partition} "
                f"starts at offset {first}. A rebuild from what is left would be wrong; put the old definitions back, "
                "or replay the events into a new topic and name that one (`events_topic`)."
            )
    url = settings.database_url.get_secret_value()
    wait_for_database(url, stop)
    checkpoints = CheckpointStore(settings.storage_url)
    engine = Engine(
        settings,
        Placement(settings.shards),
        Goal(until_end=True),
        plan,
        Decoder(folder.schema, settings.max_skew_us if settings.clock == "live" else None),
        [],
        dict.fromkeys(range(partitions), 0),
        {partition: end for partition, (_, end) in enumerate(found)},
        {},
        Pace([], 2**62, 2**62),  # each read is worked off before the next
        stop,
        checkpoints,
        columns_of(folder.schema),
    )
    with closing(engine):
        _rebuild(engine, record)


def _rebuild(engine: Engine, record: EngineRecord) -> None:
    settings, plan, partitions, checkpoints = engine.settings, engine.plan, engine.partitions, engine.checkpoints
    topic, url = settings.events_topic, engine.url
    shards = [
        engine.new_shard(shard, token + 1, partitions) for shard, token in sorted(tokens(url, settings.shards).items())
    ]
    log.info("reading topic %s from its beginning", topic)
    _read(engine, shards, counted_of(url, topic, settings.shards, partitions))
    with Rebuild(url, record, plan.segments) as rebuild:
        # From here on no other engine commits; what one has counted since is read too.
        counted = counted_of(url, topic, settings.shards, partitions)
        engine.starts = {p: min(shard.next_offset.get(p, 0) for shard in shards) for p in range(partitions)}
        _read(engine, shards, counted)
        for number, shard in enumerate(shards):
            _expire(shard, partitions, counted[number].watermark)
            differences = rebuild.apply_differences(number, shard.members(), max(shard.watermark, 0))
            shard.restore_seq(rebuild.sequence_numbers(number))
            offsets = {partition: shard.next_offset.get(partition, 0) for partition in range(partitions)}
            saved = checkpoints.save(number, rebuild.next_step(number), offsets, shard.dump())
            rebuild.finish(number, saved, shard.watermark)
            log.info(
                "shard %d: %d users, %d entered and %d left a segment by the new definitions",
                number, differences.known, differences.entered, differences.left,
            )  # fmt: skip


def _read(engine: Engine, shards: Sequence[Shard], counted: Sequence[Counted]) -> None:
    """Every shard as far as it has counted, at most to the end of the topic."""
    ends = {partition: max(each.offsets.get(partition, 0) for each in counted) for partition in engine.starts}
    for reads in read_to(engine, {p: end for p, end in ends.items() if engine.starts[p] < end}):
        for read in reads:
            for _, seen in to_shards(engine, decode(engine, read)):
                if (poll := _counted_part(seen.poll, counted[seen.shard])) is not None:
                    shards[seen.shard].run([poll])


def _counted_part(poll: Poll | None, counted: Counted) -> Poll | None:
    """The poll up to where the shard has counted. What is cut off comes again when the flow runs."""
    if poll is None:
        return None
    end = counted.offsets.get(poll.partition, 0)
    if poll.next_offset <= end:
        return poll
    rows = None if poll.rows is None else poll.rows.take(np.flatnonzero(poll.rows.offset < end))
    high = int(rows.high[-1]) if rows is not None and len(rows) else NEVER
    return Poll(poll.partition, end, poll.clock, high, None, rows)


def _expire(shard: Shard, partitions: int, watermark: int) -> None:
    """As far as the stored membership was."""
    if watermark > shard.watermark and watermark > NEVER:
        now = clock.now_us()
        shard.run([Poll(p, shard.next_offset.get(p, 0), now, NEVER, watermark) for p in range(partitions)])
