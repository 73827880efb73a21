"""Rows of many messages: cut, unpacked, and told apart message by message, whatever becomes of them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage import migrate, packing, postgres
from storage.outbox import Batch, Outbox
from storage.postgres import Connection
from tests.storage.world import World, open_writer

USERS = ("a", "b", "c", "d")
LARGE = 300


@given(
    st.lists(st.tuples(st.binary(max_size=5), st.integers(0, 60_000)), min_size=1, max_size=60),
    st.integers(1, 40),
)
def test_rows_hold_all_in_order(sizes: list[tuple[bytes, int]], times: int) -> None:
    pairs = [(key, b"x" * size) for key, size in sizes] * times
    cut = list(packing.rows(pairs))
    assert [pair for some in cut for pair in some] == pairs
    for some in cut:
        assert 0 < len(some) < packing.SLOT
        assert len(some) == 1 or sum(len(key) + len(value) for key, value in some) <= packing.BYTES
    for one, other in pairwise(cut):
        size = sum(len(key) + len(value) for key, value in (*one, other[0]))
        assert len(one) == packing.SLOT - 1 or size > packing.BYTES, "no smaller than need be"


class Line:
    """Users' messages, put into the outbox by shard 0 in rows of their own or packed, and a relay."""

    def __init__(self, url: str, empty: bool = True) -> None:
        self.connection = postgres.connect(url, autocommit=True)
        self.relay = postgres.connect(url, autocommit=True)
        if empty:
            self.connection.execute("TRUNCATE tidegate.outbox, tidegate.relay")
        self.outbox = Outbox(self.relay)
        assert self.outbox.acquire()
        self.put: dict[str, list[bytes]] = {}
        self.got: dict[str, list[bytes]] = {}

    def close(self) -> None:
        self.relay.close()
        self.connection.close()

    def commit(self, users: list[tuple[str, bool]]) -> None:
        """(user, is it a large message?)"""
        pairs = []
        for user, large in users:
            log = self.put.setdefault(user, [])
            log.append(b"%s%d" % (user.encode(), len(log)) + b"." * (LARGE if large else 0))
            pairs.append((user.encode(), log[-1]))
        if len(pairs) > 2:
            packing.store(self.connection, 0, pairs)
        else:
            for key, value in pairs:
                self.connection.execute(
                    "INSERT INTO tidegate.outbox (shard, kind, key, value) VALUES (0, 'transition', %s, %s)",
                    [key, value],
                )

    def arrived(self, batch: Batch, ids: set[int] | None = None) -> None:
        for message in batch.messages:
            if ids is None or message.id in ids:
                self.got.setdefault((message.key or b"").decode(), []).append(message.value or b"")

    def batch(self, how: str, rows: int, refuse: int) -> None:
        """One batch: settled, dropped, or in part refused, as a relay does it that sends at least once."""
        batch = self.outbox.next(rows=rows)
        if batch is None:
            return
        assert len({message.id for message in batch.messages}) == len(batch.messages)
        if how == "settle":
            self.arrived(batch)
            self.outbox.settle(batch.token)
        elif how == "drop" or not batch.messages:
            self.outbox.drop(batch.token)
        else:
            refused = batch.messages[refuse % len(batch.messages)]
            sent = {
                message.id for place, message in enumerate(batch.messages)
                if message.id != refused.id and not any(
                    earlier.id == refused.id and earlier.key == message.key for earlier in batch.messages[:place])
            }  # fmt: skip
            self.arrived(batch, sent)
            self.outbox.drop(batch.token, sorted(sent), {refused.id: "refused"})

    def drain(self, rows: int = 3) -> None:
        while (batch := self.outbox.next(rows=rows)) is not None:
            self.arrived(batch)
            self.outbox.settle(batch.token)


_MOVED = st.tuples(st.sampled_from(USERS), st.booleans())
_COMMIT = st.tuples(st.just("commit"), st.lists(_MOVED, min_size=1, max_size=7))
_BATCH = st.tuples(
    st.just("batch"), st.tuples(st.sampled_from(["settle", "drop", "refuse"]), st.integers(1, 9), st.integers(0, 9))
)
_OTHER = st.tuples(st.sampled_from(["large", "release", "held", "drain"]), st.none())


@pytest.mark.postgres
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.one_of(_COMMIT, _COMMIT, _BATCH, _BATCH, _OTHER), max_size=14))
def test_each_user_gets_each_message_once_and_in_order(database_url: str, steps: list[tuple[str, Any]]) -> None:
    line = Line(database_url)
    with closing(line):
        for what, how in steps:
            if what == "commit":
                line.commit(how)
            elif what == "batch":
                line.batch(*how)
            elif what == "large":
                line.outbox.hold_large(False, LARGE, "too large")
            elif what == "release":
                line.outbox.release_held()
            elif what == "drain":
                line.drain()
            elif (held := line.outbox.next_held(0)) is not None:
                line.arrived(held)
                line.outbox.settle(held.token)
            for user, got in line.got.items():
                assert got == line.put[user][: len(got)], "in order, none twice, none left out"
        line.outbox.release_held()
        line.drain()
        assert line.got == line.put


@pytest.fixture
def line(database_url: str) -> Iterator[Line]:
    with closing(Line(database_url)) as line:
        yield line


def _unpack(connection: Connection) -> int:
    return packing.unpack(connection, "true")


@pytest.mark.postgres
@pytest.mark.parametrize("how", ["settle", "next"])
def test_what_is_unpacked_while_its_batch_is_settled_is_not_sent_again(database_url: str, line: Line, how: str) -> None:
    """As an erasure does it: the relay's deleting waits for it, and its new rows were not there when that began."""
    line.commit([(user, False) for user in USERS])
    batch = line.outbox.next()
    assert batch is not None and len(batch.messages) == len(USERS)
    done = threading.Event()

    def settle() -> None:
        if how == "settle":
            line.outbox.settle(batch.token)
        else:
            assert line.outbox.next(batch) is None
        done.set()

    with line.connection.transaction():
        assert _unpack(line.connection) == 1
        thread = threading.Thread(target=settle)
        thread.start()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        with closing(postgres.connect(database_url, autocommit=True)) as looker:
            while looker.execute(waits).fetchone() != (1,):
                assert not done.is_set(), "it was to wait"
    thread.join(60)
    assert done.is_set() and line.outbox.next() is None
    assert line.connection.execute("SELECT count(*) FROM tidegate.outbox").fetchone() == (0,)


@pytest.mark.postgres
def test_what_is_unpacked_in_between_belongs_to_its_batch(line: Line) -> None:
    line.commit([(user, False) for user in USERS])
    line.commit([(user, False) for user in USERS])
    batch = line.outbox.next()
    assert batch is not None and len(batch.messages) == 2 * len(USERS)
    _unpack(line.connection)
    line.connection.execute("DELETE FROM tidegate.outbox WHERE key = 'b'")
    line.outbox.drop(batch.token)
    again = line.outbox.next()
    assert again is not None
    assert again.messages == [message for message in batch.messages if message.key != b"b"], "with the same ids"


@pytest.mark.postgres
def test_a_commit_packs_and_an_erasure_unpacks(database_url: str) -> None:
    world, users = World(["active"], 1), [f"u{n}" for n in range(packing.LEAST + 5)]
    with open_writer(database_url, world.names, 1) as out, closing(Line(database_url)) as line:
        out.write([world.step(0, [(user, [0], 0, True) for user in users])])
        kinds = "SELECT kind, messages FROM tidegate.outbox ORDER BY id"
        assert line.connection.execute(kinds).fetchall() == [("packed", len(users))]
        out.write([world.step(0, [], erased=[("u7", 1)])])
        batch = line.outbox.next()
        assert batch is not None
        assert [(message.key or b"").decode() for message in batch.messages] == [*users[:7], *users[8:], "u7"]
        assert batch.messages[-1].value is None


@pytest.mark.postgres
def test_rows_of_before_go_out_in_their_order_too(
    create_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ids follow each other, so that those of many rows lie where a packed row of today has its messages."""
    url, every = create_database(), migrate.migrations()
    with monkeypatch.context() as earlier:
        earlier.setattr(migrate, "migrations", lambda: [one for one in every if one.version <= 16])
        earlier.setattr(migrate, "_roles", lambda *_: None)
        migrate.migrate(url)
    with closing(postgres.connect(url, autocommit=True)) as connection:
        connection.execute(
            "INSERT INTO tidegate.outbox (shard, kind, key, value) "
            "SELECT 0, 'transition', ('u' || mod(i, 7))::bytea, i::text::bytea FROM generate_series(1, 2600) i"
        )
        connection.execute("UPDATE tidegate.outbox SET held_at = now(), held_reason = 'why' WHERE id = 1026")
    migrate.migrate(url)
    held = [number for number in range(1026, 2701) if number % 7 == 1026 % 7]
    with closing(Line(url, empty=False)) as line:
        packing.store(line.connection, 0, [(b"u%d" % (n % 7), b"%d" % n) for n in range(2601, 2701)])
        line.drain(500)
        sent = sorted(int(value) for values in line.got.values() for value in values)
        assert sent == [number for number in range(1, 2701) if number not in held]
        line.outbox.release_held()
        line.drain(500)
        for user, values in line.got.items():
            assert values == [b"%d" % n for n in range(1, 2701) if f"u{n % 7}" == user]
