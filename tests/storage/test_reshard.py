"""The transaction of `tidegate reshard`: the stored membership stays exactly what it was, and its writers change."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import TidegateError
from segmentation.shards import shard_of
from storage import postgres, reshard
from storage.checkpoints import CheckpointStore
from storage.commits import CheckpointRecord, Fenced
from storage.engine_state import ShardsChanged, Takeover, prepare, take_over
from storage.engine_state import tokens as tokens_of
from storage.rebuild import Rebuild
from storage.writer import ShardWriter
from tests.fix_postgres import empty
from tests.storage.world import START, USERS, World, definitions, expected, record, stored

pytestmark = pytest.mark.postgres
NAMES = ["active", "big", "ça va"]

moves = st.lists(
    st.tuples(st.sampled_from(USERS), st.lists(st.integers(0, 2), max_size=3), st.integers(0, 50), st.booleans()),
    max_size=12,
)
#: Numbers of shards, each with what is committed while there are so many.
layouts = st.lists(st.tuples(st.sampled_from([1, 2, 3, 5]), moves), min_size=2, max_size=5)


class Layout:
    """An engine's writer on as many shards as are stored; `world` is told of every commit."""

    def __init__(self, url: str, folder: Path, shards: int) -> None:
        self.url, self.store = url, CheckpointStore(folder)
        self.world = World(NAMES, shards)
        self.open()

    def open(self) -> None:
        shards = self.world.shards
        segments = prepare(self.url, record(NAMES, shards), definitions(NAMES))
        self.taken = take_over(self.url, range(shards), shards)
        self.world.steps = {shard: found.last_step for shard, found in self.taken.items()}
        self.writer = ShardWriter(self.url, {shard: found.token for shard, found in self.taken.items()}, segments)

    def write(self, some: Any) -> None:
        self.writer.write([self.world.step(shard, some) for shard in range(self.world.shards)])

    def before(self) -> dict[int, tuple[int, int]]:
        return {shard: (found.token, self.world.steps[shard]) for shard, found in self.taken.items()}

    def checkpoints(self, count: int) -> list[CheckpointRecord]:
        step = 1 + max(self.world.steps.values())
        return [self.store.save(shard, step, {0: 7, 2: 9}, b"state %d" % shard) for shard in range(count)]

    def reshard(self, count: int) -> int:
        return reshard.store(self.url, self.before(), self.checkpoints(count), self.next_token(), START + 77)

    def next_token(self) -> int:
        return 1 + max(found.token for found in self.taken.values())

    def to(self, count: int) -> None:
        self.reshard(count)
        self.writer.close()
        self.world.shards = count
        self.open()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layouts)
def test_membership_and_log_go_on(database_url: str, tmp_path: Path, given: list[tuple[int, Any]]) -> None:
    empty(database_url)
    layout = Layout(database_url, tmp_path, given[0][0])
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        for count, some in given:
            if count != layout.world.shards:
                layout.to(count)
                check_taken(layout.taken, count)
            layout.write(some)
            assert stored(connection) == expected(layout.world)
            shards = connection.execute("SELECT user_id, shard FROM tidegate.users").fetchall()
            assert all(shard == shard_of(user, count) for user, shard in shards)
            counts = connection.execute("SELECT DISTINCT shard FROM tidegate.member_counts").fetchall()
            assert all(shard < count for shard, in counts)
        said = connection.execute("SELECT DISTINCT user_id, seq, shard, position FROM tidegate.transitions").fetchall()
    layout.writer.close()
    assert len({(shard, position) for _, _, shard, position in said}) == len(said)
    last: dict[str, int] = {}
    for user, _, _, position in sorted(said):
        assert position > last.get(user, 0), "a user's positions go up, whatever shard he is in"
        last[user] = position


def check_taken(taken: dict[int, Takeover], count: int) -> None:
    assert sorted(taken) == list(range(count))
    for found in taken.values():
        assert found.checkpoint is not None and found.checkpoint.step == found.last_step
        assert (found.steps, found.offsets, found.watermark) == ([], {0: 7, 2: 9}, START + 77)


def test_whoever_wrote_before_is_shut_out(database_url: str, tmp_path: Path) -> None:
    layout = Layout(database_url, tmp_path, 2)
    layout.write([("ann", [0], 1, True)])
    old = layout.writer
    layout.reshard(5)
    for shard in (0, 1):
        with pytest.raises(Fenced):
            old.write([layout.world.step(shard, [])])
    with pytest.raises(ShardsChanged, match="has 5 shards, and the setting `shards` says 2"):
        prepare(database_url, record(NAMES, 2), definitions(NAMES))
    # An engine that had compared its settings before, and takes its shards over now.
    with pytest.raises(ShardsChanged, match="tidegate reshard 2"):
        take_over(database_url, [0, 1], 2)
    layout.writer.close()


@pytest.mark.parametrize("engine", ["took over", "went on"])
def test_an_engine_in_between_makes_it_fail(database_url: str, tmp_path: Path, engine: str) -> None:
    layout = Layout(database_url, tmp_path, 2)
    layout.write([("ann", [0, 1], 1, True)])
    before = layout.before()
    if engine == "took over":
        take_over(database_url, [1], 2)
    else:
        layout.write([("bob", [0], 1, True)])
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        tables = everything(connection)
        with pytest.raises(Fenced, match="They are as they were"):
            reshard.store(database_url, before, layout.checkpoints(4), layout.next_token(), START)
        assert everything(connection) == tables
    layout.writer.close()


def test_nothing_is_changed_by_halves(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = Layout(database_url, tmp_path, 2)
    layout.write([(user, [0, 1], 1, True) for user in USERS])

    def fails(*_: object) -> int:
        raise TidegateError("no")

    monkeypatch.setattr(reshard, "place_users", fails)
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        tables = everything(connection)
        with pytest.raises(TidegateError, match="no"):
            layout.reshard(1)
        assert everything(connection) == tables
    layout.write([("ann", [0], 2, True)])  # nor was the engine shut out
    layout.writer.close()


def test_preview(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(TidegateError, match="holds no membership yet"):
        reshard.preview(database_url, 3)
    layout = Layout(database_url, tmp_path, 2)
    layout.write([(user, [], 1, True) for user in USERS])
    layout.writer.close()
    found = reshard.preview(database_url, 3)
    assert (found.shards, sum(found.users)) == (2, len(USERS))
    assert found.users == [sum(shard_of(user, 3) == shard for user in USERS) for shard in range(3)]


def test_tokens_and_positions_never_come_again(database_url: str, tmp_path: Path) -> None:
    """Not even where a rebuild makes a shard anew that once was there."""
    layout = Layout(database_url, tmp_path, 3)
    for at in range(4):
        layout.write([(user, [0, 1], at, True) for user in USERS])
    tokens, positions = greatest(database_url)
    layout.to(1)
    with Rebuild(database_url, record(NAMES, 3), definitions(NAMES), tokens_of(database_url, 3)) as rebuild:
        for shard in range(3):
            saved = layout.store.save(shard, rebuild.next_step(shard), {}, b"")
            rebuild.apply_differences(shard, [], START)
            rebuild.finish(shard, saved, START)
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        rows = connection.execute("SELECT token, position FROM tidegate.shards").fetchall()
    assert len(rows) == 3 and all(token > tokens and position >= positions for token, position in rows)
    layout.writer.close()


def greatest(url: str) -> tuple[int, int]:
    with closing(postgres.connect(url, autocommit=True)) as connection:
        row = connection.execute("SELECT max(token), max(position) FROM tidegate.shards").fetchone()
    assert row is not None
    return row[0], row[1]


def everything(connection: postgres.Connection) -> dict[str, list[Any]]:
    tables = ["engine", "shards", "steps", "users", "members", "member_counts", "outbox"]
    return {table: sorted(connection.execute(f"SELECT t::text FROM tidegate.{table} t".encode())) for table in tables}
