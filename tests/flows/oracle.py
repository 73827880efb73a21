"""What the engine should have made of a topic: the same shards in this process, fed by the record in the database."""

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from segmentation.compile import compile_files
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Step
from segmentation.events.decode import Decoder
from segmentation.events.rows import Poll
from segmentation.shards import shard_of
from storage.definitions_folder import read_definitions
from tests.fix_kafka import consume_all
from tests.flows.conftest import World


def members_by_events(world: World, at_us: int) -> set[tuple[str, str]]:
    """Membership at `at_us` by the events of the topic alone, in order of their time, as one partition."""
    shard, _ = _by_events(world, at_us)
    return {(shard.plan.names[number], user) for user, numbers in shard.members() for number in numbers}


def settled_members(world: World) -> set[tuple[str, str]]:
    """What an engine with the live clock that has ended must have stored: of each user, membership where his
    shard's watermark stands, all before it applied. The shards of a stopped engine need not stand together."""
    rows = world.query("SELECT shard, watermark FROM tidegate.shards ORDER BY shard")
    found = set()
    for shard, reached in rows:
        members = members_by_events(world, reached - 1)
        found |= {(segment, user) for segment, user in members if shard_of(user, len(rows)) == shard}
    return found


def log_by_events(world: World, at_us: int) -> list[tuple[Any, ...]]:
    """What `World.log` must say at `at_us`, where no event was late."""
    shard, steps = _by_events(world, at_us)
    log = []
    for said in (step.transitions for step in steps):
        for i, user in enumerate(said.user_id):
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(said.effective_at[i]))
            for flip in range(int(said.first[i]), int(said.first[i + 1])):
                segment = shard.plan.names[int(said.segment[flip])]
                log.append((user, int(said.seq[i]), segment, bool(said.entered[flip]), at))
    return sorted(log)


def _by_events(world: World, at_us: int) -> tuple[Shard, list[Step]]:
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
    return shard, [shard.run([Poll(0, len(found), 0, high, None, decoded.rows)]), shard.finish(at_us)]


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
