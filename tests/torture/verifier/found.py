"""What is there: messages of the topics, and what Postgres holds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.torture.verifier.arrivals import Epoch, Part
from tests.torture.verifier.decode import Message

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
READ_SECONDS = 60

#: (user_id, seq, segment, entered, effective_at, cause)
Transition = tuple[str, int, str, bool, int, str]
#: (partition, offset, reason, key, value) of the refused message
Letter = tuple[int, int, str, bytes | None, bytes | None]


def micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def messages_of(bootstrap: str, topic: str) -> list[Message]:
    """All of a topic's committed messages up to its present end; those of a partition in order."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "torture", "enable.auto.commit": False, "log_level": 0,
         "enable.partition.eof": True, "auto.offset.reset": "earliest", "isolation.level": "read_committed",
         "fetch.wait.max.ms": 50}
    )  # fmt: skip
    found = []
    try:
        left = set(consumer.list_topics(topic, READ_SECONDS).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, partition, 0) for partition in left])
        while left:
            message = consumer.poll(READ_SECONDS)
            if message is None:
                raise TimeoutError(f"partitions {left} of {topic} do not answer")
            error, partition, offset = message.error(), message.partition(), message.offset()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                left.discard(partition)
                continue
            if error is not None or partition is None or offset is None:
                raise RuntimeError(f"partition {partition} of {topic}: {error}")
            headers: Any = message.headers() or ()
            found.append(
                Message(partition, offset, message.timestamp()[1], message.key(), message.value(), tuple(headers))
            )
    finally:
        consumer.close()
    return found


@dataclass(slots=True)
class Stored:
    """What Postgres holds. members: (segment, user) -> since, µs; counted: per segment, as view `segments` says;
    epochs: the recorded steps."""

    transitions: list[Transition]
    members: dict[tuple[str, str], int]
    counted: dict[str, int]
    users: set[str]
    letters: list[Letter]
    unsent: int
    epochs: list[Epoch]
    offsets: dict[int, dict[int, int]]


def stored(url: str) -> Stored:
    with psycopg.connect(url) as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql.encode()).fetchall()

        shards = rows("SELECT shard, offsets FROM tidegate.shards")
        return Stored(
            [
                (user, seq, segment, entered, micros(at), cause)
                for user, seq, segment, entered, at, cause in rows(
                    "SELECT user_id, seq, segment, entered, effective_at, cause FROM segment_transitions"
                )
            ],
            {(s, u): micros(at) for s, u, at in rows("SELECT segment, user_id, since FROM segment_members")},
            dict(rows("SELECT segment, members FROM segments")),
            {user for (user,) in rows("SELECT user_id FROM tidegate.users WHERE known")},
            rows('SELECT partition, "offset", reason, key, value FROM tidegate.dead_letters'),
            int(rows("SELECT count(*) FROM tidegate.outbox")[0][0]),
            _epochs(rows("SELECT layout, shard, number, parts FROM torture.steps ORDER BY place")),
            {shard: {int(p): offset for p, offset in offsets.items()} for shard, offsets in shards},
        )


def _epochs(rows: list[tuple[Any, ...]]) -> list[Epoch]:
    """Rows of (shards that there are from here on, or None; shard; number; parts)."""
    epochs: list[Epoch] = []
    steps: dict[int, list[tuple[int, list[Part]]]] = {}
    for layout, shard, number, parts in rows:
        if layout is not None:
            steps = {}
            epochs.append(Epoch(layout, steps))
        else:
            steps.setdefault(shard, []).append((number, [Part(*part[:4]) for part in parts]))
    return epochs


def transitions_of(messages: list[Message]) -> tuple[list[Transition], list[str]]:
    """The flips of topic `segment-transitions` in order; and what is wrong with messages or their order."""
    flips: list[Transition] = []
    last: dict[str, int] = {}
    complaints = []
    for message in messages:
        told: Mapping[str, Any] = json.loads(message.value or b"null")
        user, seq, at = told["user_id"], told["seq"], micros(datetime.fromisoformat(told["effective_at"]))
        if message.key != user.encode():
            complaints.append(f"topic: the key of {user} {seq} is {message.key!r}")
        if seq != last.get(user, 0) + 1:
            complaints.append(f"topic: seq {seq} of {user} follows {last.get(user, 0)}")
        last[user] = max(seq, last.get(user, 0))
        for segments, entered in ((told["entered"], True), (told["left"], False)):
            flips += [(user, seq, segment, entered, at, told["cause"]) for segment in segments]
    return flips, complaints


def letters_of(messages: list[Message]) -> list[Letter]:
    found = []
    for message in messages:
        said = {name: (value or b"").decode(errors="replace") for name, value in message.headers}
        found.append(
            (int(said["tidegate-partition"]), int(said["tidegate-offset"]), said["tidegate-reason"], message.key,
             message.value)
        )  # fmt: skip
    return found
