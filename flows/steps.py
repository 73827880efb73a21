"""The two stateless steps of the flow: messages to columns, and columns to shards."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from confluent_kafka import Message

from flows import metrics
from flows.engine import Engine
from flows.items import Control, DecodedReads, RawPoll, ShardPoll
from flows.shard_keys import shard_keys, worker_key
from segmentation.events.origin import Origin, generated_id, generated_ids
from segmentation.events.rejects import Reject
from segmentation.events.rows import PROFILES, Int64, Poll
from segmentation.events.split import split_profiles, split_reads
from segmentation.events.whose import user_of_value
from segmentation.shards import shard_of
from segmentation.types import NEVER
from storage.commits import DeadLetter


def decode(engine: Engine, items: Iterable[RawPoll | Control]) -> list[DecodedReads | Control]:
    """Columns, and what could not be made columns of. Each call of the decoder has a fixed cost, and so has what the
    shards do for each dictionary of texts, so reads of events that follow each other are decoded together."""
    out: list[DecodedReads | Control] = []
    events: list[RawPoll] = []
    for item in items:
        if isinstance(item, RawPoll) and item.partition < PROFILES:
            events.append(item)
            continue
        if events:
            out.append(_events(engine, events))
            events = []
        out.append(item if isinstance(item, Control) else _profiles(engine, item))
    return [*out, _events(engine, events)] if events else out


def _events(engine: Engine, raws: list[RawPoll]) -> DecodedReads:
    messages = [message for raw in raws for message in raw.messages]
    sizes = [len(raw.messages) for raw in raws]
    offsets, stamps = _origin(messages)
    ids = None
    if engine.decoder.generates_ids:
        ids = [event_id for raw in raws for event_id in _ids(engine.settings.events_topic, raw)]
    decoded = engine.decoder.decode([message.value() for message in messages], offsets, stamps, event_ids=ids)
    rows, first = decoded.rows, np.concatenate(([0], np.cumsum(sizes)))
    rejects: list[list[DeadLetter]] = [[] for _ in raws]
    if decoded.rejects:
        places = np.array([reject.index for reject in decoded.rejects], np.int64)
        letters = _letters(messages, decoded.rejects, engine.settings.events_topic, engine.user_path)
        for which, letter in zip((np.searchsorted(first, places, "right") - 1).tolist(), letters):
            rejects[which].append(letter)
        kept = np.ones(len(messages), np.bool_)
        kept[places] = False
        stamps, first = stamps[kept], np.concatenate(([0], np.cumsum(kept)))[first]
    for start, end in pairwise(first.tolist()):
        rows.high[start:end] = np.maximum.accumulate(rows.time[start:end])
    for raw in raws:
        raw.messages = []
    return DecodedReads(raws, rows, first, stamps, rejects)


def _profiles(engine: Engine, raw: RawPoll) -> DecodedReads:
    messages = raw.messages
    offsets, stamps = _origin(messages)
    keys, values = [message.key() for message in messages], [message.value() for message in messages]
    found = engine.profiles.decode(keys, values, offsets, stamps)
    # The key is the user id; a field of this name, which must say the same, may say another one.
    rejects = _letters(messages, found.rejects, engine.settings.profiles_topic, ("user_id",))
    raw.messages = []
    return DecodedReads([raw], None, np.zeros(2, np.int64), stamps[:0], [rejects], found.profiles)


def _origin(messages: Sequence[Message]) -> tuple[Int64, Int64]:
    """(offsets, Kafka's timestamps in µs); Kafka's own are ms, -1 where a message has none."""
    offsets = np.fromiter((message.offset() for message in messages), np.int64, len(messages))
    millis = np.fromiter((message.timestamp()[1] for message in messages), np.int64, len(messages))
    return offsets, np.where(millis >= 0, millis * 1_000, -1)


def to_shards(engine: Engine, items: Iterable[DecodedReads | Control]) -> list[tuple[str, ShardPoll]]:
    """(Bytewax key, what the shard sees) of every read for every shard, so that each knows how far the partition is."""
    shards = engine.settings.shards
    keys = shard_keys(shards)
    out: list[tuple[str, ShardPoll]] = []
    for item in items:
        if isinstance(item, DecodedReads):
            out += [(keys[seen.shard], seen) for seen in _seen(item, shards)]
        elif item.open:
            out += [(key, ShardPoll(shard)) for shard, key in enumerate(keys)]
        else:
            workers = engine.placement.all_workers
            out += [(worker_key(worker, workers), ShardPoll(-1, why=item.why)) for worker in range(workers)]
    return out


def _seen(item: DecodedReads, shards: int) -> list[ShardPoll]:
    """By read, then by shard."""
    rows, profiles = item.rows, item.profiles
    of_events = None if rows is None or not len(rows) else split_reads(rows, item.stamps, item.first, shards)
    of_profiles = None if profiles is None or not len(profiles) else split_profiles(profiles, shards)
    high = [NEVER] if profiles is None or not len(profiles) else [int(profiles.high[-1])]
    if rows is not None:
        high = [int(rows.high[end - 1]) if end > start else NEVER for start, end in pairwise(item.first.tolist())]
    out = []
    for place, raw in enumerate(item.raws):
        here = []
        for shard in range(shards):
            mine, stamps = (None, item.stamps[:0]) if of_events is None else of_events[shard][place]
            versions = None if of_profiles is None else of_profiles[shard]
            poll = Poll(raw.partition, raw.next_offset, raw.clock, high[place], raw.watermark, mine, versions)
            here.append(ShardPoll(shard, raw.first_offset, poll, stamps, at_end=raw.at_end, size=raw.size))
        for letter in item.rejects[place]:
            here[_keeper(letter, raw.partition, shards)].rejects.append(letter)
        out += here
    return out


def by_shard(seen: Iterable[tuple[str, ShardPoll]]) -> list[tuple[str, list[ShardPoll]]]:
    """One item for each key: what goes to another process goes together, and their dictionaries with it once."""
    found: dict[str, list[ShardPoll]] = {}
    for key, poll in seen:
        found.setdefault(key, []).append(poll)
    return list(found.items())


def _keeper(letter: DeadLetter, partition: int, shards: int) -> int:
    """The shard that stores a refused message: one, the same whenever it is read again. That of the user whom the
    key names, so that an erasure finds what its own shard has stored before."""
    return shard_of(letter.users[0], shards) if letter.users else partition % shards


def _ids(topic: str, raw: RawPoll) -> list[str]:
    """Of messages that have none: each one's by where it was read first, if one of them was sent again."""
    origins = {
        place: origin
        for place, message in enumerate(raw.messages)
        if message.headers() and (origin := Origin.among(headers_of(message))) is not None
    }
    if not origins:
        return generated_ids(raw.partition, _origin(raw.messages)[0])
    return [
        origins[place].event_id(topic) if place in origins else generated_id(raw.partition, message.offset() or 0)
        for place, message in enumerate(raw.messages)
    ]


def _letters(
    messages: Sequence[Message], rejects: Sequence[Reject], topic: str, path: tuple[str, ...]
) -> list[DeadLetter]:
    """path: of the user id in a value."""
    letters = []
    for reject in rejects:
        message = messages[reject.index]
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
