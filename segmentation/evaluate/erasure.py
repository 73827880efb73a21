"""Erasure: a tombstone of the topic `profiles` makes a shard forget a user.

A tombstone with Kafka timestamp T takes away everything of its user with event_time <= T. What arrived
already and is after T is taken again as a new user's, in order of (known_at, event_time, event_id), each
event with the known_at that it has: no event up to T had a share in it, so it does not matter whether a
tombstone overtakes events that come after it. What arrives later and is not after T is dropped.

- With the live clock T is at most the clock: a producer's clock that is ahead must not shut a user out.
- T is at least the watermark less the dedupe horizon. Older events are kept as sums only, out of which
  one user's days cannot be taken, so a tombstone that comes that late erases them all.
- A tombstone that is not after the user's last one changes nothing.

Who was erased is remembered as BLAKE2b-128 of the id, so that a replay does not bring anybody back.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.edges import Edge, instants
from segmentation.evaluate.network import Network
from segmentation.events.rows import Bool, Int64, Profiles, Rows
from segmentation.state.dictionary import Dictionary
from segmentation.state.log import Columns, Log
from segmentation.state.users import Users
from segmentation.types import NEVER

Array = NDArray[Any]
DIGEST_BYTES = 16


def digest_of(user_id: str) -> bytes:
    return blake2b(user_id.encode(), digest_size=DIGEST_BYTES).digest()


class Erasures:
    """Who was erased, up to when (µs). A shard may know of users that are another shard's; it never meets them."""

    def __init__(self) -> None:
        self._until: dict[bytes, int] = {}
        self._latest = NEVER

    def __len__(self) -> int:
        return len(self._until)

    def until(self, user_id: str) -> int:
        """NEVER where the user was not erased."""
        return self._until.get(digest_of(user_id), NEVER)

    def add(self, digest: bytes, until: int) -> None:
        if until > self._until.get(digest, NEVER):
            self._until[digest] = until
            self._latest = max(self._latest, until)

    def items(self) -> Iterator[tuple[bytes, int]]:
        yield from self._until.items()

    def lacking(self, others: Mapping[bytes, int]) -> int:
        """How many of `others` are not erased as far here."""
        return sum(until > self._until.get(digest, NEVER) for digest, until in others.items())

    def new(self, profiles: Profiles, watermark: Int64, horizon: int | None, clock: int | None) -> dict[str, int]:
        """What these records (watermark int64[n]: the shard's at each one's arrival) erase: user id -> T, µs."""
        found: dict[str, int] = {}
        for record in np.flatnonzero(profiles.erased).tolist():
            until = int(profiles.time[record])
            if clock is not None:
                until = min(until, clock)
            if horizon is not None:
                until = max(until, int(watermark[record]) - horizon)
            user_id = profiles.user_ids[record]
            if until > found.get(user_id, NEVER) and until > self.until(user_id):
                found[user_id] = until
        for user_id, until in found.items():
            self.add(digest_of(user_id), until)
        return found

    def covered(self, rows: Rows) -> Bool | None:
        """Which events are not after their user's erasure; None: none is."""
        old = np.flatnonzero(rows.time <= self._latest)
        if not old.size:
            return None
        out = np.zeros(len(rows), np.bool_)
        used, place = np.unique(rows.user[old], return_inverse=True)
        until = np.array([self.until(rows.user_ids[user]) for user in used.tolist()], np.int64)
        out[old] = rows.time[old] <= until[place]
        return out if out.any() else None

    def dump(self) -> dict[str, Any]:
        digests = np.frombuffer(b"".join(self._until), np.uint8)
        return {"digests": digests, "until": np.fromiter(self._until.values(), np.int64, len(self._until))}

    def load(self, state: Mapping[str, Any]) -> None:
        digests = state["digests"].tobytes()
        for place, until in enumerate(state["until"].tolist()):
            self.add(digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES], until)


def numbered(found: Mapping[str, int], users: Users) -> tuple[Int64, Int64]:
    """(numbers, ascending, and T) of those users of user id -> T that the shard knows."""
    known = sorted((users.find(user_id), until) for user_id, until in found.items() if users.find(user_id) >= 0)
    return np.array([number for number, _ in known], np.int64), np.array([until for _, until in known], np.int64)


def begin_anew(users: Int64, until: Int64, arrived: list[Columns], log: Log) -> Columns:
    """Takes the events of `users` (int64[n], ascending, distinct) up to until[n] away, from the log and from
    `arrived`, pieces in order of arrival that have not taken effect. Returns what stays of these users, which
    is in the log and in no piece any more, in the order in which it is to be taken again."""
    for place, rows in enumerate(arrived):
        theirs = np.isin(rows["user"], users)
        if theirs.any():
            arrived[place] = {name: column[~theirs] for name, column in rows.items()}
    stay = log.erase(users, until)
    order = np.lexsort((_ranks(stay["event_id"]), stay["time"], stay["known"]))
    return {name: column[order] for name, column in stay.items()}


def taken_again(events: Columns, edge: Edge, applied_to: int) -> Iterator[Columns]:
    """Those of the events that passed the edge before applied_to (µs), up to which expiries have been
    applied: only what is taken again can have missed them."""
    if (old := instants(edge, events["time"]) < applied_to).any():
        yield {name: column[old] for name, column in events.items()}


def _ranks(texts: Array) -> Int64:
    return np.asarray(np.unique(texts.astype(object), return_inverse=True)[1], np.int64)


def drop_texts(texts: Dictionary, users: int, network: Network, log: Log, waiting: Iterable[Columns],
               columns: Sequence[str]) -> None:  # fmt: skip
    """Lets go of the texts that nothing refers to. columns: those of the log's columns that are codes of texts."""
    used = np.zeros(len(texts), np.bool_)
    used[network.texts(np.arange(users))] = True
    for rows in (*log.held(), *waiting):
        for name in columns:
            codes = rows[name]
            used[codes[codes >= 0]] = True
    texts.forget(np.flatnonzero(~used).tolist())
