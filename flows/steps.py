"""The two stateless steps of the flow: messages to columns, and columns to shards."""

from collections.abc import Iterable, Sequence

import numpy as np
from confluent_kafka import Message

from flows import metrics
from flows.engine import Engine
from flows.items import Control, DecodedPoll, RawPoll, ShardPoll
from flows.partitions import topic_of
from flows.shard_keys import shard_keys, worker_key
from segmentation.events.origin import Origin, generated_id
from segmentation.events.rejects import Reject
from segmentation.events.rows import PROFILES, Poll
from segmentation.events.split import split, split_profiles
from segmentation.events.whose import user_of_value
from segmentation.shards import shard_of
from segmentation.types import NEVER
from storage.commits import DeadLetter


def decode(engine: Engine, item: RawPoll | Control) -> DecodedPoll | Control:
    """Columns, and what could not be made columns of."""
    if isinstance(item, Control):
        return item
    messages = item.messages
    offsets = np.fromiter((message.offset() for message in messages), np.int64, len(messages))
    # Kafka stamps are ms, -1 where a message has none.
    millis = np.fromiter((message.timestamp()[1] for message in messages), np.int64, len(messages))
    stamps = np.where(millis >= 0, millis * 1_000, -1)
    values = [message.value() for message in messages]
    if item.partition >= PROFILES:
        found = engine.profiles.decode([message.key() for message in messages], values, offsets, stamps)
        refused = _letters(engine, item, found.rejects)
        item.messages = []
        return DecodedPoll(item, None, stamps[:0], refused, found.profiles)
    ids = _ids(engine.settings.events_topic, item) if engine.decoder.generates_ids else None
    decoded = engine.decoder.decode(values, offsets, stamps, partition=item.partition, event_ids=ids)
    rejects = _letters(engine, item, decoded.rejects)
    rows = decoded.rows
    if len(rows) < len(offsets):
        stamps = stamps[np.searchsorted(offsets, rows.offset)]
    item.messages = []
    return DecodedPoll(item, rows, stamps, rejects)


def to_shards(engine: Engine, item: DecodedPoll | Control) -> Iterable[tuple[str, ShardPoll]]:
    """(Bytewax key, what the shard sees) for every shard, so that each knows how far the partition is."""
    shards = engine.settings.shards
    keys = shard_keys(shards)
    if isinstance(item, Control):
        if item.open:
            return [(key, ShardPoll(shard)) for shard, key in enumerate(keys)]
        workers = engine.placement.all_workers
        return [(worker_key(worker, workers), ShardPoll(-1, why=item.why)) for worker in range(workers)]
    raw, rows, profiles = item.raw, item.rows, item.profiles
    found = rows if profiles is None else profiles
    high = int(found.high[-1]) if found is not None and len(found) else NEVER
    parts = split(rows, shards) if rows is not None and len(rows) else [None] * shards
    some = split_profiles(profiles, shards) if profiles is not None and len(profiles) else [None] * shards
    out = []
    for shard, (key, mine) in enumerate(zip(keys, parts)):
        poll = Poll(raw.partition, raw.next_offset, raw.clock, high, raw.watermark, mine, some[shard])
        stamps = item.stamps
        if mine is None or rows is None or not len(mine):
            stamps = stamps[:0]
        elif len(mine) < len(rows):
            stamps = stamps[np.searchsorted(rows.offset, mine.offset)]
        out.append((key, ShardPoll(shard, raw.first_offset, poll, stamps, at_end=raw.at_end, size=raw.size)))
    for letter in item.rejects:
        out[_keeper(letter, raw.partition, shards)][1].rejects.append(letter)
    return out


def _keeper(letter: DeadLetter, partition: int, shards: int) -> int:
    """The shard that stores a refused message: one, the same whenever it is read again. That of the user whom the
    key names, so that an erasure finds what its own shard has stored before."""
    return shard_of(letter.users[0], shards) if letter.users else partition % shards


def _ids(topic: str, item: RawPoll) -> list[str] | None:
    """Of messages that have none, where one of them was sent again: each one's by its first origin."""
    origins = {
        place: origin
        for place, message in enumerate(item.messages)
        if message.headers() and (origin := Origin.among(headers_of(message))) is not None
    }
    if not origins:
        return None
    return [
        origins[place].event_id(topic) if place in origins else generated_id(item.partition, message.offset() or 0)
        for place, message in enumerate(item.messages)
    ]


def _letters(engine: Engine, item: RawPoll, rejects: Sequence[Reject]) -> list[DeadLetter]:
    topic = topic_of(engine.settings, item.partition)
    # Of a profile the key is the user id; a field of this name, which must say the same, may say another one.
    path = engine.user_path if item.partition < PROFILES else ("user_id",)
    letters = []
    for reject in rejects:
        message = item.messages[reject.index]
        partition, offset, key, value = message.partition(), message.offset(), message.key(), message.value()
        assert partition is not None and offset is not None
        letters.append(
            DeadLetter(
                topic, partition, offset, key, value, headers_of(message), str(reject.reason), reject.detail,
                user_of_value(value, path), stamp_of(message),
            )
        )  # fmt: skip
    return letters


def stamp_of(message: Message) -> int | None:
    """Kafka's timestamp, µs."""
    millis = message.timestamp()[1]
    return millis * 1_000 if millis >= 0 else None


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    found = message.headers() or ()
    pairs = found.items() if isinstance(found, dict) else found
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def count_rejects(letters: Iterable[DeadLetter]) -> None:
    for letter in letters:
        metrics.rejected.labels(letter.reason).inc()
