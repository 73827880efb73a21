"""`--rebuild`: a new complete membership replaces the stored one; only the differences are written.

All in one transaction: readers see the old membership until the end, then the new one. The shards'
tokens are raised at the beginning, so an engine that still runs waits at its next commit and then
gets Fenced. Differences are transitions with cause "definition", one message per user.

    with Rebuild(url, record, definitions, tokens) as rebuild:
        for shard, state in enumerate(states):                   # segmentation.evaluate.shard.Shard
            rebuild.apply_differences(shard, state.members(), effective_at)
            state.restore_seq(rebuild.sequence_numbers(shard))
            saved = store.save(shard, rebuild.next_step(shard), state.next_offset, state.dump())
            rebuild.finish(shard, saved, state.watermark)
    # then as at any start: prepare, take_over

Leaving the block without an error commits; every shard must have been finished.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import TracebackType

import msgspec

from segmentation.compile.tree import Definition
from segmentation.errors import TidegateError
from storage import arrays, deployments, differences, engine_state, erasing, postgres, releasing
from storage.commits import CheckpointRecord, Commit, StoredSegment
from storage.engine_state import EngineRecord
from storage.placing import place_users
from storage.postgres import Connection
from storage.silent import locked

_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Differences:
    """users: messages written; entered, left: flips; known: users of the new membership."""

    users: int
    entered: int
    left: int
    known: int


_STAGING = """
    CREATE TEMP TABLE new_users (user_id text COLLATE "C" NOT NULL) ON COMMIT DROP;
    CREATE TEMP TABLE new_members (user_id text COLLATE "C" NOT NULL, segment_id integer NOT NULL) ON COMMIT DROP;
"""
_NEW = "INSERT INTO tidegate.users (user_id, shard) SELECT user_id, %(shard)s FROM new_users ON CONFLICT DO NOTHING"
_KNOWN = """
    UPDATE tidegate.users u SET known = true FROM new_users n WHERE n.user_id = u.user_id AND NOT u.known
"""
_UNKNOWN = """
    UPDATE tidegate.users u SET known = false
    WHERE u.shard = %(shard)s AND u.known AND NOT EXISTS (SELECT FROM new_users n WHERE n.user_id = u.user_id)
"""
_FLIPS = """
    INSERT INTO flips (user_id, segment_id, entered)
    SELECT user_id, segment_id, before.there IS NULL
    FROM (
        SELECT m.user_id, m.segment_id, true AS there
        FROM tidegate.members m JOIN tidegate.users u USING (user_id) WHERE u.shard = %(shard)s
    ) before
    FULL JOIN (SELECT user_id, segment_id, true AS there FROM new_members) now USING (user_id, segment_id)
    WHERE before.there IS NULL OR now.there IS NULL
"""


class TakenOver(TidegateError):
    """An engine came in between; it may have deleted what the rebuild has written."""

    passing = True


class Rebuild:
    """See the module. `segments`: the new definitions as stored, in the plan's order. tokens: those that the
    shards had when the rebuild began to write files, each with the next one (engine_state.tokens). files: what the
    definitions were compiled from, which is deployed from now on; version: instead of them, the number of the
    version that is being built."""

    segments: list[StoredSegment]
    #: By segment: how many have entered and left.
    outcome: dict[str, tuple[int, int]]

    def __init__(
        self, url: str, record: EngineRecord, definitions: Sequence[Definition], tokens: Mapping[int, int],
        files: Mapping[str, str] | None = None, version: int | None = None,
    ) -> None:  # fmt: skip
        self._url, self._where = url, postgres.address(url)
        self._record, self._definitions, self._tokens = record, definitions, dict(tokens)
        self._files, self._version = files, version
        self.outcome = {}
        self._stack = ExitStack()
        self._steps: dict[int, int] = {}
        self._unfinished = set(range(record.shards))
        self._connection: Connection

    def __enter__(self) -> "Rebuild":
        with ExitStack() as stack:
            stack.enter_context(postgres.foreign_errors(self._where))
            connection = stack.enter_context(closing(postgres.connect(self._url, application="tidegate rebuild")))
            stack.enter_context(connection.transaction())
            self._connection = connection
            locked(connection, erasing.ALONE)
            engine_state.lock(connection)
            locked(connection, "SELECT FROM tidegate.shards ORDER BY shard FOR UPDATE")
            stored = engine_state.read_engine(connection)
            engine_state.store_engine(connection, self._record)
            if stored is not None and stored.shards != self._record.shards:
                place_users(connection, self._record.shards)
                # A user's next transition must not have a lower position in his new shard than in the old one.
                connection.execute(
                    "UPDATE tidegate.shards SET position = (SELECT max(position) FROM tidegate.shards)"
                )
            engine_state.create_shards(connection, self._record.shards)
            connection.execute("DELETE FROM tidegate.shards WHERE shard >= %s", [self._record.shards])
            rows = connection.execute(
                "UPDATE tidegate.shards SET token = token + 1 RETURNING shard, step, token - 1"
            ).fetchall()
            if {shard: token for shard, _, token in rows} != self._tokens:
                raise TakenOver("An engine was started while its membership was rebuilt. Nothing was changed; end it.")
            self._steps = {shard: step + 1 for shard, step, _ in rows}
            self.segments = engine_state.register(connection, self._definitions)
            engine_state.store_complete_since(connection, {})
            releasing.drop_changed(connection)
            if self._files is not None:
                deployments.adopt(connection, self._files)
            connection.execute(_STAGING.encode())
            differences.prepare(connection)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            assert not self._unfinished, f"shards {sorted(self._unfinished)} were not finished"
            if self._version is not None:
                deployments.complete(self._connection, self._version, self.outcome)

    def begins(self, at: int, complete_since: Mapping[str, int]) -> None:
        """Of the version that is being built, µs: from when on its new columns have values, and by name, of segments
        whose older history is missing, since when it is there."""
        assert self._version is not None
        deployments.begins(self._connection, self._version, at)
        engine_state.store_complete_since(self._connection, complete_since)

    def next_step(self, shard: int) -> int:
        """The number of the step that the rebuild counts as."""
        return self._steps[shard]

    def erase(self, shard: int, erased: Sequence[tuple[str, int]], user_field: str) -> None:
        """Before the shard's differences: (user id, T µs) of those whose erasure is not stored yet."""
        commit = Commit(shard, self._steps[shard], [], 0, erased=erased)
        position = erasing.erase(self._connection, commit, self._position(shard), user_field)
        self._connection.execute("UPDATE tidegate.shards SET position = %s WHERE shard = %s", [position, shard])
        self._connection.execute("SET LOCAL enable_hashjoin = on")

    def apply_differences(
        self, shard: int, membership: Iterable[tuple[str, Sequence[int]]], effective_at: int
    ) -> Differences:
        """`membership`: every known user of the shard with his segments (indices into `segments`), each once.

        effective_at: µs; for a user whose last transition was later, that one's time is taken.
        """
        connection = self._connection
        known = self._stage(membership)
        for statement in (_NEW, _KNOWN, _UNKNOWN, _FLIPS):
            connection.execute(statement.encode(), {"shard": shard} if "%(" in statement else None)
        releasing.divert(connection, shard)
        users, found = differences.publish(connection, shard, effective_at, "definition")
        connection.execute("TRUNCATE new_users, new_members")
        for name, (entered, left) in found.items():
            before = self.outcome.get(name, (0, 0))
            self.outcome[name] = before[0] + entered, before[1] + left
        came, left = (sum(both[place] for both in found.values()) for place in (0, 1))
        return Differences(users, came, left, known)

    def _position(self, shard: int) -> int:
        row = self._connection.execute("SELECT position FROM tidegate.shards WHERE shard = %s", [shard]).fetchone()
        assert row is not None
        return int(row[0])

    def shares(self) -> dict[str, float]:
        """By segment that had members: how many have entered or left by now, as a part of them. In per cent."""
        after: dict[str, int] = dict(self._connection.execute(
            "SELECT d.name, sum(c.members)::bigint FROM tidegate.member_counts c "
            "JOIN tidegate.definitions d ON d.id = c.segment_id GROUP BY d.name"
        ).fetchall())  # fmt: skip
        before = {name: after.get(name, 0) - entered + left for name, (entered, left) in self.outcome.items()}
        return {name: 100 * sum(self.outcome[name]) / count for name, count in before.items() if count > 0}

    def sequence_numbers(self, shard: int) -> dict[str, int]:
        return sequence_numbers(self._connection, shard)

    def finish(self, shard: int, checkpoint: CheckpointRecord, watermark: int) -> None:
        """The shard goes on from `checkpoint`, whose step must be `next_step(shard)`."""
        assert checkpoint.step == self._steps[shard], "the checkpoint is of another step"
        encode = msgspec.json.encode
        self._connection.execute("DELETE FROM tidegate.steps WHERE shard = %s", [shard])
        self._connection.execute(
            "UPDATE tidegate.shards SET step = %s, watermark = %s, offsets = %s::jsonb, checkpoint = %s::jsonb, "
            "updated_at = now(), followed = NULL, scattered_users = 0, scattered_names = '{}' WHERE shard = %s",
            [checkpoint.step, watermark, encode({str(p): o for p, o in checkpoint.offsets.items()}).decode(),
             encode(checkpoint).decode(), shard],
        )
        self._unfinished.discard(shard)

    def _stage(self, membership: Iterable[tuple[str, Sequence[int]]]) -> int:
        connection, ids = self._connection, [segment.id for segment in self.segments]
        users: list[str] = []
        member_users: list[str] = []
        member_segments: list[int] = []
        known = 0

        def flush() -> None:
            connection.execute("INSERT INTO new_users SELECT * FROM unnest(%s::text[])", [arrays.texts(users)])
            connection.execute(
                "INSERT INTO new_members SELECT * FROM unnest(%s::text[], %s::int[])",
                [arrays.texts(member_users), arrays.integers(member_segments)],
            )
            for column in (users, member_users, member_segments):
                column.clear()

        for user, numbers in membership:
            known += 1
            users.append(user)
            for number in numbers:
                member_users.append(user)
                member_segments.append(ids[number])
            if len(users) >= _CHUNK:
                flush()
        flush()
        connection.execute("ANALYZE new_users")
        connection.execute("ANALYZE new_members")
        return known


def sequence_numbers(connection: Connection, shard: int) -> dict[str, int]:
    """Every user's last sequence number as the engine has it, 0 included, for `Shard.restore_seq`."""
    return dict(connection.execute(
        "SELECT user_id, u.seq - coalesce(s.shift, 0) FROM tidegate.users_now u "
        "LEFT JOIN tidegate.seq_shifts s USING (user_id) WHERE u.shard = %s", [shard],
    ).fetchall())  # fmt: skip
