"""What the engine should have made of a topic: the same shards in this process, fed by the record in the database."""

import json
from collections import defaultdict
from typing import Any

import numpy as np

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from storage.definitions_folder import read_definitions
from tests.fix_kafka import consume_all
from tests.flows.conftest import World


def members_by_events(world: World, at_us: int) -> set[tuple[str, str]]:
    """Membership at `at_us` by the events of the topic alone, in order of their time, as one partition."""
    folder = read_definitions(world.settings().definitions)
    plan = compile_files(folder.files, folder.schema)
    found: list[tuple[str, bytes]] = []
    for message in consume_all(world.bootstrap, world.topic, world.partitions):
        value = message.value() or b""
        try:
            when = json.loads(value)["event_time"]
        except (ValueError, TypeError, KeyError):
            continue
        found.append((when, value))
    found.sort(key=lambda pair: pair[0])
    shard = Shard(plan, 1, 0, None, False)
    numbers = np.arange(len(found), dtype=np.int64)
    decoded = Decoder(folder.schema, None).decode([value for _, value in found], numbers, numbers)
    high = int(decoded.rows.high[-1])
    shard.run([Poll(0, len(found), 0, high, None, decoded.rows)])
    shard.finish(at_us)
    return {(plan.names[number], user) for user, numbers in shard.members() for number in numbers}


def folded(log: list[tuple[Any, ...]]) -> set[tuple[str, str]]:
    """Membership by the log of transitions; checks that each user's seq has no gap and every flip flips."""
    inside: set[tuple[str, str]] = set()
    last: dict[str, int] = defaultdict(int)
    for user, seq, segment, entered, _ in log:
        assert seq in (last[user], last[user] + 1), f"{user}: seq {seq} follows {last[user]}"
        last[user] = seq
        assert ((segment, user) in inside) != entered, f"{user} {'entered' if entered else 'left'} {segment} twice"
        (inside.add if entered else inside.discard)((segment, user))
    return inside
