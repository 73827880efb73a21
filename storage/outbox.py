"""The relay's side of the outbox: messages that were committed with the membership and are to be sent.

One relay at a time, by an advisory lock of its session; so what is done here on a connection whose
session has ended fails. A batch is fixed (`next`), sent, and settled (`next` again, or `settle`):
only then are its rows deleted. Between the two, `under_way` says to whoever starts anew which batch
was fixed last; whether it was sent, Kafka says, to which its token was given with its messages.

Which rows a batch has is stored as their ids, not as a bound: ids are allotted before a transaction
commits, so a smaller id may become visible after a greater one. That does not matter within a user,
whose messages all come from one shard, whose next transaction begins after its last one was
committed: a user's ids become visible in their order. (So it is when the number of shards changes: the
new one's first transaction begins after the last of the old one.)

A message that Kafka refuses is held. It stays in the outbox, and a user's later ones behind it. Rows with many messages
(storage.packing) are unpacked where that is needed, which is only then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from storage import arrays, packing, postgres
from storage.messages import DEAD_LETTER, ERASED, TRANSITION, unpack_headers
from storage.postgres import Connection, DatabaseLost
from storage.silent import end_silent_relay

__all__ = ["DEAD_LETTER", "ERASED", "TRANSITION", "Batch", "Message", "Outbox"]

_LOCK = 0x7469_6465_6F75_7462  # "tideoutb"

#: At most so much in one batch. Bytes are those of values and headers; a single message may have more.
ROWS, BYTES = 10_000, 16 << 20

#: Tables are small when a statement is planned and may be large when it runs.
_SESSION = """
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
    SET max_parallel_workers_per_gather = 0
"""

_SIZE = "coalesce(octet_length(o.value), 0) + coalesce(pg_column_size(o.headers), 0)"
_HOLDS = "SELECT FROM tidegate.outbox WHERE held_at IS NOT NULL AND kind <> 'dead_letter'"
_BEHIND_HELD = """
    SELECT FROM tidegate.outbox h
    WHERE h.held_at IS NOT NULL AND h.kind <> 'dead_letter' AND h.key = o.key AND h.id < o.id
"""
#: What can be sent: neither held nor behind what is. Mostly nothing is, which is looked up once, not for every row.
#: Otherwise, who is behind it is seen in unpacked rows only; so nothing goes from the first packed one on.
_FREE = f"""
    o.held_at IS NULL AND (
        NOT EXISTS ({_HOLDS})
        OR o.id < coalesce((SELECT min(id) FROM tidegate.outbox WHERE kind = 'packed'), {2**63 - 1})
        AND (o.kind = 'dead_letter' OR NOT EXISTS ({_BEHIND_HELD}))
    )
"""
#: Rows that follow each other, slot by slot, have one `run`; others, unpacked or from before there were slots, have
#: one each. A packed row has its whole slot, wherever its messages are then.
_CHOSEN = f"""
    SELECT id, CASE WHEN kind = 'packed' THEN id + {packing.SLOT - 1} ELSE id END AS upto,
           CASE WHEN slot THEN id / {packing.SLOT} - row_number() OVER (PARTITION BY slot ORDER BY id) ELSE -id END
               AS run,
           sum(size) OVER w - size AS before, sum(messages) OVER w - messages AS before_messages
    FROM (
        SELECT o.id, o.kind, greatest(o.messages, 1) AS messages, {_SIZE} AS size,
               o.messages > 0 AND mod(o.id, {packing.SLOT}) = 0 AS slot
        FROM tidegate.outbox o WHERE {_FREE} ORDER BY o.id LIMIT %(rows)s
    ) AS first
    WINDOW w AS (ORDER BY id ROWS UNBOUNDED PRECEDING)
"""
#: The held message that was tried longest ago and that nothing of its user's must precede.
_OLDEST_HELD = """
    SELECT o.id, o.id AS upto, 0 AS run, 0 AS before, 0 AS before_messages FROM tidegate.outbox o
    WHERE o.held_at < now() - make_interval(secs => %(after)s) AND (o.kind = 'dead_letter' OR NOT EXISTS (
        SELECT FROM tidegate.outbox e WHERE e.key = o.key AND e.id < o.id AND e.kind <> 'dead_letter'
    ))
    ORDER BY o.held_at, o.id LIMIT 1
"""
_FIX = """
    UPDATE tidegate.relay SET batch = batch + 1, token = gen_random_uuid(), ids = fixed.ids
    FROM (
        SELECT range_agg(part) AS ids
        FROM (
            SELECT int8range(min(id), max(upto), '[]') AS part FROM ({}) AS chosen
            WHERE before < %(bytes)s AND before_messages < %(rows)s GROUP BY run
        ) AS parts
    ) AS fixed
    WHERE token IS NULL AND fixed.ids IS NOT NULL
    RETURNING batch, token::text
"""
#: OFFSET 0: part by part through the index, whatever the planner believes of the tables' sizes.
_ROWS = """
    FROM tidegate.relay r, unnest(r.ids) AS part(ids), LATERAL (
        SELECT o.id, o.kind, o.key, o.value, o.headers FROM tidegate.outbox o
        WHERE o.id >= lower(part.ids) AND o.id < upper(part.ids) OFFSET 0
    ) AS o
"""
#: Of packed rows `o`.
_FIRST_PACKED = """
    o.id IN (
        SELECT id FROM (
            SELECT p.id, sum(p.messages) OVER (ORDER BY p.id) - p.messages AS before
            FROM (SELECT id, messages FROM tidegate.outbox WHERE kind = 'packed' ORDER BY id LIMIT %(rows)s) AS p
        ) AS each WHERE before < %(rows)s
    )
"""
_OF_BATCH = "(SELECT r.ids FROM tidegate.relay r WHERE r.token = %s) @> o.id"
_MESSAGES = f"SELECT o.* {_ROWS} ORDER BY o.id"
_DELETE = f"DELETE FROM tidegate.outbox WHERE id = ANY(ARRAY(SELECT o.id {_ROWS} WHERE r.token = %s))"
_END = "UPDATE tidegate.relay SET token = NULL, ids = NULL WHERE token = %s"
_AS_LARGE = "octet_length(o.value) >= %(size)s"
_HOLD_LARGE = """
    UPDATE tidegate.outbox o SET held_at = now(), held_reason = %(reason)s
    WHERE o.held_at IS NULL AND o.kind <> 'packed' AND (o.kind = 'dead_letter') = %(dead_letters)s
    AND octet_length(o.value) >= %(size)s
"""


class Message(NamedTuple):
    """kind: TRANSITION, ERASED (no value) or DEAD_LETTER, which tells the topic. (A tuple, since there are very many:
    a frozen dataclass takes three times as long to make.)"""

    id: int
    kind: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class Batch:
    """number: greater than that of every earlier batch; token: no other batch ever has it.

    messages: in order of id; fewer than were fixed, none even, where some were deleted in between.
    """

    number: int
    token: str
    messages: list[Message]


class Outbox:
    """On a connection of its own, which must be in autocommit (`postgres.connect(url, autocommit=True)`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._where = connection, postgres.address_of(connection)
        self._mine = False
        self._holds: bool | None = None

    def acquire(self) -> bool:
        """True if this is the relay now: until `release` or the end of the connection. Ends the session of a relay
        that is silent."""
        if not self._mine:
            with postgres.foreign_errors(self._where):
                row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK]).fetchone()
                self._mine = row is not None and bool(row[0])
                if self._mine:
                    self._connection.execute(_SESSION)
                    self._connection.execute("INSERT INTO tidegate.relay DEFAULT VALUES ON CONFLICT DO NOTHING")
                else:
                    end_silent_relay(self._connection, _LOCK)
        return self._mine

    def release(self) -> None:
        if self._mine:
            self._mine = False
            with postgres.foreign_errors(self._where):
                self._connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])

    def identity(self) -> str:
        """The same for every relay of this database, and for no other's."""
        return str(self._relay()[0])

    def under_way(self) -> str | None:
        """Token of the last batch, unless it was settled or dropped."""
        return self._relay()[1]

    def next(self, sent: Batch | None = None, rows: int = ROWS, size: int = BYTES) -> Batch | None:
        """Settle the batch that was sent and fix the next one, in one transaction; None where nothing waits."""
        assert self._mine, "acquire() first"
        limits = {"rows": rows, "bytes": size}
        with postgres.foreign_errors(self._where):
            if self._holding():
                with self._connection.transaction():
                    packing.unpack(self._connection, _FIRST_PACKED, limits)
            if sent is None:
                # Asked a hundred times a second while nothing happens, so the cheap question comes first.
                if self._connection.execute("SELECT FROM tidegate.outbox LIMIT 1").rowcount == 0:
                    return None
                return self._fetched(self._connection.execute(_FIX.format(_CHOSEN).encode(), limits).fetchone())
            with postgres.pipelined(self._connection):
                self._delete(sent.token)
                ended = self._connection.execute(_END, [sent.token])
                fixed = self._connection.execute(_FIX.format(_CHOSEN).encode(), limits)
            self._check(ended.rowcount)
            return self._fetched(fixed.fetchone())

    def next_held(self, after_s: float) -> Batch | None:
        """One held message alone, fixed as a batch: of those not tried for after_s seconds the oldest."""
        assert self._mine, "acquire() first"
        self._holds = None
        with postgres.foreign_errors(self._where):
            limits = {"after": after_s, "bytes": 1, "rows": 1}
            row = self._connection.execute(_FIX.format(_OLDEST_HELD).encode(), limits)
            return self._fetched(row.fetchone())

    def settle(self, token: str) -> None:
        """The batch was sent: its rows go."""
        assert self._mine, "acquire() first"
        with postgres.foreign_errors(self._where), self._connection.transaction():
            self._delete(token)
            self._check(self._connection.execute(_END, [token]).rowcount)

    def drop(self, token: str, sent: Sequence[int] = (), refused: Mapping[int, str] | None = None) -> None:
        """The batch as such was not sent: its rows are free again, but for those of `sent`, which go.

        refused: ids to be held, with the reason.
        """
        assert self._mine, "acquire() first"
        refused = refused or {}
        with postgres.foreign_errors(self._where), self._connection.transaction():
            if sent or refused:
                packing.unpack(self._connection, _OF_BATCH, [token])
            self._check(self._connection.execute(_END, [token]).rowcount)
            self._connection.execute(
                "DELETE FROM tidegate.outbox WHERE id = ANY(%s::bigint[])", [arrays.bigints(list(sent))]
            )
            self._connection.execute(
                """
                UPDATE tidegate.outbox o SET held_at = now(), held_reason = f.reason
                FROM unnest(%s::bigint[], %s::text[]) AS f(id, reason) WHERE o.id = f.id
                """,
                [list(refused), list(refused.values())],
            )
        self._holds = None

    def hold_large(self, dead_letters: bool, size: int, reason: str) -> int:
        """Hold what waits for that topic and a value of `size` bytes or more; how many there were."""
        with postgres.foreign_errors(self._where):
            values = {"dead_letters": dead_letters, "size": size, "reason": reason}
            with self._connection.transaction():
                if not dead_letters:
                    packing.unpack(self._connection, _AS_LARGE, values)
                found = self._connection.execute(_HOLD_LARGE.encode(), values).rowcount
            self._holds = None
            return found

    def release_held(self) -> None:
        self._holds = None
        with postgres.foreign_errors(self._where):
            self._connection.execute(
                "UPDATE tidegate.outbox SET held_at = NULL, held_reason = NULL WHERE held_at IS NOT NULL"
            )

    def held(self) -> int:
        with postgres.foreign_errors(self._where):
            row = self._connection.execute("SELECT count(*) FROM tidegate.outbox WHERE held_at IS NOT NULL").fetchone()
        return 0 if row is None else int(row[0])

    def _holding(self) -> bool:
        """Is a user's message held? Asked again when that may have changed; an erasure may end it unseen."""
        if self._holds is None:
            self._holds = self._connection.execute(f"SELECT EXISTS ({_HOLDS})".encode()).fetchall()[0][0]
        return self._holds

    def _delete(self, token: str) -> None:
        for _ in range(2):  # again, for an erasure that the first waited for may have unpacked
            self._connection.execute(_DELETE, [token])

    def _check(self, ended: int) -> None:
        if ended != 1:
            raise DatabaseLost(f"{self._where}: another relay has taken over.")

    def _fetched(self, fixed: tuple[int, str] | None) -> Batch | None:
        if fixed is None:
            return None
        rows = self._connection.execute(_MESSAGES, binary=True).fetchall()
        messages: list[Message] = []
        for id, kind, key, value, headers in rows:
            if kind == packing.PACKED:
                messages += [Message(one, TRANSITION, *pair, []) for one, pair in packing.unpacked(id, value)]
            else:
                messages.append(Message(id, kind, key, value, unpack_headers(headers) if headers else []))
        return Batch(fixed[0], fixed[1], messages)

    def _relay(self) -> tuple[str, str | None]:
        assert self._mine, "acquire() first"
        with postgres.foreign_errors(self._where):
            row = self._connection.execute("SELECT identity::text, token::text FROM tidegate.relay").fetchone()
        if row is None:
            raise DatabaseLost(f"{self._where} was emptied.")
        return row
