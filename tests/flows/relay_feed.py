"""What an engine puts into the outbox, from several shards at once, and whether readers get it once and in order."""

import json
import random
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress

import psycopg
from confluent_kafka import Message

from storage import arrays, postgres
from storage.messages import DEAD_LETTER, ERASED, TRANSITION

#: Per user in order of commit: seq, or None where the user was erased. Dead letters: each its own "user", once.
Read = dict[str, list[int | None]]
Row = tuple[str, str, int | None]
LOCK = "SELECT FROM tidegate.shards WHERE shard = %s FOR UPDATE"
PUT = """
    INSERT INTO tidegate.outbox (shard, kind, key, value)
    SELECT %s, kind, key, value FROM unnest(%s::text[], %s::bytea[], %s::bytea[])
        WITH ORDINALITY AS f(kind, key, value, place) ORDER BY place
"""
STEP = "UPDATE tidegate.shards SET step = %s WHERE shard = %s"


class Feed:
    """A thread per shard, each transaction under the lock of its shard's row, as the engine's writer does it."""

    def __init__(self, url: str, seed: int, shards: int = 4) -> None:
        self._url = url
        self._end, self._never = threading.Event(), threading.Event()
        with closing(postgres.connect(url, autocommit=True)) as connection:
            connection.execute(
                "INSERT INTO tidegate.shards (shard, watermark) SELECT s, 0 FROM generate_series(0, %s) AS s",
                [shards - 1],
            )
        self._shards = [_Shard(number, random.Random(f"{seed} {number}")) for number in range(shards)]
        self._threads = [threading.Thread(target=self._feed, args=[shard], daemon=True) for shard in self._shards]
        for thread in self._threads:
            thread.start()

    @property
    def messages(self) -> int:
        return sum(shard.messages for shard in self._shards)

    def end(self) -> Read:
        """No more; what was committed."""
        self._end.set()
        for thread in self._threads:
            thread.join(60)
        return {user: seqs for shard in self._shards for user, seqs in shard.committed.items()}

    def _feed(self, shard: "_Shard") -> None:
        # The last one counts too: where the connection was lost, the database says whether it was committed.
        while shard.open or not self._end.is_set():
            with (
                suppress(postgres.DatabaseError, psycopg.OperationalError),
                closing(postgres.connect(self._url, autocommit=True)) as connection,
            ):
                step = connection.execute("SELECT step FROM tidegate.shards WHERE shard = %s", [shard.number])
                shard.resume(step.fetchall()[0][0])
                while not self._end.is_set():
                    self._put(connection, shard)
            self._never.wait(0.05)

    def _put(self, connection: postgres.Connection, shard: "_Shard") -> None:
        rows = shard.next()
        with connection.transaction():
            connection.execute(LOCK, [shard.number])
            connection.execute(
                PUT,
                [shard.number, arrays.texts(kind for kind, _, _ in rows), arrays.texts(user for _, user, _ in rows),
                 arrays.byte_strings([None if seq is None else json.dumps(seq).encode() for _, _, seq in rows])],
            )
            connection.execute(STEP, [shard.step, shard.number])
            # Ids of several shards mix, and become visible in another order than they were given.
            self._never.wait(shard.draw.random() * 0.01)
        shard.resume(shard.step)
        self._never.wait(shard.draw.random() * 0.1)


class _Shard:
    """Random messages of a shard's users; counted as committed once it is known that they were."""

    USERS = 40

    def __init__(self, number: int, draw: random.Random) -> None:
        self.number, self.draw = number, draw
        self.committed: Read = defaultdict(list)
        self.step = self.messages = 0
        self._letters = 0
        self.open: list[Row] = []

    def next(self) -> list[Row]:
        last: dict[str, int | None] = {}
        for _ in range(self.draw.randint(1, 8)):
            user, kind = f"s{self.number}-u{self.draw.randrange(self.USERS)}", self.draw.random()
            seq = last[user] if user in last else next(reversed(self.committed[user]), None)
            if kind < 0.05:
                self._letters += 1
                self.open.append((DEAD_LETTER, f"letter-{self.number}-{self._letters}", 1))
            elif kind < 0.08 and seq is not None:
                last[user] = None
                self.open.append((ERASED, user, None))
            else:
                last[user] = (seq or 0) + 1
                self.open.append((TRANSITION, user, last[user]))
        self.step += 1
        return self.open

    def resume(self, step: int) -> None:
        """The database is at that step: the open messages were committed, or they were not."""
        if step == self.step:
            for _, user, seq in self.open:
                self.committed[user].append(seq)
            self.messages += len(self.open)
        self.step = step
        self.open = []


def as_read(messages: Sequence[Message]) -> Read:
    found: Read = defaultdict(list)
    for message in messages:
        value = message.value()
        found[(message.key() or b"").decode()].append(None if value is None else json.loads(value))
    return found


def differences(expected: Mapping[str, list[int | None]], read: Mapping[str, list[int | None]]) -> dict[str, int]:
    """How many messages are missing, how many too many, and of how many users the order is another."""
    found = {"missing": 0, "repeated": 0, "disordered": 0}
    for user in {*expected, *read}:
        wanted, got = expected.get(user, []), read.get(user, [])
        for value in {*wanted, *got}:
            more = got.count(value) - wanted.count(value)
            found["missing"] += max(0, -more)
            found["repeated"] += max(0, more)
        found["disordered"] += wanted != got and sorted(map(str, wanted)) == sorted(map(str, got))
    return found
