"""What the stored membership was computed from, and the taking over of shards.

Start of an engine: `prepare` (compares definitions, registers them), then `take_over` of the shards
of this process, then per shard: load the checkpoint's file or start empty, read Kafka from the
checkpoint's offsets, run the recorded steps again silently, go on with step `last step + 1`.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from psycopg.types.json import Json

from segmentation.compile.tree import Definition
from segmentation.errors import TidegateError
from segmentation.evaluate.step import Part
from segmentation.types import NEVER
from storage import arrays, deployments, postgres
from storage.commits import CheckpointRecord, StoredSegment
from storage.postgres import Connection
from storage.silent import locked


class DefinitionsChanged(TidegateError):
    """A start with other definitions, schema or settings than the stored membership was computed from."""

    def __init__(self, differences: Sequence[str]) -> None:
        self.differences = list(differences)
        super().__init__(
            "The stored membership was computed from something else: " + "; ".join(differences) + ". "
            "Start with --rebuild to read the events again and write the differences, or put the old files back."
        )


class ShardsChanged(DefinitionsChanged):
    """A start with another number of shards than there are, and nothing else changed."""

    def __init__(self, stored: int, wanted: int) -> None:
        self.differences = [f"shards was {stored}, now {wanted}"]
        TidegateError.__init__(
            self,
            f"The stored membership has {stored} shards, and the setting `shards` says {wanted}. "
            f"Set `shards` to {stored}, or end the engine and run `tidegate reshard {wanted}`.",
        )


@dataclass(frozen=True, slots=True)
class EngineRecord:
    """Digests and settings that the membership depends on.

    definitions: `Plan.digest`; schema: `Schema.digest`; segments: name -> `segment_digest`;
    options: further settings that change the meaning, e.g. {"clock": "live", "topic": "events"}.
    """

    definitions: str
    schema: str
    segments: Mapping[str, str]
    shards: int
    options: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        definitions: Sequence[Definition], plan_digest: str, schema_digest: str, shards: int, options: Mapping[str, str]
    ) -> "EngineRecord":
        segments = {definition.name: segment_digest(definition) for definition in definitions}
        return EngineRecord(plan_digest, schema_digest, segments, shards, options)


@dataclass(frozen=True, slots=True)
class RecordedStep:
    number: int
    parts: list[Part]


@dataclass(frozen=True, slots=True)
class Takeover:
    """A shard as its new writer finds it.

    token: for the writer. last_step: the next is one more. offsets: reached per partition.
    checkpoint None: start with an empty shard, from the first offset. steps: those after the
    checkpoint, in order, to be run again silently. heard, silent: see storage.commits.Commit.
    """

    shard: int
    token: int
    last_step: int
    watermark: int
    offsets: dict[int, int]
    checkpoint: CheckpointRecord | None
    steps: list[RecordedStep]
    heard: dict[int, int] = field(default_factory=dict)
    silent: Sequence[int] = ()


def segment_digest(definition: Definition) -> str:
    """Of the meaning, not the text: comments, layout and description do not change it."""
    return blake2b(definition.meaning.encode(), digest_size=16).hexdigest()


def read_engine(connection: Connection) -> EngineRecord | None:
    """None: nothing was ever stored here."""
    row = connection.execute("SELECT definitions, schema, segments, shards, options FROM tidegate.engine").fetchone()
    return None if row is None else EngineRecord(*row)


def check_definitions(stored: EngineRecord, wanted: EngineRecord) -> None:
    """Raises DefinitionsChanged, naming every segment that was added, removed or changed."""
    differences = []
    for verb, names in (
        ("added", sorted(wanted.segments.keys() - stored.segments.keys())),
        ("removed", sorted(stored.segments.keys() - wanted.segments.keys())),
        ("changed", sorted(n for n, d in wanted.segments.items() if stored.segments.get(n, d) != d)),
    ):
        if names:
            differences.append(f"segment{'s' if len(names) > 1 else ''} {verb}: {', '.join(names)}")
    if stored.schema != wanted.schema:
        differences.append("schema.yml changed")
    if not differences and stored.definitions != wanted.definitions:
        differences.append("this version of Tidegate compiles the definitions differently")
    for name in sorted(stored.options.keys() | wanted.options.keys()):
        before, now = stored.options.get(name), wanted.options.get(name)
        if before != now:
            differences.append(f"{name} was {before}, now {now}")
    if stored.shards != wanted.shards:
        if not differences:
            raise ShardsChanged(stored.shards, wanted.shards)
        differences.append(f"shards was {stored.shards}, now {wanted.shards}")
    if differences:
        raise DefinitionsChanged(differences)


def prepare(
    url: str, record: EngineRecord, definitions: Sequence[Definition], files: Mapping[str, str] | None = None
) -> list[StoredSegment]:
    """Compares with what is stored, or stores it where nothing is; registers the segments.

    Raises DefinitionsChanged. `definitions` are the plan's, in its order; so is the result. files: what they were
    compiled from (storage.deployments); the first of a database becomes its version 1.
    """
    where = postgres.address(url)
    with (
        closing(postgres.connect(url, application="tidegate engine")) as connection,
        postgres.foreign_errors(where),
        connection.transaction(),
    ):
        lock(connection)
        stored = read_engine(connection)
        if stored is None:
            store_engine(connection, record)
            create_shards(connection, record.shards)
        else:
            check_definitions(stored, record)
        if files is not None and deployments.read_deployed(connection) is None:
            deployments.adopt(connection, files, deployments.ENGINE if stored is None else deployments.UPGRADED)
        return register(connection, definitions)


def lock(connection: Connection) -> None:
    """One at a time may change engine, definitions and shards; held until the transaction ends."""
    locked(connection, "LOCK TABLE tidegate.engine IN SHARE ROW EXCLUSIVE MODE")


def store_engine(connection: Connection, record: EngineRecord) -> None:
    connection.execute(
        """
        INSERT INTO tidegate.engine (definitions, schema, segments, shards, options) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (only_row) DO UPDATE
        SET definitions = excluded.definitions, schema = excluded.schema, segments = excluded.segments,
            shards = excluded.shards, options = excluded.options, updated_at = now()
        """,
        [record.definitions, record.schema, Json(dict(record.segments)), record.shards, Json(dict(record.options))],
    )


def create_shards(connection: Connection, shards: int) -> None:
    """Those that are missing. A number may have been in use before: tokens and positions never come again."""
    connection.execute(
        """
        INSERT INTO tidegate.shards (shard, watermark, token, position, heard, silent)
        SELECT n, %s, coalesce((SELECT max(token) FROM tidegate.shards), 0),
               coalesce((SELECT max(position) FROM tidegate.shards), 0),
               coalesce((SELECT heard FROM tidegate.shards WHERE shard = 0), '{}'),
               coalesce((SELECT silent FROM tidegate.shards WHERE shard = 0), '{}')
        FROM generate_series(0, %s) n
        ON CONFLICT DO NOTHING
        """,
        [NEVER, shards - 1],
    )


def register(connection: Connection, definitions: Sequence[Definition]) -> list[StoredSegment]:
    """Stores the definitions; a changed meaning gets the next version. Others become `removed`, history stays."""
    found = [_upsert(connection, definition) for definition in definitions]
    connection.execute(
        "UPDATE tidegate.definitions SET state = 'removed', updated_at = now() "
        "WHERE state <> 'removed' AND NOT name = ANY(%s)",
        [[definition.name for definition in definitions]],
    )
    return found


def _upsert(connection: Connection, definition: Definition) -> StoredSegment:
    digest = segment_digest(definition)
    row = connection.execute(
        """
        INSERT INTO tidegate.definitions AS d (name, version, digest, sql, description, owner, tags, enabled, state)
        VALUES (%(name)s, 1, %(digest)s, %(sql)s, %(description)s, %(owner)s, %(tags)s, %(enabled)s, %(state)s)
        ON CONFLICT (name) DO UPDATE
        SET version = d.version + (d.digest <> excluded.digest)::int, digest = excluded.digest, sql = excluded.sql,
            description = excluded.description, owner = excluded.owner, tags = excluded.tags,
            enabled = excluded.enabled, state = excluded.state,
            updated_at = CASE WHEN (d.digest, d.sql, d.description, d.owner, d.tags, d.enabled, d.state)
                IS DISTINCT FROM (excluded.digest, excluded.sql, excluded.description, excluded.owner,
                                  excluded.tags, excluded.enabled, excluded.state)
                THEN now() ELSE d.updated_at END
        RETURNING id, name, version
        """,
        {
            "name": definition.name, "digest": digest, "sql": definition.sql, "description": definition.description,
            "owner": definition.owner, "tags": list(definition.tags), "enabled": definition.enabled,
            "state": "complete" if definition.enabled else "disabled",
        },
    ).fetchone()
    assert row is not None
    segment = StoredSegment(*row)
    connection.execute(
        "INSERT INTO tidegate.definition_versions (segment_id, version, digest, sql) VALUES (%s, %s, %s, %s) "
        "ON CONFLICT DO NOTHING",
        [segment.id, segment.version, digest, definition.sql],
    )
    return segment


def store_complete_since(connection: Connection, since: Mapping[str, int]) -> None:
    """By segment, µs: before it history is missing. Of all others it is whole."""
    connection.execute(
        "UPDATE tidegate.definitions d SET complete_since = f.since FROM tidegate.definitions own "
        "LEFT JOIN unnest(%s::text[], %s::timestamptz[]) AS f(name, since) ON f.name = own.name "
        "WHERE own.id = d.id AND d.complete_since IS DISTINCT FROM f.since",
        [list(since), arrays.timestamps(np.array(list(since.values()), np.int64))],
    )


def read_complete_since(connection: Connection) -> dict[str, str]:
    """The digests of the segments whose older history is missing, by name."""
    return dict(connection.execute(
        "SELECT name, digest FROM tidegate.definitions WHERE complete_since IS NOT NULL AND state <> 'removed'"
    ).fetchall())  # fmt: skip


def complete_since(url: str) -> dict[str, str]:
    """The same by itself. DatabaseError."""
    with (
        closing(postgres.connect(url, application="tidegate", autocommit=True)) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        return read_complete_since(connection)


def tokens(url: str, shards: int) -> dict[int, int]:
    """The present fencing token of each of so many shards; of one that there is not, what it would begin with."""
    with (
        closing(postgres.connect(url, application="tidegate engine")) as connection,
        postgres.foreign_errors(postgres.address(url)),
    ):
        found: dict[int, int] = dict(connection.execute("SELECT shard, token FROM tidegate.shards").fetchall())
    return {shard: found.get(shard, max(found.values(), default=0)) for shard in range(shards)}


def take_over(url: str, shards: Iterable[int], of: int | None = None) -> dict[int, Takeover]:
    """Raises the tokens of `shards`: from here on, whoever wrote them before gets Fenced. By two, for between them
    is that of a rebuild or reshard which was broken off: its files are an earlier writer's and will be deleted.

    of: how many shards there must be in all, else ShardsChanged: their number may have become another
    one since `prepare`. Waits for a commit that is under way; DatabaseError if that takes longer than
    half a minute; ends the session of a writer that stands still in one.
    """
    where, wanted = postgres.address(url), sorted(shards)
    with (
        closing(postgres.connect(url, application="tidegate engine")) as connection,
        postgres.foreign_errors(where),
        connection.transaction(),
    ):
        # Locked before the number is read, so that it cannot change in between.
        locked(connection, "SELECT FROM tidegate.shards WHERE shard = ANY(%s) ORDER BY shard FOR UPDATE", [wanted])
        if of is not None:
            row = connection.execute("SELECT shards FROM tidegate.engine").fetchone()
            if row is not None and row[0] != of:
                raise ShardsChanged(row[0], of)
        return {shard: _take_over(connection, shard, where) for shard in wanted}


def _take_over(connection: Connection, shard: int, where: str) -> Takeover:
    row = connection.execute(
        "UPDATE tidegate.shards SET token = token + 2, followed = NULL, updated_at = now() WHERE shard = %s "
        "RETURNING token, step, watermark, offsets, checkpoint, heard, silent",
        [shard],
    ).fetchone()
    if row is None:
        raise TidegateError(f"{where} has no shard {shard}. Start with --rebuild.")
    token, step, watermark, offsets, checkpoint, heard, silent = row
    first = checkpoint["step"] + 1 if checkpoint else 1
    # Who followed the writer before has ended with it.
    connection.execute("DELETE FROM tidegate.steps WHERE shard = %s AND number < %s", [shard, first])
    recorded = connection.execute(
        "SELECT number, parts FROM tidegate.steps WHERE shard = %s ORDER BY number", [shard]
    ).fetchall()
    if [number for number, _ in recorded] != list(range(first, step + 1)):
        raise TidegateError(
            f"{where}: the recorded steps of shard {shard} are not {first} to {step}. Start with --rebuild."
        )
    return Takeover(
        shard, token, step, watermark, {int(partition): offset for partition, offset in offsets.items()},
        None if checkpoint is None else checkpoint_of(checkpoint),
        [RecordedStep(number, [Part(*part) for part in parts]) for number, parts in recorded],
        {int(partition): at for partition, at in heard.items()}, silent,
    )


def checkpoint_of(stored: dict[str, Any]) -> CheckpointRecord:
    return msgspec.convert(stored, CheckpointRecord, str_keys=True)
