"""A stored membership of any size whose every bit follows from a formula, and traffic that changes it.

User number i is in segment number s at the start if (31 i + 17 s) mod 20 = 0, and belongs to shard i mod SHARDS; the
log begins empty. `python -m loadtest.serving_world URL USERS SEGMENTS RATE` flips random (user, segment) pairs, RATE a
second, as an engine would commit them, until it is ended; started again it goes on from what is stored.
"""

import sys
import time
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from segmentation.compile.tree import Definition, Select
from segmentation.evaluate.step import Part, Transitions
from storage import postgres
from storage.commits import Commit
from storage.engine_state import EngineRecord, prepare, take_over
from storage.writer import ShardWriter

SHARDS = 4
START_US = 1_780_000_000_000_000
LATENESS_US = 250_000

#: The formula in SQL (i, s are numbers of user and segment) and as `inside_at_start`.
_INSIDE = "(31 * i + 17 * s) %% 20 = 0"
_COMMITS_A_SECOND = 20


def segment_name(number: int) -> str:
    return f"segment_{number:03}"


def definitions(segments: int) -> list[Definition]:
    return [Definition(segment_name(n), "", "", Select(None, None)) for n in range(segments)]


def inside_at_start(users: int, segments: int) -> NDArray[np.bool_]:
    """(users, segments)."""
    inside: NDArray[np.bool_] = (31 * np.arange(users)[:, None] + 17 * np.arange(segments)[None, :]) % 20 == 0
    return inside


def fill(url: str, users: int, segments: int) -> None:
    """Into a migrated, empty database."""
    stored = prepare(url, EngineRecord("", "", {}, SHARDS), definitions(segments))
    since = f"to_timestamp({START_US // 1_000_000})"
    with closing(postgres.connect(url, autocommit=True)) as connection:
        connection.execute(
            f"INSERT INTO tidegate.users (user_id, shard) SELECT 'u' || i, i %% {SHARDS} "
            "FROM generate_series(0, %s) i".encode(),
            [users - 1],
        )
        connection.execute(
            f"INSERT INTO tidegate.members (segment_id, user_id, since, seq) SELECT (%s::int[])[s + 1], 'u' || i, "
            f"{since}, 0 FROM generate_series(0, %s) s, generate_series(0, %s) i WHERE {_INSIDE}".encode(),
            [[one.id for one in stored], segments - 1, users - 1],
        )
        connection.execute("UPDATE tidegate.shards SET watermark = %s", [START_US])
        connection.execute("VACUUM ANALYZE")


class Traffic:
    """`commit` flips `count` pairs of different users, each at its own microsecond."""

    def __init__(self, url: str, users: int, segments: int, seed: int) -> None:
        stored = prepare(url, EngineRecord("", "", {}, SHARDS), definitions(segments))
        taken = take_over(url, range(SHARDS))
        self._numbers = {shard: one.last_step for shard, one in taken.items()}
        self._writer = ShardWriter(url, {shard: one.token for shard, one in taken.items()}, stored)
        self._random = np.random.default_rng(seed)
        self._inside = inside_at_start(users, segments)
        self._seq = np.zeros(users, np.int64)
        places = {one.id: place for place, one in enumerate(stored)}
        with closing(postgres.connect(url)) as connection:
            for user, seq, segment, entered in connection.execute(
                "SELECT user_id, seq, segment_id, entered FROM tidegate.transitions ORDER BY user_id, seq"
            ):
                self._inside[int(user[1:]), places[segment]] = entered
                self._seq[int(user[1:])] = seq

    def commit(self, count: int) -> None:
        users, segments = self._inside.shape
        who = self._random.choice(users, min(count, users), replace=False)
        what = self._random.integers(0, segments, len(who))
        now = time.time_ns() // 1_000
        commits = []
        for shard in range(SHARDS):
            mine = np.flatnonzero(who % SHARDS == shard)
            user, segment = who[mine], what[mine]
            self._inside[user, segment] ^= True
            self._seq[user] += 1
            self._numbers[shard] += 1
            moved = Transitions(
                [f"u{i}" for i in user.tolist()], self._seq[user], now - np.arange(len(user), dtype=np.int64)[::-1],
                np.ones(len(user), np.bool_), np.arange(len(user) + 1, dtype=np.int64), segment.astype(np.int32),
                self._inside[user, segment],
            )  # fmt: skip
            number, until = self._numbers[shard], now - LATENESS_US
            commits.append(Commit(shard, number, [Part(0, number, now, until)], until, transitions=moved))
        self._writer.write(commits)


def main(url: str, users: int, segments: int, rate: int) -> None:
    traffic = Traffic(url, users, segments, seed=time.time_ns() % 2**32)
    print("ready", flush=True)
    next_at = time.monotonic()
    while True:
        traffic.commit(max(1, rate // _COMMITS_A_SECOND))
        next_at = max(next_at + 1 / _COMMITS_A_SECOND, time.monotonic() - 1)
        time.sleep(max(0.0, next_at - time.monotonic()))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
