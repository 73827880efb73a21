"""What PostgreSQL said of some users when a saved state was made: their present membership, without the later flips."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import IsolationLevel

from segmentation.evaluate.erasure import digest_of
from segmentation.types import NEVER
from storage.audit.sample import Sample
from storage.engine_state import read_engine
from storage.postgres import Connection
from storage.pruning import covers


@dataclass(frozen=True, slots=True)
class Stored:
    """members: (user, segment), of the users in `told`; of the others nothing can be said any more (erased meanwhile).
    held: segments whose stored membership is not to be what all events say; still: those of them whose answers stand
    still until their release."""

    members: set[tuple[str, str]]
    told: set[str]
    held: set[str]
    still: set[str]


class Moved(Exception):
    """The stored membership is not that of these definitions, or of this state, any more: try again later."""


def read_stored(connection: Connection, sample: Sample, definitions: str) -> Stored:
    """In one snapshot. definitions: the digest of the plan that wrote the state. Raises Moved."""
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    try:
        return _read(connection, sample, definitions)
    finally:
        connection.isolation_level, connection.read_only = None, None


def _read(connection: Connection, sample: Sample, definitions: str) -> Stored:
    seq = {user.user_id: user.seq for user in sample.users}
    with connection.transaction():
        engine = read_engine(connection)
        if engine is None or engine.definitions != definitions:
            raise Moved
        row = connection.execute(
            "SELECT step FROM tidegate.shards WHERE shard = %s", [sample.record.shard]
        ).fetchone()
        record = sample.record
        if row is None or row[0] < record.step or not covers(connection, record.shard, record.step):
            raise Moved
        found = dict(_rows(connection, "SELECT user_id, seq FROM tidegate.users_now WHERE user_id = ANY(%s)", seq))
        erased = _erased_since(connection, seq, sample.erased)
        for user, shift, step in _rows(connection, _SHIFTS, list(seq)):
            if step > sample.record.step:  # what was published up to that state cannot be told from what came later
                erased.add(user)
            seq[user] += shift
        told = {user for user, before in seq.items() if user not in erased and found.get(user, -1) >= before}
        members = set(_rows(connection, _MEMBERS, told))
        for user, number, segment, entered in _rows(connection, _FLIPS, told):
            if number > seq[user]:
                (members.discard if entered else members.add)((user, segment))
        held = connection.execute(
            "SELECT name, held_since IS NOT NULL FROM tidegate.definitions "
            "WHERE state <> 'complete' OR complete_since IS NOT NULL OR held_since IS NOT NULL"
        ).fetchall()
    return Stored(members, told, {name for name, _ in held}, {name for name, still in held if still})


#: Published sequence numbers are the engine's plus these (storage.guarding).
_SHIFTS = "SELECT user_id, shift, step FROM tidegate.seq_shifts WHERE user_id = ANY(%s)"
_MEMBERS = """
    SELECT m.user_id, s.name FROM tidegate.members m JOIN tidegate.definitions s ON s.id = m.segment_id
    WHERE m.user_id = ANY(%s)
"""
#: The last first, so that undoing them in this order ends with what was before all of them.
_FLIPS = """
    SELECT t.user_id, t.seq, s.name, t.entered
    FROM tidegate.transitions t JOIN tidegate.definitions s ON s.id = t.segment_id
    WHERE t.user_id = ANY(%s) ORDER BY t.seq DESC
"""


def _rows(connection: Connection, query: str, users: Iterable[str]) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), [list(users)]).fetchall()


def _erased_since(connection: Connection, users: Iterable[str], before: Mapping[bytes, int]) -> set[str]:
    by_digest = {digest_of(user): user for user in users}
    rows = connection.execute(
        "SELECT digest, until FROM tidegate.erasures WHERE digest = ANY(%s)", [list(by_digest)]
    )
    return {by_digest[bytes(digest)] for digest, until in rows if until > before.get(bytes(digest), NEVER)}
