"""Queries for operators: how far the engine is, what was refused, what became of one message."""

from dataclasses import dataclass
from typing import Any

from segmentation.types import NEVER
from storage.arrays import micros_sql
from storage.messages import unpack_headers
from storage.queries import Query, Row


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """watermark: µs, None before any event; offsets: reached per partition; updated_at: µs, of the last commit."""

    shard: int
    step: int
    watermark: int | None
    offsets: dict[int, int]
    steps_since_checkpoint: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class StoredDeadLetter:
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    reason: str
    detail: str
    at: int


@dataclass(frozen=True, slots=True)
class UserTransition:
    seq: int
    segment: str
    entered: bool
    effective_at: int
    cause: str
    version: int


def shards() -> Query[list[ShardStatus]]:
    def build(rows: list[Row]) -> list[ShardStatus]:
        return [
            ShardStatus(shard, step, None if mark <= NEVER else mark, _offsets(offsets), count, at)
            for shard, step, mark, offsets, count, at in rows
        ]

    sql = f"""
        SELECT s.shard, s.step, s.watermark, s.offsets,
               s.step - coalesce((s.checkpoint->>'step')::bigint, 0), {micros_sql("s.updated_at")}
        FROM tidegate.shards s ORDER BY s.shard
    """
    return Query(sql, [], build)


def totals() -> Query[dict[str, int]]:
    """users (known), memberships, outbox (messages not sent yet), dead_letters."""
    sql = """
        SELECT (SELECT count(*) FROM tidegate.users WHERE known),
               (SELECT coalesce(sum(members), 0)::bigint FROM tidegate.member_counts),
               (SELECT count(*) FROM tidegate.outbox), (SELECT count(*) FROM tidegate.dead_letters)
    """
    return Query(sql, [], lambda rows: dict(zip(("users", "memberships", "outbox", "dead_letters"), rows[0])))


def dead_letters(limit: int, reason: str | None = None) -> Query[list[StoredDeadLetter]]:
    """The newest first."""
    condition = "" if reason is None else "WHERE reason = %s"
    return Query(
        f"{_DEAD_LETTER} {condition} ORDER BY at DESC, topic, partition, \"offset\" DESC LIMIT %s",
        [*([] if reason is None else [reason]), limit],
        lambda rows: [_dead_letter(row) for row in rows],
    )


def dead_letter(topic: str, partition: int, offset: int) -> Query[StoredDeadLetter | None]:
    return Query(
        f'{_DEAD_LETTER} WHERE topic = %s AND partition = %s AND "offset" = %s',
        [topic, partition, offset],
        lambda rows: _dead_letter(rows[0]) if rows else None,
    )


def passed(partition: int, offset: int) -> Query[bool]:
    """True once every shard has stored the outcome of the message at `offset`."""
    sql = """
        SELECT count(*) > 0 AND bool_and(coalesce((offsets->>%s)::bigint, 0) > %s) FROM tidegate.shards
    """
    return Query(sql, [str(partition), offset], lambda rows: bool(rows[0][0]))


def last_seq(user_id: str) -> Query[int]:
    """0 for a user without transitions."""
    return Query("SELECT seq FROM tidegate.users WHERE user_id = %s", [user_id], lambda rows: rows[0][0] if rows else 0)


def transitions(user_id: str, after_seq: int = 0) -> Query[list[UserTransition]]:
    sql = f"""
        SELECT t.seq, d.name, t.entered, {micros_sql("t.effective_at")}, t.cause, t.version
        FROM tidegate.transitions t JOIN tidegate.definitions d ON d.id = t.segment_id
        WHERE t.user_id = %s AND t.seq > %s ORDER BY t.seq, d.name
    """
    return Query(sql, [user_id, after_seq], lambda rows: [UserTransition(*row) for row in rows])


_DEAD_LETTER = f"""
    SELECT topic, partition, "offset", key, value, headers, reason, detail, {micros_sql("at")}
    FROM tidegate.dead_letters
"""


def _dead_letter(row: Row) -> StoredDeadLetter:
    topic, partition, offset, key, value, headers, reason, detail, at = row
    return StoredDeadLetter(topic, partition, offset, key, value, unpack_headers(headers), reason, detail, at)


def _offsets(stored: dict[str, Any]) -> dict[int, int]:
    return {int(partition): offset for partition, offset in stored.items()}
