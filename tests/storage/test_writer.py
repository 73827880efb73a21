"""Commits against a model: exact, all or nothing, once, and only by the owner of the shard."""

import json
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.evaluate.step import Part
from segmentation.types import FOREVER, NEVER
from storage import postgres, writer
from storage.arrays import micros_sql
from storage.commits import CheckpointRecord, Commit, DeadLetter, Disagreement, Fenced, StepGap
from storage.engine_state import prepare, take_over
from storage.postgres import Connection, DatabaseError, DatabaseLost
from tests.fix_postgres import empty
from tests.storage.world import (
    START,
    USERS,
    World,
    definitions,
    expected,
    open_writer,
    record,
    stored,
    transitions,
    waiting,
)

pytestmark = pytest.mark.postgres
NAMES = ["active", "big spender", "ça va", "z'z"]

moves = st.lists(
    st.tuples(
        st.sampled_from(USERS), st.lists(st.integers(0, len(NAMES) - 1), max_size=4), st.integers(0, 50), st.booleans()
    ),
    max_size=12,
)
#: Each inner list is one transaction: (shard, moves) ...
transactions = st.lists(st.lists(st.tuples(st.integers(0, 2), moves), min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(transactions)
def test_tables_hold_what_the_model_holds(database_url: str, given: Any) -> None:
    empty(database_url)
    world = World(NAMES, 3)
    with open_writer(database_url, NAMES, 3) as out, closing(postgres.connect(database_url)) as connection:
        for commits in given:
            batch = [world.step(shard, moves) for shard, moves in commits]
            out.write(batch)
            assert out.write(batch).skipped == len(batch)  # made again: nothing changes
        assert stored(connection) == expected(world)
        assert _outbox(database_url) == _messages(world)


def _outbox(url: str) -> list[dict[str, Any]]:
    with closing(postgres.connect(url, autocommit=True)) as connection:
        found = waiting(connection)
    for message in found:
        assert message.key == json.loads(message.value or b"")["user_id"].encode()
    return sorted((json.loads(message.value or b"") for message in found), key=lambda m: (m["user_id"], m["seq"]))


def _messages(world: World) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for flip in world.log:
        effective_at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=flip.effective_at)
        at = effective_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        message = found.setdefault(
            (flip.user, flip.seq),
            {"user_id": flip.user, "seq": flip.seq, "entered": [], "left": [], "effective_at": at, "versions": {},
             "cause": flip.cause},
        )
        message["entered" if flip.entered else "left"].append(flip.segment)
        message["versions"][flip.segment] = 1
    return [found[key] for key in sorted(found)]


@pytest.fixture
def connection(database_url: str) -> Any:
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        yield connection


def _enter(
    number: int, user: str = "ann", segment: int = 0, entered: bool = True, at: int = START, **rest: Any
) -> Commit:
    moved = transitions([(user, number, at, True, [(segment, entered)])])
    return Commit(0, number, [Part(0, number, number, number)], number, moved, **rest)


def test_a_gap_in_the_steps_is_refused_and_nothing_is_stored(database_url: str, connection: Connection) -> None:
    with open_writer(database_url, NAMES, 1) as out:
        with pytest.raises(StepGap, match="step 3 does not follow the stored step 1"):
            out.write([_enter(1), _enter(3, "bob")])
        assert stored(connection)["log"] == []
        assert out.write([_enter(1)]).steps == [(0, 1)]


def test_who_lost_the_shard_is_fenced(database_url: str, connection: Connection) -> None:
    with open_writer(database_url, NAMES, 1) as old:
        old.write([_enter(1)])
        taken = take_over(database_url, [0])[0]
        assert (taken.last_step, taken.offsets, taken.watermark) == (1, {0: 1}, 1)
        with pytest.raises(Fenced, match="taken over"):
            old.write([_enter(2, entered=False)])
        with pytest.raises(Fenced):  # also what is stored already: a fenced engine must learn it
            old.write([_enter(1)])
        assert len(stored(connection)["log"]) == 1


def test_a_take_over_waits_for_the_commit_under_way(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit that was first is in the state that the new owner resumes from."""
    in_commit, taker = threading.Event(), []

    def progress(*arguments: Any) -> None:
        thread = threading.Thread(target=lambda: taker.append(take_over(database_url, [0])[0]))
        thread.start()
        deadline = time.monotonic() + 20
        while connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):
            assert time.monotonic() < deadline and thread.is_alive(), "nobody waits for the commit"
        in_commit.set()
        threads.append(thread)
        original(*arguments)

    original, threads = writer._progress, list[threading.Thread]()
    with open_writer(database_url, NAMES, 1) as out:
        monkeypatch.setattr(writer, "_progress", progress)
        out.write([_enter(1)])
        threads[0].join()
        assert in_commit.is_set() and taker[0].last_step == 1
        monkeypatch.setattr(writer, "_progress", original)
        with pytest.raises(Fenced):
            out.write([_enter(2, entered=False)])


@pytest.mark.parametrize("at", ["members", "progress"])
def test_a_connection_killed_inside_the_transaction(
    database_url: str, connection: Connection, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """Nothing of the first attempt stays; the second stores it all, once."""
    original = getattr(writer, f"_{at}")
    kills = 2

    def killing(*arguments: Any) -> Any:
        nonlocal kills
        if kills:
            kills -= 1
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'tidegate engine' AND datname = current_database()"
            )
        return original(*arguments)

    monkeypatch.setattr(writer, f"_{at}", killing)
    world = World(NAMES, 1)
    with open_writer(database_url, NAMES, 1) as out:
        for moves in ([("ann", [0, 1], 0, True)], [("ann", [1], 5, False), ("bob", [2], 5, True)]):
            out.write([world.step(0, moves)])
    assert kills == 0
    assert stored(connection) == expected(world)


def test_a_connection_lost_after_the_commit(database_url: str, connection: Connection, monkeypatch: Any) -> None:
    """Whether it went through is unknown to the client: the step number tells."""
    original = writer.ShardWriter._transaction
    failures = [DatabaseLost("gone")]

    def committed_then_lost(self: writer.ShardWriter, *arguments: Any) -> Any:
        done = original(self, *arguments)
        if failures:
            raise failures.pop()
        return done

    monkeypatch.setattr(writer.ShardWriter, "_transaction", committed_then_lost)
    world = World(NAMES, 1)
    with open_writer(database_url, NAMES, 1) as out:
        assert out.write([world.step(0, [("ann", [0], 0, True)])]).skipped == 1
    assert stored(connection) == expected(world)


def test_a_database_that_stays_away_is_given_up_on_request(database_url: str, monkeypatch: Any) -> None:
    out = open_writer(database_url, NAMES, 1, retry_seconds=0.1)
    out._url = "postgresql://someone:secret@127.0.0.1:1/nowhere"
    with pytest.raises(DatabaseError, match=r"nowhere at 127.0.0.1:1") as caught:
        out.write([_enter(1)])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        _enter(2),  # enters again
        _enter(2, segment=1, entered=False),  # leaves where he never was
        _enter(2, "stranger", entered=False),
    ],
)
def test_a_log_that_contradicts_the_members_is_refused(
    database_url: str, connection: Connection, wrong: Commit
) -> None:
    with open_writer(database_url, NAMES, 1) as out:
        out.write([_enter(1)])
        before = stored(connection)
        with pytest.raises(Disagreement, match="--rebuild"):
            out.write([wrong])
        assert stored(connection) == before


def test_times_are_exact_to_the_microsecond_everywhere(database_url: str, connection: Connection) -> None:
    times = [NEVER, -62_135_596_800_000_000, -1, 0, 253_402_300_799_999_999, 9_000_000_000_000_000_001 // 4, FOREVER]
    with open_writer(database_url, NAMES, 1) as out:
        for number, at in enumerate(times, 1):
            out.write([_enter(number, f"user {number}", at=at)])
    found = connection.execute(
        f"SELECT {micros_sql('since')}, since::text FROM tidegate.members ORDER BY user_id"
    ).fetchall()
    assert [at for at, _ in found] == times
    assert [text for _, text in found][:4] == [
        "-infinity", "0001-01-01 00:00:00+00", "1969-12-31 23:59:59.999999+00", "1970-01-01 00:00:00+00"
    ]


def test_steps_are_kept_until_a_checkpoint_holds_them(database_url: str) -> None:
    saved = CheckpointRecord(0, 2, "file", "digest", {0: 2, 7: 1})
    with open_writer(database_url, NAMES, 1) as out:
        for number in (1, 2):
            out.write([_enter(number, f"u{number}")])
        out.write([_enter(3, "u3", checkpoint=saved)])
        taken = take_over(database_url, [0])[0]
        assert taken.checkpoint == saved
        assert [(step.number, step.parts) for step in taken.steps] == [(3, [Part(0, 3, 3, 3)])]
    token, later = taken.token, CheckpointRecord(0, 4, "file", "digest", {0: 4})
    segments = prepare(database_url, record(NAMES, 1), definitions(NAMES))
    with writer.ShardWriter(database_url, {0: token}, segments) as out:
        out.write([_enter(4, "u4", checkpoint=later)])
        taken = take_over(database_url, [0])[0]
        assert (taken.checkpoint, taken.steps, taken.last_step, taken.offsets) == (later, [], 4, {0: 4})


def test_dead_letters_are_stored_and_sent_once(database_url: str, connection: Connection) -> None:
    def letter(offset: int) -> DeadLetter:
        headers = [("trace\0", b"\x00\xff"), ("none", None)]
        return DeadLetter("events", 3, offset, None, b"\x00not json", headers, "not_json", "line 1\0 \ud800")

    with open_writer(database_url, NAMES, 1) as out:
        out.write([Commit(0, 1, [], 0, dead_letters=[letter(1), letter(2), letter(2)])])
        out.write([Commit(0, 2, [], 0, dead_letters=[letter(2), letter(3)])])
    sent = waiting(connection)
    assert [dict(m.headers)["tidegate-offset"] for m in sent] == [b"1", b"2", b"3"]
    assert sent[0].value == b"\x00not json" and sent[0].key is None and sent[0].kind == "dead_letter"
    assert sent[0].headers[:2] == [("trace\ufffd", b"\x00\xff"), ("none", None)]
    assert connection.execute("SELECT count(*), min(reason) FROM tidegate.dead_letters").fetchone() == (3, "not_json")


def test_since_is_the_last_entry_when_one_commit_holds_several(database_url: str, connection: Connection) -> None:
    with open_writer(database_url, NAMES, 1) as out:
        out.write([_enter(1)])
        moved = [("ann", 2, START + 1, True, [(0, False)]), ("ann", 3, START + 2, True, [(0, True)]),
                 ("ann", 4, START + 3, True, [(1, True)]), ("ann", 5, START + 4, False, [(1, False)])]
        out.write([Commit(0, 2, [], 0, transitions=transitions(moved))])
    assert stored(connection)["members"] == [("ann", "active", START + 2)]
    assert stored(connection)["counts"] == {"active": 1, "big spender": 0, "ça va": 0, "z'z": 0}
