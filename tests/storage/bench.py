"""How fast commits are: `python tests/storage/bench.py [commits] [messages a commit] [users] [folder]`.

Alternating flips of random users in 100 segments, four shards in one transaction. With a folder,
PostgreSQL is durable (fsync) there; without, nothing is flushed.
"""

import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmentation.compile.tree import Definition, Select
from segmentation.evaluate.step import Part, Transitions
from storage.commits import Commit
from storage.embedded import EmbeddedPostgres
from storage.engine_state import EngineRecord, prepare, take_over
from storage.migrate import migrate
from storage.writer import ShardWriter

SEGMENTS, SHARDS, FLIPS = 100, 4, 1.3


def main(sizes: list[int], folder: str) -> None:
    commits, per_commit, users = sizes
    random = np.random.default_rng(1)
    with EmbeddedPostgres(Path(folder) if folder else None) as server:
        migrate(server.url)
        definitions = [Definition(f"s{i:03}", "", "", Select(None, None)) for i in range(SEGMENTS)]
        segments = prepare(server.url, EngineRecord("", "", {}, SHARDS), definitions)
        taken = take_over(server.url, range(SHARDS))
        numbers = {shard: t.last_step for shard, t in taken.items()}
        inside = np.zeros((users, SEGMENTS), bool)
        seq = np.zeros(users, np.int64)
        with ShardWriter(server.url, {shard: t.token for shard, t in taken.items()}, segments) as writer:
            took, flips, sent = [], 0, 0
            for n in range(commits):
                batch = []
                for shard in range(SHARDS):
                    numbers[shard] += 1
                    moved = _random(random, inside, seq, shard, max(1, per_commit // SHARDS), n)
                    batch.append(Commit(shard, numbers[shard], [Part(0, n, n, n)], n, moved))
                start = time.perf_counter()
                written = writer.write(batch)
                took.append(time.perf_counter() - start)
                flips += written.flips
                sent += written.transitions
        total = sum(took)
        print(
            f"{commits} commits of {per_commit}: {commits / total:.0f} commits/s, {sent / total:.0f} messages/s, "
            f"{flips / total:.0f} flips/s; ms p50 {np.median(took) * 1e3:.1f} p99 {np.percentile(took, 99) * 1e3:.1f}"
        )


def _random(
    random: np.random.Generator, inside: NDArray[np.bool_], seq: NDArray[np.int64], shard: int, count: int, at: int
) -> Transitions:
    user = random.choice(len(inside) // SHARDS, count, replace=False) * SHARDS + shard
    each = 1 + (random.random(count) < FLIPS - 1)
    first = np.concatenate(([0], np.cumsum(each)))
    segment = np.concatenate([random.choice(SEGMENTS, n, replace=False) for n in each]).astype(np.int32)
    who = np.repeat(user, each)
    inside[who, segment] ^= True
    seq[user] += 1
    return Transitions(
        [f"user-{u:08}" for u in user], seq[user], np.full(count, 1_780_000_000_000_000 + at), np.ones(count, bool),
        first, segment, inside[who, segment],
    )


if __name__ == "__main__":
    given = [int(text) for text in sys.argv[1:4]]
    main(given + [300, 300, 200_000][len(given) :], "".join(sys.argv[4:5]))
