"""The two stateless steps of the flow: messages to columns, and columns to shards."""

from collections.abc import Iterable

import numpy as np
from confluent_kafka import Message

from flows import metrics
from flows.engine import Engine
from flows.items import Control, DecodedPoll, RawPoll, ShardPoll
from flows.shard_keys import shard_keys, worker_key
from segmentation.events.origin import Origin, generated_id
from segmentation.events.rows import Poll
from segmentation.events.split import split
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
    ids = _ids(engine.settings.events_topic, item) if engine.decoder.generates_ids else None
    decoded = engine.decoder.decode(values, offsets, stamps, partition=item.partition, event_ids=ids)
    rejects = [
        _dead_letter(engine.settings.events_topic, messages[reject.index], str(reject.reason), reject.detail)
        for reject in decoded.rejects
    ]
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
    raw, rows = item.raw, item.rows
    high = int(rows.high[-1]) if len(rows) else NEVER
    parts = split(rows, shards) if len(rows) else [None] * shards
    out = []
    for shard, (key, mine) in enumerate(zip(keys, parts)):
        poll = Poll(raw.partition, raw.next_offset, raw.clock, high, raw.watermark, mine)
        stamps = item.stamps
        if mine is None or not len(mine):
            stamps = stamps[:0]
        elif len(mine) < len(rows):
            stamps = stamps[np.searchsorted(rows.offset, mine.offset)]
        out.append((key, ShardPoll(shard, raw.first_offset, poll, stamps, at_end=raw.at_end, size=raw.size)))
    # Each refused message is stored by exactly one shard, the same one whenever it is read again.
    out[raw.partition % shards][1].rejects.extend(item.rejects)
    return out


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


def _dead_letter(topic: str, message: Message, reason: str, detail: str) -> DeadLetter:
    partition, offset = message.partition(), message.offset()
    assert partition is not None and offset is not None
    return DeadLetter(
        topic, partition, offset, message.key(), message.value(), headers_of(message), reason, detail
    )


def headers_of(message: Message) -> list[tuple[str, bytes | None]]:
    found = message.headers() or ()
    pairs = found.items() if isinstance(found, dict) else found
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def count_rejects(letters: Iterable[DeadLetter]) -> None:
    for letter in letters:
        metrics.rejected.labels(letter.reason).inc()
