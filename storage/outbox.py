"""The relay's side of the outbox: messages that were committed with the membership and are to be sent.

One relay at a time, by an advisory lock of its session. It sends what `claim` gave, waits until
Kafka has acknowledged it, then deletes it; a relay killed in between sends it again (at least once;
readers know a repeat by user_id and seq).

Order: per key. Ids are allotted before a transaction commits, so between shards a smaller id may
become visible after a greater one was sent. A user's messages all come from one shard, whose next
transaction begins after the last one was committed, so a user's ids become visible in their order.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from storage import arrays, postgres
from storage.messages import DEAD_LETTER, TRANSITION, unpack_headers
from storage.postgres import Connection

__all__ = ["DEAD_LETTER", "TRANSITION", "Message", "Outbox"]

_LOCK = 0x7469_6465_6F75_7462  # "tideoutb"


@dataclass(frozen=True, slots=True)
class Message:
    """kind: TRANSITION or DEAD_LETTER, which tells the topic."""

    id: int
    kind: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


class Outbox:
    """On a connection of its own, which must be in autocommit (`postgres.connect(url, autocommit=True)`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._where = connection, postgres.address_of(connection)
        self._mine = False

    def acquire(self) -> bool:
        """True if this is the relay now: until `release` or the end of the connection."""
        if not self._mine:
            with postgres.foreign_errors(self._where):
                row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
            self._mine = row is not None and bool(row[0])
        return self._mine

    def release(self) -> None:
        if self._mine:
            self._mine = False
            with postgres.foreign_errors(self._where):
                self._connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])

    def claim(self, limit: int) -> list[Message]:
        """The first `limit` messages; the same ones again until they are deleted."""
        assert self._mine, "acquire() first"
        with postgres.foreign_errors(self._where):
            rows = self._connection.execute(
                "SELECT id, kind, key, value, headers FROM tidegate.outbox ORDER BY id LIMIT %s", [limit]
            ).fetchall()
        return [Message(id, kind, key, value, unpack_headers(headers)) for id, kind, key, value, headers in rows]

    def delete(self, ids: Iterable[int]) -> int:
        """Of messages that Kafka has acknowledged; returns how many were there."""
        assert self._mine, "acquire() first"
        with postgres.foreign_errors(self._where):
            statement = "DELETE FROM tidegate.outbox WHERE id = ANY(%s::bigint[])"
            return self._connection.execute(statement, [arrays.bigints(list(ids))]).rowcount
