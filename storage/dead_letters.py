"""Refused messages as they are stored: found, read one by one or in pages, and marked when they were sent again.

A letter is identified by its origin. `replayed` letters have been acknowledged by Kafka once more;
what became of them there is asked of the engine's progress when it is wanted.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from segmentation.errors import TidegateError
from segmentation.events.origin import Origin
from segmentation.events.rows import PROFILES
from storage import arrays, postgres
from storage.messages import unpack_headers
from storage.migrate import check_migrated
from storage.postgres import Connection

#: Bytes of a value that a list needs to show it.
START_BYTES = 400
#: What is read at once for a replay.
PAGE_ROWS, PAGE_BYTES = 1_000, 8 << 20


class NoSuchLetter(TidegateError):
    """No letter has this origin."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left out selects nothing away. since <= at < until; key: the message's; replayed: those too."""

    reason: str | None = None
    topic: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    key: bytes | None = None
    replayed: bool = False
    origins: Sequence[Origin] | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """to: None where Kafka did not say. outcome: `taken`, `refused` (then reason and detail say why), or
    `waiting` for the engine."""

    at: datetime
    to: Origin | None
    outcome: str
    reason: str | None
    detail: str | None


@dataclass(frozen=True, slots=True)
class Letter:
    """value: its beginning only, where the caller asked for no more; size: its bytes, None without a value.
    stamp: its Kafka timestamp, µs; None where that is not known."""

    origin: Origin
    at: datetime
    reason: str
    detail: str
    key: bytes | None
    value: bytes | None
    size: int | None
    headers: list[tuple[str, bytes | None]]
    stamp: int | None
    replayed: Replayed | None


@dataclass(frozen=True, slots=True)
class Sent:
    """A letter that Kafka acknowledged; to: where it is now, if Kafka said so."""

    origin: Origin
    topic: str
    to: Origin | None


@dataclass(frozen=True, slots=True)
class EngineState:
    """What decides about a message sent now. schema: digest, None where no engine ever ran; watermarks: by shard."""

    schema: str | None
    watermarks: Mapping[int, int] = field(default_factory=dict)


_CONDITIONS = {
    "reason": "d.reason = %(reason)s",
    "topic": "d.topic = %(topic)s",
    "since": "d.at >= %(since)s",
    "until": "d.at < %(until)s",
    "key": "d.key = %(key)s",
    "origins": '(d.topic, d.partition, d."offset") IN '
               "(SELECT * FROM unnest(%(topics)s::text[], %(partitions)s::int[], %(offsets)s::bigint[]))",
}  # fmt: skip
_LETTERS = """
    SELECT d.topic, d.partition, d."offset", d.at, d.reason, d.detail, d.key,
           CASE WHEN %(whole)s THEN d.value ELSE substring(d.value FROM 1 FOR %(start)s) END, octet_length(d.value),
           d.headers, d.stamp, d.replayed_at, d.replayed_topic, d.replayed_partition, d.replayed_offset, again.reason,
           again.detail,
           (SELECT count(*) > 0 AND bool_and(
                coalesce((s.offsets ->> (d.replayed_partition + e.first)::text)::bigint, 0) > d.replayed_offset)
            FROM tidegate.shards s, LATERAL (
                SELECT CASE WHEN d.replayed_topic = coalesce(options ->> 'profiles', 'profiles')
                            THEN %(profiles)s ELSE 0 END AS first
                FROM tidegate.engine) e)
    FROM tidegate.dead_letters d LEFT JOIN tidegate.dead_letters again
        ON (again.topic, again.partition, again."offset") = (d.replayed_topic, d.replayed_partition, d.replayed_offset)
"""
_NEWEST = 'ORDER BY d.at DESC, d.topic DESC, d.partition DESC, d."offset" DESC LIMIT %(limit)s'
_OLDER = """
    AND (d.at, d.topic, d.partition, d."offset") < (
        SELECT at, topic, partition, "offset" FROM tidegate.dead_letters
        WHERE (topic, partition, "offset") = (%(after_topic)s, %(after_partition)s, %(after_offset)s))
"""
# In order of arrival, so that a user's messages keep theirs; as many as fit into the page, but one at least. Page by
# page by the primary key: the index of `at` must not look like a shorter way.
_BY_KEY = """
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off
"""
_PAGE = """
    SELECT topic, partition, "offset" FROM (
        SELECT *, coalesce(sum(size) OVER (ORDER BY topic, partition, "offset"
                                           ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
        FROM (
            SELECT d.topic, d.partition, d."offset", coalesce(octet_length(d.value), 0) AS size
            FROM tidegate.dead_letters d
            WHERE {where} AND d.at + interval '0' <= %(began)s
            ORDER BY d.topic, d.partition, d."offset" LIMIT %(rows)s
        ) AS next
    ) AS summed WHERE before < %(bytes)s ORDER BY topic, partition, "offset"
"""
_FURTHER = ' AND (d.topic, d.partition, d."offset") > (%(after_topic)s, %(after_partition)s, %(after_offset)s)'
_MARK = """
    UPDATE tidegate.dead_letters d
    SET replayed_at = now(), replayed_topic = f.to_topic, replayed_partition = f.to_partition,
        replayed_offset = f.to_offset
    FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::text[], %s::int[], %s::bigint[])
        AS f(topic, partition, "offset", to_topic, to_partition, to_offset)
    WHERE (d.topic, d.partition, d."offset") = (f.topic, f.partition, f."offset")
"""


class DeadLetters:
    """On a connection in autocommit to a migrated database: see `opened`."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._where = connection, postgres.address_of(connection)

    def newest(
        self, selection: Selection, limit: int, after: Origin | None = None, whole: bool = False
    ) -> list[Letter]:
        """The newest first; `after`: those that such a list shows after this one. whole: with all of the value."""
        parameters = {**_parameters(selection), **_after(after), "limit": limit, "whole": whole, "start": START_BYTES}
        with postgres.foreign_errors(self._where):
            if after is not None:
                self.one(after)
            query = f"{_LETTERS} WHERE {_where(selection)} {'' if after is None else _OLDER} {_NEWEST}"
            return [_letter(row) for row in self._connection.execute(query.encode(), parameters, binary=True)]

    def counts(self, selection: Selection) -> dict[str, int]:
        """How many of each reason, most first."""
        with postgres.foreign_errors(self._where):
            rows = self._connection.execute(
                f"SELECT d.reason, count(*) FROM tidegate.dead_letters d WHERE {_where(selection)} "
                "GROUP BY d.reason ORDER BY count(*) DESC, d.reason".encode(),
                _parameters(selection),
            )
            return dict(rows.fetchall())

    def one(self, origin: Origin) -> Letter:
        """With all of its value; NoSuchLetter."""
        found = self.several([origin])
        if not found:
            raise NoSuchLetter(f"no refused event came from {origin}. `tidegate dead-letter list --all` shows them.")
        return found[0]

    def several(self, origins: Sequence[Origin]) -> list[Letter]:
        """Those that are there, in order of arrival, with all of their values."""
        these = Selection(replayed=True, origins=origins)
        parameters = {**_parameters(these), "whole": True, "start": START_BYTES}
        with postgres.foreign_errors(self._where):
            query = f'{_LETTERS} WHERE {_where(these)} ORDER BY d.topic, d.partition, d."offset"'
            return [_letter(row) for row in self._connection.execute(query.encode(), parameters, binary=True)]

    def pages(self, selection: Selection) -> Iterator[list[Letter]]:
        """All of them, in order of arrival; not those that are refused after this was called."""
        with postgres.foreign_errors(self._where):
            self._connection.execute(_BY_KEY)
            (began,) = self._connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        after: Origin | None = None
        while True:
            parameters = {
                **_parameters(selection), **_after(after), "began": began, "rows": PAGE_ROWS, "bytes": PAGE_BYTES,
            }  # fmt: skip
            with postgres.foreign_errors(self._where):
                where = _where(selection) + ("" if after is None else _FURTHER)
                rows = self._connection.execute(_PAGE.format(where=where).encode(), parameters).fetchall()
            if not rows:
                return
            after = Origin(*rows[-1])
            yield self.several([Origin(*row) for row in rows])

    def mark(self, sent: Sequence[Sent]) -> None:
        """They were sent again and acknowledged."""
        with postgres.foreign_errors(self._where):
            self._connection.execute(
                _MARK,
                [
                    *_arrays([each.origin for each in sent]),
                    arrays.texts(each.topic for each in sent),
                    [None if each.to is None else each.to.partition for each in sent],
                    [None if each.to is None else each.to.offset for each in sent],
                ],
            )

    def engine_state(self) -> EngineState:
        with postgres.foreign_errors(self._where):
            row = self._connection.execute("SELECT schema FROM tidegate.engine").fetchone()
            shards = self._connection.execute("SELECT shard, watermark FROM tidegate.shards").fetchall()
        return EngineState(None if row is None else row[0], dict(shards))


@contextmanager
def opened(url: str) -> Iterator[DeadLetters]:
    """Raises DatabaseError where the database cannot be reached or is not migrated."""
    connection = postgres.connect(url, application="tidegate dead-letter", autocommit=True)
    connection.prepare_threshold = None  # what is searched decides how
    try:
        check_migrated(connection, postgres.address(url))
        yield DeadLetters(connection)
    finally:
        connection.close()


def _where(selection: Selection) -> str:
    wanted = [sql for name, sql in _CONDITIONS.items() if getattr(selection, name) is not None]
    return " AND ".join([*wanted, "true" if selection.replayed else "d.replayed_at IS NULL"])


def _parameters(selection: Selection) -> dict[str, Any]:
    topics, partitions, offsets = _arrays(selection.origins or ())
    return {
        "reason": selection.reason, "topic": selection.topic, "since": selection.since, "until": selection.until,
        "key": selection.key, "profiles": PROFILES, "topics": topics, "partitions": partitions, "offsets": offsets,
    }  # fmt: skip


def _after(origin: Origin | None) -> dict[str, Any]:
    if origin is None:
        return {"after_topic": None, "after_partition": None, "after_offset": None}
    return {"after_topic": origin.topic, "after_partition": origin.partition, "after_offset": origin.offset}


def _arrays(origins: Iterable[Origin]) -> tuple[Any, Any, Any]:
    each = list(origins)
    return (
        arrays.texts(origin.topic for origin in each),
        arrays.integers([origin.partition for origin in each]),
        arrays.bigints([origin.offset for origin in each]),
    )


def _letter(row: Sequence[Any]) -> Letter:
    topic, partition, offset, at, reason, detail, key, value, size, headers, stamp, *rest = row
    origin, unpacked = Origin(topic, partition, offset), unpack_headers(headers)
    return Letter(origin, at, reason, detail, key, value, size, unpacked, stamp, _replayed(*rest))


def _replayed(
    at: datetime | None, topic: str, partition: int | None, offset: int | None, reason: str | None, detail: str | None,
    taken: bool | None,
) -> Replayed | None:  # fmt: skip
    if at is None:
        return None
    to = None if partition is None or offset is None else Origin(topic, partition, offset)
    outcome = "refused" if reason is not None else "taken" if taken else "waiting"
    return Replayed(at, to, outcome, reason, detail)
