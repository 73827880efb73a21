"""A model of the stored membership: random, valid commits, and what the tables must hold after them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from segmentation.compile.tree import Definition, Select
from segmentation.evaluate.step import Part, Transitions
from segmentation.shards import shard_of
from storage.commits import Commit, StoredSegment
from storage.engine_state import EngineRecord, prepare, take_over
from storage.outbox import Message, Outbox
from storage.postgres import Connection
from storage.writer import ShardWriter

START = 1_780_000_000_000_000

#: Ids that are somebody's trouble: quoting, other planes, collation order, backslashes, and very long.
USERS = [
    "u1", "u2", "a'b", 'quo"te', "back\\slash", "tab\there", "new\nline", "Größe", "𝄞", "{1,2}", "NULL", " ", "%s",
    "é", "e\u0301", "Z", "a", "😀" * 50, "x" * 400,
]  # fmt: skip


def definitions(names: Sequence[str]) -> list[Definition]:
    everybody = Select(None, None)
    return [Definition(name, f"{name}.sql", f"SELECT {i}", everybody, f"about {name}") for i, name in enumerate(names)]


def record(names: Sequence[str], shards: int) -> EngineRecord:
    return EngineRecord.of(definitions(names), "plan:" + ",".join(names), "schema", shards, {"clock": "live"})


def waiting(connection: Connection) -> list[Message]:
    """What is in the outbox, as a relay gets it."""
    outbox = Outbox(connection)
    assert outbox.acquire()
    batch = outbox.next()
    return [] if batch is None else batch.messages


@dataclass(frozen=True)
class Flip:
    user: str
    seq: int
    segment: str
    entered: bool
    effective_at: int
    cause: str


def transitions(messages: Sequence[tuple[str, int, int, bool, Sequence[tuple[int, bool]]]]) -> Transitions:
    """From (user, seq, effective_at, by_event, [(segment number, entered)])."""
    flips = [flip for *_, each in messages for flip in each]
    return Transitions(
        [m[0] for m in messages],
        np.array([m[1] for m in messages], np.int64),
        np.array([m[2] for m in messages], np.int64),
        np.array([m[3] for m in messages], np.bool_),
        np.concatenate(([0], np.cumsum([len(m[4]) for m in messages]))).astype(np.int64),
        np.array([f[0] for f in flips], np.int32),
        np.array([f[1] for f in flips], np.bool_),
    )


@dataclass
class World:
    """`step` makes the next commit of a shard out of (user, segment numbers to flip, advance of time, by event)."""

    names: Sequence[str]
    shards: int
    inside: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)  # -> (since, seq)
    seq: dict[str, int] = field(default_factory=dict)
    last: dict[str, int] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    log: list[Flip] = field(default_factory=list)

    def step(self, shard: int, moves: Sequence[tuple[str, Sequence[int], int, bool]], **rest: Any) -> Commit:
        messages, new_users = [], []
        for user, numbers, advance, by_event in moves:
            if shard_of(user, self.shards) != shard:
                continue
            if user not in self.seq:
                new_users.append(user)
                self.seq[user] = 0
            if not numbers:
                continue
            self.seq[user] += 1
            at = self.last[user] = max(self.last.get(user, START), START + advance)
            flips = []
            for number in sorted(set(numbers)):
                key = (user, self.names[number])
                entered = key not in self.inside
                if entered:
                    self.inside[key] = (at, self.seq[user])
                else:
                    del self.inside[key]
                flips.append((number, entered))
                cause = "event" if by_event else "time"
                self.log.append(Flip(user, self.seq[user], self.names[number], entered, at, cause))
            messages.append((user, self.seq[user], at, by_event, flips))
        self.steps[shard] = number = self.steps.get(shard, 0) + 1
        parts = [Part(0, number * 10, START + number, START - 5 + number)]
        return Commit(
            shard, number, parts, START + number, transitions=transitions(messages), new_users=new_users, **rest
        )

    def counts(self) -> dict[str, int]:
        return {name: sum(segment == name for _, segment in self.inside) for name in self.names}


def stored(connection: Connection) -> dict[str, Any]:
    """Everything that `expected` tells, read back through the views where there is one."""
    def rows(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query.encode()).fetchall()

    micros = "(extract(epoch FROM {}) * 1000000)::bigint".format
    return {
        "members": sorted(
            rows(f"SELECT user_id, segment, {micros('m.since')} FROM segment_members m")
        ),
        "log": sorted(
            rows(f"SELECT user_id, seq, segment, entered, {micros('effective_at')}, cause FROM segment_transitions")
        ),
        "users": sorted(rows(f"SELECT user_id, seq, {micros('last_effective_at')}, known FROM tidegate.users_now")),
        "counts": dict(rows("SELECT segment, members FROM segments")),
    }


def expected(world: World) -> dict[str, Any]:
    return {
        "members": sorted((user, segment, since) for (user, segment), (since, _) in world.inside.items()),
        "log": sorted((f.user, f.seq, f.segment, f.entered, f.effective_at, f.cause) for f in world.log),
        "users": sorted((user, seq, world.last.get(user), True) for user, seq in world.seq.items()),
        "counts": world.counts(),
    }


def forget(world: World, user: str) -> None:
    world.inside = {key: value for key, value in world.inside.items() if key[0] != user}
    world.seq.pop(user, None)
    world.last.pop(user, None)
    world.log = [flip for flip in world.log if flip.user != user]


def open_writer(url: str, names: Sequence[str], shards: int, **rest: Any) -> ShardWriter:
    segments: list[StoredSegment] = prepare(url, record(names, shards), definitions(names))
    tokens = {shard: taken.token for shard, taken in take_over(url, range(shards)).items()}
    return ShardWriter(url, tokens, segments, **rest)
