"""The commit: membership, log, outbox and progress of several shards in one transaction.

`ShardWriter.write` either stores all given commits or none. It is idempotent: a step whose number
is already stored is skipped whole, so after a lost connection the same call is simply made again.
The shard's row is locked first; a writer whose token is not the stored one gets Fenced.

Rows travel as one array per column and are unnested by the server, in the list of what is selected: there they go
through row by row, while several arrays in FROM are put aside one by one first (4.8 us a row of transitions instead of
3.6, 3.1 in the order of users). Measured against COPY into a
temporary table and a merge from there, for one table: 20 rows 0.5 ms instead of 0.7, 400 rows
2.1 ms instead of 2.6, 20,000 rows 91 ms instead of 74. Commits are of hundreds, so arrays it is.
`tests/storage/bench.py` measures the whole.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import errors

from segmentation.evaluate.step import Part
from storage import arrays, erasing, guarding, letters, packing, postgres, rows
from storage.commits import CheckpointRecord, Commit, Disagreement, Fenced, StepGap, StoredSegment
from storage.guarding import Limits
from storage.postgres import Connection

log = logging.getLogger(__name__)

#: Table members is found by its keys, always: a plan made while it was small must not scan it when it is large.
SESSION = """
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off;
    SET idle_in_transaction_session_timeout = '60s';
"""

LOCK = "SELECT shard, token, step, position FROM tidegate.shards WHERE shard = ANY(%s) ORDER BY shard FOR UPDATE"

TRANSITIONS = """
    INSERT INTO tidegate.transitions
        (user_id, seq, segment_id, entered, effective_at, cause, version, shard, position)
    SELECT user_id, seq, segment_id, entered, effective_at, CASE WHEN by_event THEN 'event' ELSE 'time' END,
           version, shard, position
    FROM (
        SELECT unnest(%s::text[]) AS user_id, unnest(%s::bigint[]) AS seq, unnest(%s::int[]) AS segment_id,
               unnest(%s::bool[]) AS entered, unnest(%s::timestamptz[]) AS effective_at,
               unnest(%s::bool[]) AS by_event, unnest(%s::int[]) AS version, unnest(%s::int[]) AS shard,
               unnest(%s::bigint[]) AS position
    ) AS f
"""
DELETE = """
    DELETE FROM tidegate.members m
    USING (SELECT unnest(%s::int[]) AS segment_id, unnest(%s::text[]) AS user_id) AS f
    WHERE m.segment_id = f.segment_id AND m.user_id = f.user_id
"""
UPDATE = """
    UPDATE tidegate.members m SET since = f.since, seq = f.seq
    FROM (SELECT unnest(%s::int[]) AS segment_id, unnest(%s::text[]) AS user_id, unnest(%s::timestamptz[]) AS since,
                 unnest(%s::bigint[]) AS seq) AS f
    WHERE m.segment_id = f.segment_id AND m.user_id = f.user_id
"""
INSERT = """
    INSERT INTO tidegate.members (segment_id, user_id, since, seq)
    SELECT unnest(%s::int[]), unnest(%s::text[]), unnest(%s::timestamptz[]), unnest(%s::bigint[])
"""
COUNTS = """
    INSERT INTO tidegate.member_counts AS c (segment_id, shard, members, changed_at)
    SELECT * FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::timestamptz[])
    ON CONFLICT (segment_id, shard) DO UPDATE
    SET members = c.members + excluded.members, changed_at = greatest(c.changed_at, excluded.changed_at)
"""
USERS = """
    INSERT INTO tidegate.users AS u (user_id, shard) SELECT unnest(%s::text[]), unnest(%s::int[])
    ON CONFLICT (user_id) DO UPDATE SET known = true WHERE NOT u.known
"""
OUTBOX = """
    INSERT INTO tidegate.outbox (shard, kind, key, value)
    SELECT unnest(%s::int[]), 'transition', unnest(%s::bytea[]), unnest(%s::bytea[])
"""
STEPS = "INSERT INTO tidegate.steps (shard, number, parts) SELECT * FROM unnest(%s::int[], %s::bigint[], %s::json[])"
#: Those that a saved state has made superfluous are kept where somebody follows (storage.following).
FOLLOWED = """
    INSERT INTO tidegate.steps (shard, number, parts)
    SELECT f.shard, f.number, f.parts FROM unnest(%s::int[], %s::bigint[], %s::json[]) AS f(shard, number, parts)
    JOIN tidegate.shards s ON s.shard = f.shard AND s.followed IS NOT NULL
"""
FORGET = """
    DELETE FROM tidegate.steps t USING unnest(%s::int[], %s::bigint[]) AS f(shard, number)
    JOIN tidegate.shards s ON s.shard = f.shard
    WHERE t.shard = f.shard AND t.number <= least(f.number, s.followed)
"""
SHARDS = """
    UPDATE tidegate.shards s
    SET step = f.step, position = f.position, watermark = f.watermark, offsets = s.offsets || f.offsets,
        checkpoint = coalesce(f.checkpoint, s.checkpoint), updated_at = now(),
        scattered_users = coalesce((f.scattered ->> 0)::bigint, s.scattered_users),
        scattered_names = CASE WHEN f.scattered IS NULL THEN s.scattered_names
                               ELSE ARRAY(SELECT jsonb_array_elements_text(f.scattered -> 1)) END,
        heard = coalesce(f.heard, s.heard),
        silent = CASE WHEN f.silent IS NULL THEN s.silent
                      ELSE ARRAY(SELECT jsonb_array_elements_text(f.silent)::int) END
    FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::bigint[], %s::jsonb[], %s::jsonb[], %s::jsonb[], %s::jsonb[],
                %s::jsonb[])
        AS f(shard, step, position, watermark, offsets, checkpoint, scattered, heard, silent)
    WHERE s.shard = f.shard
"""


_MUST_BE_NEW = ("members_pkey", "transitions_pkey")


@dataclass(frozen=True, slots=True)
class Written:
    """steps: (shard, number) stored now; skipped: steps that were stored before; transitions: messages."""

    steps: list[tuple[int, int]]
    skipped: int
    transitions: int
    flips: int


class ShardWriter:
    """Writes the shards of one process; not for use by two threads at once.

    `tokens` and `segments` are what `engine_state.take_over` and `engine_state.prepare` gave.
    A database that is away is waited for, `retry_seconds` at most (None: for as long as it takes);
    `stop` ends the waiting. user_field: the name under which events have their user's id. limits: of the guard
    against an outage of input; None: nothing is held anew.
    """

    def __init__(
        self,
        url: str,
        tokens: Mapping[int, int],
        segments: Sequence[StoredSegment],
        *,
        stop: threading.Event | None = None,
        retry_seconds: float | None = None,
        user_field: str = "user_id",
        limits: Limits | None = None,
    ) -> None:
        self._url, self._where = url, postgres.address(url)
        self._tokens, self._segments = dict(tokens), list(segments)
        self._stop, self._retry_seconds = stop or threading.Event(), retry_seconds
        self._user_field, self._limits = user_field, limits
        self._connection: Connection | None = None

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def write(self, commits: Sequence[Commit]) -> Written:
        """Stores all of `commits` (any shards of this writer; a shard's steps in order) or raises.

        Raises Fenced, StepGap, Disagreement, and DatabaseError where trying again cannot help.
        """
        pause, waited = postgres.FIRST_WAIT, 0.0
        while True:
            try:
                with postgres.foreign_errors(self._where):
                    return self._transaction(self._connected(), commits)
            except postgres.DatabaseLost as error:
                self.close()
                if self._stop.is_set() or (self._retry_seconds is not None and waited >= self._retry_seconds):
                    raise
                log.warning("%s Trying the same commit again in %.1f s.", error, pause)
                self._stop.wait(pause)
                waited += pause
                pause = min(pause * 2, postgres.LONGEST_WAIT)
            except postgres.DatabaseError as error:
                self.close()
                cause = error.__cause__
                if isinstance(cause, errors.UniqueViolation) and cause.diag.constraint_name in _MUST_BE_NEW:
                    raise _disagreement(cause.diag.message_detail or "a row is there already") from error
                raise
            except BaseException:
                self.close()
                raise

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = postgres.connect(
                self._url, application="tidegate engine", wait=self._retry_seconds, stop=self._stop, autocommit=True
            )
            self._connection = connection  # first of all, so that `close` finds it whatever happens
            connection.execute(SESSION)
            connection.prepare_threshold = 0
        return self._connection

    def _transaction(self, connection: Connection, commits: Sequence[Commit]) -> Written:
        with postgres.pipelined(connection) as pipeline:
            erasing.take_turns(connection, commits)
            shards = sorted({commit.shard for commit in commits})
            rows_locked, standing = connection.execute(LOCK, [shards]), connection.execute(guarding.STANDING.encode())
            locked = rows_locked.fetchall()
            positions, new = self._admit(commits, shards, locked)
            if not new:
                return Written([], len(commits), 0, 0)
            ((held, shifted),) = standing.fetchall()
            held = {*held, *guarding.decide(connection, new, self._segments, self._limits)}
            sent_messages = flipped = 0
            deleted: _Expected = []
            parts = erasing.groups(new)
            for group in parts:
                first = group[0]
                positions[first.shard] = erasing.erase(connection, first, positions[first.shard], self._user_field)
                if held or shifted:
                    group = guarding.withhold(connection, group, self._segments, held, shifted or group is not parts[0])
                sent, flips = rows.messages_and_flips(group, positions, self._segments)
                if new_users := rows.new_users(group):
                    users = arrays.byte_strings(new_users, arrays.TEXT), arrays.integers(list(new_users.values()))
                    connection.execute(USERS, users)
                pairs = rows.pairs_of(flips)
                deleted += _members(connection, flips, pairs)
                _log(connection, sent, flips, pairs)
                sent_messages, flipped = sent_messages + len(sent.key), flipped + len(flips)
                letters.store(connection, [(one.shard, letter) for one in group for letter in one.dead_letters])
            _progress(connection, new, positions)
            pipeline.sync()
            for cursor, expected in deleted:
                if cursor.rowcount != expected:
                    raise _disagreement(f"{expected} members were to leave or to return, {cursor.rowcount} were stored")
        return Written([(c.shard, c.number) for c in new], len(commits) - len(new), sent_messages, flipped)

    def _admit(
        self, commits: Sequence[Commit], shards: Sequence[int], locked: Sequence[tuple[int, int, int, int]]
    ) -> tuple[dict[int, int], list[Commit]]:
        """Last positions per shard, and the commits that are not stored yet."""
        if [row[0] for row in locked] != shards:
            missing = sorted(set(shards) - {row[0] for row in locked})
            raise Fenced(f"{self._where} has no shard {missing[0]}: the engine's state was removed. Start it again.")
        steps, positions = {}, {}
        for shard, token, step, position in locked:
            if token != self._tokens.get(shard):
                raise Fenced(
                    f"Shard {shard} was taken over by another engine (token {token}, ours {self._tokens.get(shard)}). "
                    "This one stops; only one engine may run on a database."
                )
            steps[shard], positions[shard] = step, position
        new = []
        for commit in commits:
            if commit.number <= steps[commit.shard]:
                continue
            if commit.number != steps[commit.shard] + 1:
                raise StepGap(
                    f"Shard {commit.shard}: step {commit.number} does not follow the stored step "
                    f"{steps[commit.shard]}. Start the engine again; it resumes from the database."
                )
            steps[commit.shard] = commit.number
            new.append(commit)
        return positions, new


_Expected = list[tuple[psycopg.Cursor[tuple[object, ...]], int]]


def _members(connection: Connection, flips: rows.Flips, pairs: rows.Pairs) -> _Expected:
    """Statements whose number of rows must come out as given; a member entered twice fails by its key."""
    expected: _Expected = []
    if len(pairs.delete):
        parameters = [arrays.integers(flips.segment[pairs.delete]), _users(flips, pairs.delete)]
        expected.append((connection.execute(DELETE, parameters), len(pairs.delete)))
    for statement, chosen in ((UPDATE, pairs.update), (INSERT, pairs.insert)):
        if len(chosen):
            since, seq = arrays.timestamps(flips.effective_at[chosen]), arrays.bigints(flips.seq[chosen])
            member = [arrays.integers(flips.segment[chosen]), _users(flips, chosen), since, seq]
            expected.append((connection.execute(statement, member), len(chosen)))
    return expected


def _users(flips: rows.Flips, chosen: NDArray[np.int64]) -> arrays.BinaryArray:
    return arrays.byte_strings(flips.user[chosen].tolist(), arrays.TEXT)


def _log(connection: Connection, sent: rows.Messages, flips: rows.Flips, pairs: rows.Pairs) -> None:
    if not sent.key:
        return
    by = pairs.all
    connection.execute(
        TRANSITIONS,
        [_users(flips, by), arrays.bigints(flips.seq[by]), arrays.integers(flips.segment[by]),
         arrays.booleans(flips.entered[by]), arrays.timestamps(flips.effective_at[by]),
         arrays.booleans(flips.by_event[by]), arrays.integers(flips.version[by]), arrays.integers(flips.shard[by]),
         arrays.bigints(flips.position[by])],
    )
    counts = rows.counts_of(flips)
    connection.execute(
        COUNTS,
        [arrays.integers(counts.segment), arrays.integers(counts.shard), arrays.bigints(counts.change),
         arrays.timestamps(counts.changed_at)],
    )
    cuts = [0, *(np.flatnonzero(np.diff(sent.shard)) + 1).tolist(), len(sent.key)]
    for start, end in pairwise(cuts):
        key, value = sent.key[start:end], sent.value[start:end]
        if len(key) >= packing.LEAST:
            packing.store(connection, int(sent.shard[start]), list(zip(key, value)))
        else:
            shard = arrays.integers(sent.shard[start:end])
            connection.execute(OUTBOX, [shard, arrays.byte_strings(key), arrays.byte_strings(value)])


def _progress(connection: Connection, commits: Sequence[Commit], positions: Mapping[int, int]) -> None:
    last: dict[int, Commit] = {}
    scattered: dict[int, str] = {}
    offsets: dict[int, dict[str, int]] = {}
    checkpoints: dict[int, CheckpointRecord] = {}
    heard: dict[int, str] = {}
    silent: dict[int, str] = {}
    for commit in commits:
        last[commit.shard] = commit
        reached = offsets.setdefault(commit.shard, {})
        reached.update((str(part.partition), part.next_offset) for part in commit.parts)
        if commit.scattered is not None:
            scattered[commit.shard] = msgspec.json.encode(commit.scattered).decode()
        if commit.heard is not None:
            heard[commit.shard] = msgspec.json.encode({str(p): at for p, at in commit.heard.items()}).decode()
        if commit.silent is not None:
            silent[commit.shard] = msgspec.json.encode(commit.silent).decode()
        if commit.checkpoint is not None:
            checkpoints[commit.shard] = commit.checkpoint
    encode = msgspec.json.encode
    kept: list[Commit] = []
    saved: list[Commit] = []
    for commit in commits:
        record = checkpoints.get(commit.shard)
        (kept if record is None or commit.number > record.step else saved).append(commit)
    connection.execute(STEPS, _recorded(kept))
    if checkpoints:
        connection.execute(FOLLOWED, _recorded(saved))
        connection.execute(FORGET, [list(checkpoints), [record.step for record in checkpoints.values()]])
    connection.execute(
        SHARDS,
        [list(last), [c.number for c in last.values()], [positions[shard] for shard in last],
         [c.watermark for c in last.values()], [encode(offsets[shard]).decode() for shard in last],
         [encode(checkpoints[shard]).decode() if shard in checkpoints else None for shard in last],
         [scattered.get(shard) for shard in last], [heard.get(shard) for shard in last],
         [silent.get(shard) for shard in last]],
    )


def _recorded(commits: Sequence[Commit]) -> list[list[Any]]:
    parts = [msgspec.json.encode(list(map(_stored, commit.parts))).decode() for commit in commits]
    return [[commit.shard for commit in commits], [commit.number for commit in commits], parts]


def _stored(part: Part) -> tuple[int | None, ...]:
    """As `Part(*stored)` has it again."""
    told = part.partition, part.next_offset, part.clock, part.watermark
    if part.front_at is not None:
        return *told, part.records, part.front_at, part.front_rank
    return told if part.records is None else (*told, part.records)


def _disagreement(reason: str) -> Disagreement:
    return Disagreement(
        f"The engine's transitions contradict the stored membership ({reason}). Nothing was stored. "
        "Start with --rebuild, and please report it."
    )
