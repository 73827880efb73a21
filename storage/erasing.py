"""What a commit deletes of erased users, in the same transaction: membership, log, messages not sent yet and
refused messages. Whoever reads the transitions hears of it by a message with the user's key and no value.

A refused message is the user's by its record key, or by what its value said when it was refused
(segmentation.events.whose). Where that said nothing it is also theirs if it holds their id right after the
name of the field; without a key, wherever the id stands in quotes. One that Kafka has stamped after the
erasure is not of the user that was erased; one that is stored later, but stamped before it, is not stored:
so it does not matter which of two shards comes first. They take turns by `take_turns`.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing

from segmentation.evaluate.erasure import digest_of
from storage import arrays, packing, postgres
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
    "DELETE FROM tidegate.held_flips h USING unnest(%s::text[]) AS f(user_id) WHERE h.user_id = f.user_id",
    "DELETE FROM tidegate.seq_shifts s USING unnest(%s::text[]) AS f(user_id) WHERE s.user_id = f.user_id",
    "DELETE FROM tidegate.audit_mismatches a USING unnest(%s::text[]) AS f(user_id) WHERE a.user_id = f.user_id",
)
#: Of the rows r: for each of their erased users f(id, until, key). The new version of an id that is erased again has
#: its own message.
_THEIRS = "FROM unnest(%s::text[], %s::bigint[], %s::bytea[]) AS f(id, until, key)"
_BEFORE = "(r.stamp IS NULL OR r.stamp <= f.until)"
_LETTERS = (
    f"DELETE FROM tidegate.dead_letters r USING (SELECT * {_THEIRS}) f "
    f"WHERE substring(r.key FROM 1 FOR 513) = f.key AND {_BEFORE}",
    f"DELETE FROM tidegate.dead_letters r USING (SELECT * {_THEIRS}) f WHERE r.user_id = f.id AND {_BEFORE}",
)
#: The outbox has no index by user: it is short, and all of it is read where it is not.
_SCANNING = "SET LOCAL enable_hashjoin = on"
_AS_BEFORE = "SET LOCAL enable_hashjoin = off"
#: Rows of many messages, one of which may be theirs.
_PACKED = "EXISTS (SELECT FROM unnest(%s::bytea[]) AS k WHERE position(k IN o.value) > 0)"
_OUTBOX = (
    f"DELETE FROM tidegate.outbox r USING (SELECT * {_THEIRS}) f "
    f"WHERE r.kind <> 'erased' AND r.key = f.key AND {_BEFORE}",
    f"DELETE FROM tidegate.outbox r USING (SELECT * {_THEIRS}) f "
    f"WHERE r.kind = 'dead_letter' AND r.user_id = f.id AND {_BEFORE}",
)
#: Of messages whose value says nobody: f(until, id as JSON writes it, and that after the field's name).
_MENTIONED = """
    USING unnest(%s::bigint[], %s::bytea[], %s::bytea[]) AS f(until, quoted, said)
    WHERE r.user_id IS NULL AND (r.stamp IS NULL OR r.stamp <= f.until)
    AND (position(f.said IN r.value) > 0 OR (r.key IS NULL AND position(f.quoted IN r.value) > 0))
"""
_NOBODYS = (
    f"DELETE FROM tidegate.dead_letters r {_MENTIONED}",
    f"DELETE FROM tidegate.outbox r {_MENTIONED} AND r.kind = 'dead_letter'",
)
#: The lock's number: any, but always the same one.
_TURN = 7316009274101
#: From here to the end of the transaction no other stores refused messages or erases. Before it locks anything else.
ALONE = f"SELECT pg_advisory_xact_lock({_TURN})"
_TELL = """
    INSERT INTO tidegate.outbox (shard, kind, key)
    SELECT shard, 'erased', key FROM unnest(%s::int[], %s::bytea[]) AS f(shard, key)
"""
_REMEMBER = """
    INSERT INTO tidegate.erasures AS e (digest, until, shard, position)
    SELECT * FROM unnest(%s::bytea[], %s::bigint[], %s::int[], %s::bigint[])
    ON CONFLICT (digest) DO UPDATE
    SET until = greatest(e.until, excluded.until), shard = excluded.shard, position = excluded.position
"""


def groups(commits: Sequence[Commit]) -> list[list[Commit]]:
    """The commits in order, cut before each that erases somebody: what is before it is deleted by it."""
    out: list[list[Commit]] = []
    for commit in commits:
        if commit.erased or not out:
            out.append([])
        out[-1].append(commit)
    return out


def take_turns(connection: Connection, commits: Sequence[Commit]) -> None:
    """Before anything else of a transaction: it erases alone, while no other stores refused messages."""
    if any(commit.erased for commit in commits):
        connection.execute(ALONE.encode())
    elif any(commit.dead_letters for commit in commits):
        connection.execute(f"SELECT pg_advisory_xact_lock_shared({_TURN})".encode())


def erase(connection: Connection, commit: Commit, position: int, field: str = "user_id") -> int:
    """Before the commit's own rows are written: those may be of a new user under the same id. field: the name
    under which events have the user's id. position: the last that the shard has given; returns what it is now,
    for each erased user has one."""
    if not commit.erased:
        return position
    until: dict[str, int] = {}
    for user_id, at in commit.erased:
        until[user_id] = max(at, until.get(user_id, at))
    ids, times = list(until), list(until.values())
    texts, keys = arrays.texts(ids), arrays.byte_strings([user_id.encode() for user_id in ids])
    shards = arrays.integers([commit.shard] * len(ids))
    connection.execute(_MEMBERS, [texts, shards])
    for statement in _BY_ID:
        connection.execute(statement.encode(), [texts])
    packing.unpack(connection, _PACKED, [keys])
    for statement in (*_LETTERS, _SCANNING, *_OUTBOX, _AS_BEFORE):
        parameters = [texts, arrays.bigints(times), keys] if "%s" in statement else None
        connection.execute(statement.encode(), parameters)
    spelled = [
        (at, quoted, json.dumps(field).encode() + colon + quoted)
        for user_id, at in until.items() for quoted in quoted_ids(user_id) for colon in (b":", b": ")
    ]  # fmt: skip
    for statement in _NOBODYS:
        connection.execute(
            statement.encode(),
            [arrays.bigints([at for at, _, _ in spelled]), arrays.byte_strings([quoted for _, quoted, _ in spelled]),
             arrays.byte_strings([said for _, _, said in spelled])],
        )
    connection.execute(_TELL, [shards, keys])
    connection.execute(
        _REMEMBER,
        [arrays.byte_strings([digest_of(user_id) for user_id in ids]), arrays.bigints(times), shards,
         arrays.bigints(range(position + 1, position + 1 + len(ids)))],
    )
    return position + len(ids)


def quoted_ids(user_id: str) -> set[bytes]:
    """As the usual JSON writers write it: other planes as they are, or escaped."""
    return {json.dumps(user_id, ensure_ascii=ascii_only).encode() for ascii_only in (False, True)}


def erasures(url: str) -> Mapping[bytes, int]:
    """Everybody who was ever erased: digest of the id -> T, µs."""
    where = postgres.address(url)
    with closing(postgres.connect(url, application="tidegate engine")) as connection, postgres.foreign_errors(where):
        return dict(connection.execute("SELECT digest, until FROM tidegate.erasures").fetchall())
