"""What a commit deletes of erased users, in the same transaction: membership, log, messages not sent yet and
refused messages. Whoever reads the transitions hears of it by a message with the user's key and no value.

A refused message is the user's by its record key, or because its value says `"user_id": "<id>"`; one
without a key also if it holds the id in quotes anywhere.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing

import numpy as np

from segmentation.evaluate.erasure import digest_of
from storage import arrays, postgres
from storage.commits import Commit
from storage.postgres import Connection

_MEMBERS = """
    WITH gone AS (
        DELETE FROM tidegate.members m USING unnest(%s::text[], %s::int[]) AS f(user_id, shard)
        WHERE m.user_id = f.user_id RETURNING m.segment_id, f.shard
    )
    INSERT INTO tidegate.member_counts AS c (segment_id, shard, members, changed_at)
    SELECT segment_id, shard, -count(*), now() FROM gone GROUP BY segment_id, shard
    ON CONFLICT (segment_id, shard) DO UPDATE
    SET members = c.members + excluded.members, changed_at = greatest(c.changed_at, excluded.changed_at)
"""
_BY_ID = (
    "DELETE FROM tidegate.transitions t USING unnest(%s::text[]) AS f(user_id) WHERE t.user_id = f.user_id",
    "DELETE FROM tidegate.users u USING unnest(%s::text[]) AS f(user_id) WHERE u.user_id = f.user_id",
)
#: %s: keys, and as JSON writes the ids. The new version of an id that is erased again has its own message.
_THEIRS = """
    key = f.id OR position('"user_id":'::bytea || f.quoted IN value) > 0
    OR position('"user_id": '::bytea || f.quoted IN value) > 0 OR (key IS NULL AND position(f.quoted IN value) > 0)
"""
_BY_KEY = (
    f"""
    DELETE FROM tidegate.dead_letters d USING unnest(%s::bytea[], %s::bytea[]) AS f(id, quoted) WHERE {_THEIRS}
    """,
    f"""
    DELETE FROM tidegate.outbox o USING unnest(%s::bytea[], %s::bytea[]) AS f(id, quoted)
    WHERE kind <> 'erased' AND (kind = 'transition' AND key = f.id OR kind = 'dead_letter' AND ({_THEIRS}))
    """,
)
_TELL = """
    INSERT INTO tidegate.outbox (shard, kind, key)
    SELECT shard, 'erased', key FROM unnest(%s::int[], %s::bytea[]) AS f(shard, key)
"""
_REMEMBER = """
    INSERT INTO tidegate.erasures AS e (digest, until) SELECT * FROM unnest(%s::bytea[], %s::bigint[])
    ON CONFLICT (digest) DO UPDATE SET until = greatest(e.until, excluded.until)
"""


def groups(commits: Sequence[Commit]) -> list[list[Commit]]:
    """The commits in order, cut before each that erases somebody: what is before it is deleted by it."""
    out: list[list[Commit]] = []
    for commit in commits:
        if commit.erased or not out:
            out.append([])
        out[-1].append(commit)
    return out


def erase(connection: Connection, commit: Commit) -> None:
    """Before the commit's own rows are written: those may be of a new user under the same id."""
    if not commit.erased:
        return
    ids = [user_id for user_id, _ in commit.erased]
    texts, keys = arrays.texts(ids), arrays.byte_strings([user_id.encode() for user_id in ids])
    written = [(user_id.encode(), quoted) for user_id in ids for quoted in quoted_ids(user_id)]
    spelled = [arrays.byte_strings([key for key, _ in written]), arrays.byte_strings([form for _, form in written])]
    shards = arrays.integers([commit.shard] * len(ids))
    connection.execute(_MEMBERS, [texts, shards])
    for statement in _BY_ID:
        connection.execute(statement.encode(), [texts])
    for statement in _BY_KEY:
        connection.execute(statement.encode(), spelled)
    connection.execute(_TELL, [shards, keys])
    until: dict[bytes, int] = {}
    for user_id, at in commit.erased:
        digest = digest_of(user_id)
        until[digest] = max(at, until.get(digest, at))
    connection.execute(
        _REMEMBER, [arrays.byte_strings(list(until)), arrays.bigints(np.array(list(until.values()), np.int64))]
    )


def quoted_ids(user_id: str) -> set[bytes]:
    """As the usual JSON writers write it: other planes as they are, or escaped."""
    return {json.dumps(user_id, ensure_ascii=ascii_only).encode() for ascii_only in (False, True)}


def erasures(url: str) -> Mapping[bytes, int]:
    """Everybody who was ever erased: digest of the id -> T, µs."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate engine")) as connection, postgres.foreign_errors(where):
        return dict(connection.execute("SELECT digest, until FROM tidegate.erasures").fetchall())
