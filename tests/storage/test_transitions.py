"""Reading the log from positions: every transition once, in each user's order, over erasures and other layouts."""

import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.evaluate.erasure import digest_of
from segmentation.shards import shard_of
from storage import postgres, transitions
from storage.postgres import Connection
from storage.pruning import prune
from storage.reader import fetch
from storage.transitions import AheadOfLog, BehindLog, Position, Transition
from tests.fix_postgres import empty
from tests.storage.test_reshard import Layout, moves
from tests.storage.world import START, USERS, Flip, World, expected, forget, stored

pytestmark = pytest.mark.postgres


@dataclass
class Reader:
    """Keeps a copy of the log from pages of `flips`, and fails at once where one comes twice or is left out."""

    flips: int
    position: Position
    seq: dict[str, int] = field(default_factory=dict)
    copy: list[Flip] = field(default_factory=list)

    def read(self, connection: Connection, world: World, gone: Sequence[tuple[int, int]] = ()) -> bool:
        """gone: (shard, number) of what was pruned: who stands before it is refused and begins anew, no other."""
        lost = any(self.position.of(shard) < number for shard, number in gone)
        try:
            page = fetch(connection, transitions.after(self.position, self.flips))
        except BehindLog as error:
            assert lost and error.since is not None
            self.position, self.copy = fetch(connection, transitions.end()).after, list(world.log)
            self.seq = {flip.user: world.seq[flip.user] for flip in world.log}
            return True
        assert not lost
        for entry in page.entries:
            assert entry.number > self.position.of(entry.shard)
            if isinstance(entry, Transition):
                if entry.user_id in self.seq:
                    assert entry.seq == self.seq[entry.user_id] + 1
                self.seq[entry.user_id] = entry.seq
                self.copy += [
                    Flip(entry.user_id, entry.seq, change.segment, change.entered, entry.effective_at, entry.cause)
                    for change in entry.changes
                ]
            else:
                self.seq = {user: seq for user, seq in self.seq.items() if digest_of(user) != entry.digest}
                self.copy = [flip for flip in self.copy if digest_of(flip.user) != entry.digest]
        assert page.after.covers(self.position) and (page.entries or not page.more)
        self.position = page.after
        return page.more


happenings = st.lists(
    st.one_of(
        moves.map(lambda some: ("move", some)),
        st.sets(st.sampled_from(USERS), min_size=1, max_size=3).map(lambda users: ("erase", sorted(users))),
        st.sampled_from([1, 2, 3, 5]).map(lambda count: ("reshard", count)),
        st.tuples(st.just("read"), st.integers(0, 2)),
        st.tuples(st.just("save"), st.none()),
        st.tuples(st.just("prune"), st.sampled_from([0, 3_600])),
    ),
    min_size=2, max_size=14,
)  # fmt: skip


_LOGGED = "SELECT shard, position, user_id, seq FROM tidegate.transitions"
_UNHURT = ("members", "users", "counts")


@settings(max_examples=16, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([1, 3]), st.lists(st.integers(2, 12), min_size=3, max_size=3), happenings)
def test_every_transition_once_whatever_happens(
    database_url: str, tmp_path: Path, shards: int, sizes: list[int], given: list[tuple[str, Any]]
) -> None:
    empty(database_url)
    layout = Layout(database_url, tmp_path, shards)
    world = layout.world
    readers = [Reader(size, Position({})) for size in sizes]
    gone: list[tuple[int, int]] = []
    saved: set[tuple[str, int]] = set()
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        for number, (what, value) in enumerate(given):
            match what:
                case "move":
                    layout.write(value)
                case "erase":
                    commits = []
                    for shard in range(world.shards):
                        mine = [(user, START + number) for user in value if shard_of(user, world.shards) == shard]
                        for user, _ in mine:
                            forget(world, user)
                        commits.append(world.step(shard, [], erased=mine))
                    layout.writer.write(commits)
                case "reshard" if value != world.shards:
                    layout.to(value)
                    saved = {(flip.user, flip.seq) for flip in world.log}
                case "read":
                    readers[value].read(connection, world, gone)
                case "save":
                    connection.execute("UPDATE tidegate.shards SET checkpoint = jsonb_build_object('step', step)")
                    saved = {(flip.user, flip.seq) for flip in world.log}
                case "prune":
                    before = set(connection.execute(_LOGGED).fetchall())
                    prune(database_url, value, threading.Event())
                    now = stored(connection)
                    lost = before - set(connection.execute(_LOGGED).fetchall())
                    assert not (lost and value) and {(user, seq) for _, _, user, seq in lost} <= saved
                    gone += [(shard, position) for shard, position, *_ in lost]
                    told = expected(world)
                    assert [now[part] for part in _UNHURT] == [told[part] for part in _UNHURT]
        for reader in readers:
            for _ in range(10_000):
                if not reader.read(connection, world, gone):
                    break
            assert sorted(map(repr, reader.copy)) == sorted(map(repr, world.log))
            assert reader.position == fetch(connection, transitions.end()).after
        layout.writer.close()


def test_from_now_on(database_url: str, tmp_path: Path) -> None:
    layout = Layout(database_url, tmp_path, 2)
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        layout.write([("u1", [0], 0, True), ("u2", [0, 1], 0, True)])
        now = fetch(connection, transitions.end())
        assert now.entries == [] and now.log and now.as_of == START
        layout.write([("u2", [1], 9, False)])
        page = fetch(connection, transitions.after(now.after, 100))
        [moved] = page.entries
        assert isinstance(moved, Transition)
        assert (moved.user_id, moved.seq, moved.effective_at, moved.cause) == ("u2", 2, START + 9, "time")
        assert [(c.segment, c.entered) for c in moved.changes] == [("big", False)]
        assert not page.more
        layout.writer.close()


def test_a_position_that_the_log_has_not_reached(database_url: str, tmp_path: Path) -> None:
    layout = Layout(database_url, tmp_path, 2)
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        layout.write([("u1", [0], 0, True)])
        for numbers in ({0: 7, 1: 0}, {0: 0, 1: 7}, {5: 7}):
            with pytest.raises(AheadOfLog):
                fetch(connection, transitions.after(Position(numbers), 100))
        layout.writer.close()
