"""`--rebuild`: the topic is read again with the present definitions, and only the differences are written.

The topic must reach back to its first message. It is read as far as it has been counted; the flow
that starts then takes what is new, event by event. Everything is done by one process before that;
until the differences are committed, at once, readers see the old membership, and an engine that
still runs goes on until it is shut out. With the live clock, messages are read under the present
clock: a late event may have become known at another instant than the first time, on time events
cannot. Windows are expired as far as the stored membership's were, so nobody re-enters a segment
that time had moved him out of. Another topic than before is read to its end. Whom a tombstone erases that was not read
before, in another topic of profiles say, is erased from the database with that commit.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing

from flows import clock
from flows.engine import Engine, Goal, meaning_of, wait_for_database
from flows.items import RawPoll
from flows.pace import Pace
from flows.partitions import bounds, events_of, in_topic, there_are
from flows.placement import Placement
from flows.progress import Counted, counted_of
from flows.reading import read_to
from flows.steps import decode, to_shards
from segmentation.compile import compile_files
from segmentation.errors import TidegateError
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.profiles import ProfileDecoder
from segmentation.events.rows import PROFILES, Poll
from segmentation.types import FOREVER, NEVER
from storage.checkpoints import CheckpointStore
from storage.definitions_folder import read_definitions
from storage.engine_state import EngineRecord, tokens
from storage.erasing import erasures
from storage.rebuild import Rebuild
from storage.reservoir import kept_columns
from storage.settings import Settings

log = logging.getLogger("tidegate.rebuild")

#: By shard: who was erased, user id and T (µs), and is not stored as such.
Erased = list[list[tuple[str, int]]]


def rebuild_all(settings: Settings, stop: threading.Event) -> None:
    """Raises TidegateError where it cannot be done; then nothing has been changed."""
    folder = read_definitions(settings.definitions)
    plan = compile_files(folder.files, folder.schema)
    record = EngineRecord.of(plan.segments, plan.digest, folder.schema.digest, settings.shards, meaning_of(settings))
    found = bounds(settings, there_are(settings, stop), stop)
    if not events_of(found):
        topic = settings.events_topic
        raise TidegateError(f"there is no topic {topic} at {settings.kafka} to rebuild from. Check `events_topic`.")
    for number, (first, _) in found.items():
        # Who was erased is known without the topic of profiles.
        if first > 0 and (number < PROFILES or folder.schema.users):
            place, setting = in_topic(settings, number), "events" if number < PROFILES else "profiles"
            raise TidegateError(
                f"topic {place.topic} at {settings.kafka} no longer reaches back to its beginning: partition "
                f"{place.partition} starts at offset {first}. A rebuild from what is left would be wrong; put the old "
                f"definitions back, or replay the {setting} into a new topic and name that one (`{setting}_topic`)."
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
        ProfileDecoder(folder.schema),
        [],
        {partition: first for partition, (first, _) in found.items()},
        {partition: end for partition, (_, end) in found.items()},
        {},
        Pace([], 2**62, 2**62),  # each read is worked off before the next
        stop,
        checkpoints,
        kept_columns(folder.schema),
    )
    with closing(engine):
        _rebuild(engine, record, folder.texts)


def _rebuild(engine: Engine, record: EngineRecord, files: Mapping[str, str]) -> None:
    settings, plan, url = engine.settings, engine.plan, engine.url
    partitions, checkpoints = sorted(engine.starts), engine.checkpoints
    shards = []
    erased = erasures(engine.url)
    known = tokens(url, settings.shards)
    for number, token in sorted(known.items()):
        shards.append(engine.new_shard(number, token + 1, engine.partitions))
        for digest, until in erased.items():  # whose tombstones the topic may have lost
            shards[-1].erasures.add(digest, until)
        shards[-1].add_partitions(engine.partitions, engine.profile_partitions)
    log.info("reading topic %s from its beginning", settings.events_topic)
    erased_now: Erased = [[] for _ in shards]
    _read(engine, shards, counted_of(url, record.options, settings.shards, partitions), erased_now)
    with Rebuild(url, record, plan.segments, known, files) as rebuild:
        # From here on no other engine commits; what one has counted since is read too.
        counted = counted_of(url, record.options, settings.shards, partitions)
        engine.starts = {p: min(shard.next_offset.get(p, 0) for shard in shards) for p in partitions}
        _read(engine, shards, counted, erased_now)
        for number, shard in enumerate(shards):
            _expire(shard, partitions, counted[number].watermark)
            if erased_now[number]:
                rebuild.erase(number, erased_now[number], engine.user_path[-1])
            differences = rebuild.apply_differences(number, shard.members(), max(shard.watermark, 0))
            shard.restore_seq(rebuild.sequence_numbers(number))
            offsets = {partition: shard.next_offset.get(partition, 0) for partition in partitions}
            saved = checkpoints.save(number, rebuild.next_step(number), offsets, shard.dump())
            rebuild.finish(number, saved, shard.watermark)
            log.info(
                "shard %d: %d users, %d entered and %d left a segment by the new definitions",
                number, differences.known, differences.entered, differences.left,
            )  # fmt: skip


def _read(engine: Engine, shards: Sequence[Shard], counted: Sequence[Counted], erased: Erased) -> None:
    """Every shard as far as it has counted, at most to the end of the topics; profiles first, and then no event
    waits for them."""
    ends = {partition: max(each.offsets.get(partition, 0) for each in counted) for partition in engine.starts}
    left = {p: end for p, end in ends.items() if engine.starts[p] < end}
    for reads in read_to(engine, {p: end for p, end in left.items() if p >= PROFILES}):
        _take(engine, shards, counted, reads, erased)
    now = clock.now_us()
    said = now - engine.settings.lateness_us if engine.live else FOREVER
    for shard in shards:
        shard.run([
            Poll(p, shard.next_offset.get(p, 0), now, NEVER, said) for p in engine.starts if p >= PROFILES
        ])  # fmt: skip
    for reads in read_to(engine, {p: end for p, end in left.items() if p < PROFILES}):
        _take(engine, shards, counted, reads, erased)


def _take(
    engine: Engine, shards: Sequence[Shard], counted: Sequence[Counted], reads: Sequence[RawPoll], erased: Erased
) -> None:
    for _, seen in to_shards(engine, decode(engine, reads)):
        if seen.poll is not None:
            # What is cut off comes again when the flow runs.
            end = counted[seen.shard].offsets.get(seen.poll.partition, 0)
            poll = seen.poll if seen.poll.next_offset <= end else seen.poll.between(0, end)
            erased[seen.shard] += shards[seen.shard].run([poll]).erased


def _expire(shard: Shard, partitions: Sequence[int], watermark: int) -> None:
    """As far as the stored membership was."""
    if watermark > shard.watermark and watermark > NEVER:
        now = clock.now_us()
        shard.run([Poll(p, shard.next_offset.get(p, 0), now, NEVER, watermark) for p in partitions])
