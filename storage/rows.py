"""The rows that commits put into the tables, as columns for `storage.arrays`.

A pair is a (user, segment) that flips in these commits. A log alternates, so a pair's first flip
tells whether the user was a member before, and its last one whether he is now:

| first | last | change of table members |
|---|---|---|
| entered | entered | insert |
| entered | left | none |
| left | left | delete |
| left | entered | update of since and seq |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int32, Int64
from storage.commits import Commit, StoredSegment
from storage.messages import transition_messages

Objects = NDArray[np.object_]


@dataclass(slots=True)
class Messages:
    """One row per message (user and step) of all commits, in order of position."""

    shard: Int32
    position: Int64
    key: list[bytes]
    value: list[bytes]


@dataclass(slots=True)
class Flips:
    """One row per flip, in order of position; user is UTF-8, segment the database's id."""

    user: Objects
    seq: Int64
    segment: Int32
    entered: Bool
    effective_at: Int64
    by_event: Bool
    version: Int32
    shard: Int32
    position: Int64

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(slots=True)
class Pairs:
    """Indices into Flips, in order of users' ids: of all flips, and of each pair's last flip by what the pair does to
    table members. Rows that come in the order of an index find its pages where the last one left them: a seventh of
    the server's time for them less, measured."""

    all: Int64
    insert: Int64
    update: Int64
    delete: Int64


@dataclass(slots=True)
class Counts:
    """Change of the number of members per segment and shard, and the last effective time."""

    segment: Int32
    shard: Int32
    change: Int64
    changed_at: Int64


#: Bytes of the longest id up to which users are sorted.
_SORTED_BYTES = 64
NEVER_EFFECTIVE = int(np.iinfo(np.int64).min)


def messages_and_flips(
    commits: Sequence[Commit], positions: dict[int, int], segments: Sequence[StoredSegment]
) -> tuple[Messages, Flips]:
    """`positions`: the last position given per shard; raised in place."""
    ids = np.array([s.id for s in segments], np.int32)
    versions = np.array([s.version for s in segments], np.int32)
    keys: list[bytes] = []
    values: list[bytes] = []
    parts: list[tuple[Int64, Int64, Int32]] = []  # per commit: position per message, flips per message, shards
    for commit in commits:
        count = len(commit.transitions)
        start = positions[commit.shard] + 1
        positions[commit.shard] += count
        keys += [user.encode() for user in commit.transitions.user_id]
        values += transition_messages(commit.transitions, segments)
        parts.append(
            (
                np.arange(start, start + count, dtype=np.int64),
                np.diff(commit.transitions.first),
                np.full(count, commit.shard, np.int32),
            )
        )
    flips_each = _joined([p[1] for p in parts], np.int64)
    position = _joined([p[0] for p in parts], np.int64)
    shard = _joined([p[2] for p in parts], np.int32)
    user = np.empty(len(keys), object)
    user[:] = keys
    plan_segment = _joined([c.transitions.segment for c in commits], np.int32)

    def repeated(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values, flips_each)

    flips = Flips(
        user=repeated(user),
        seq=repeated(_joined([c.transitions.seq for c in commits], np.int64)),
        segment=ids[plan_segment],
        entered=_joined([c.transitions.entered for c in commits], np.bool_),
        effective_at=repeated(_joined([c.transitions.effective_at for c in commits], np.int64)),
        by_event=repeated(_joined([c.transitions.by_event for c in commits], np.bool_)),
        version=versions[plan_segment],
        shard=repeated(shard),
        position=repeated(position),
    )
    return Messages(shard, position, keys, values), flips


def pairs_of(flips: Flips) -> Pairs:
    """What the flips, taken together, do to each (user, segment)."""
    if not len(flips):
        none = np.zeros(0, np.int64)
        return Pairs(none, none, none, none)
    pair = _numbers(flips.user.tolist()) * (int(flips.segment.max()) + 1) + flips.segment
    order = np.argsort(pair, kind="stable")  # a user's flips are in order of seq, so each pair's are in order of time
    change = np.flatnonzero(np.diff(pair[order]))
    first = order[np.concatenate(([0], change + 1))]
    last = order[np.concatenate((change, [len(order) - 1]))]
    came, is_in = flips.entered[first], flips.entered[last]
    return Pairs(order, insert=last[came & is_in], update=last[~came & is_in], delete=last[~came & ~is_in])


def _numbers(users: list[bytes]) -> Int64:
    """By user, equal for equal ones; in the order of their ids, but where ids are so long that it is not worth it."""
    if max(map(len, users)) <= _SORTED_BYTES:
        # An id has no NUL (segmentation.events.exact), which numpy would not tell from the end.
        return np.unique(np.array(users), return_inverse=True)[1].astype(np.int64, copy=False)
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(user, len(numbers)) for user in users], np.int64)


def counts_of(flips: Flips) -> Counts:
    if not len(flips):
        none32, none64 = np.zeros(0, np.int32), np.zeros(0, np.int64)
        return Counts(none32, none32, none64, none64)
    both = flips.segment.astype(np.int64) << 32 | flips.shard
    found, place = np.unique(both, return_inverse=True)
    change = np.zeros(len(found), np.int64)
    np.add.at(change, place, np.where(flips.entered, 1, -1))
    latest = np.full(len(found), NEVER_EFFECTIVE, np.int64)
    np.maximum.at(latest, place, flips.effective_at)
    return Counts((found >> 32).astype(np.int32), (found & 0xFFFFFFFF).astype(np.int32), change, latest)


def new_users(commits: Sequence[Commit]) -> dict[bytes, int]:
    """Who is new in these commits, each once, and his shard."""
    return {user.encode(): commit.shard for commit in commits for user in commit.new_users}


def _joined(columns: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate(columns).astype(dtype, copy=False) if columns else np.zeros(0, dtype)
