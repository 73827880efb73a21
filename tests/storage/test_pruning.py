"""What leaves the log of transitions, and what must not: nothing that is young, or not in a saved state yet."""

import threading
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from segmentation.shards import shard_of
from storage import postgres, pruning, transitions
from storage.postgres import Connection
from storage.pruning import covers, prune
from storage.reader import fetch
from storage.settings import load
from storage.transitions import BehindLog, Position
from tests.storage.test_reshard import Layout

pytestmark = pytest.mark.postgres
DAY = 86_400


def age(connection: Connection, seconds: int) -> None:
    older = "UPDATE tidegate.transitions SET recorded_at = recorded_at - make_interval(secs => %s)"
    connection.execute(older, [seconds])


def save(connection: Connection) -> None:
    connection.execute("UPDATE tidegate.shards SET checkpoint = jsonb_build_object('step', step)")


def kept(connection: Connection) -> list[tuple[str, int]]:
    return connection.execute("SELECT DISTINCT user_id, seq FROM tidegate.transitions ORDER BY 1, 2").fetchall()


def test_what_is_old_and_saved_goes(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "FLIPS", 3)
    monkeypatch.setattr(pruning, "PAUSE_S", 0)
    layout, stop = Layout(database_url, tmp_path, 2), threading.Event()
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        def some() -> int:
            return prune(database_url, DAY, stop)

        last = next(user for user in ("u2", "a", "é") if shard_of(user, 2) == 1)
        begin = fetch(connection, transitions.end()).after
        for _ in range(5):
            layout.write([(user, [0, 1], 0, True) for user in ("u1", "u2", "a", "é")])
        age(connection, 2 * DAY)
        assert some() == 0 and some() == 0, "no state is saved"
        layout.write([("u1", [0], 0, True)])
        age(connection, 2 * DAY)
        save(connection)
        middle = fetch(connection, transitions.end()).after
        layout.write([(last, [1], 0, True)])  # young
        assert some() == 40, "what came after the mark may not go before the next one"
        assert kept(connection) == sorted([("u1", 6), (last, 6)])
        assert some() == 0, "the mark is ahead of the saved state"
        save(connection)
        assert some() == 1 and some() == 0
        assert kept(connection) == [(last, 6)]
        assert len(fetch(connection, transitions.after(middle, 100)).entries) == 1
        for old in (begin, Position({})):
            with pytest.raises(BehindLog, match="Watch from now") as refused:
                fetch(connection, transitions.after(old, 100))
            assert refused.value.cause == "pruned" and refused.value.since is not None
        # A state from before that was pruned would miss what was undone since.
        step = layout.world.steps[0]
        assert covers(connection, 0, step) and not covers(connection, 0, 1)
        layout.to(3)
        assert covers(connection, 0, 1), "another layout's steps are numbered anew"
        age(connection, 2 * DAY)
        layout.to(1)
        assert some() == 1, "a shard that is no more keeps nothing"
        assert kept(connection) == []
        layout.writer.close()


def test_an_erasure_is_not_waited_for(database_url: str, tmp_path: Path) -> None:
    layout = Layout(database_url, tmp_path, 1)
    with (
        closing(postgres.connect(database_url, autocommit=True)) as connection,
        closing(postgres.connect(database_url)) as erasing,
    ):
        layout.write([(user, [0], 0, True) for user in ("u1", "u2", "a")])
        age(connection, 2 * DAY)
        prune(database_url, DAY, threading.Event())
        save(connection)
        erasing.execute("DELETE FROM tidegate.transitions WHERE user_id = 'u2'")
        assert prune(database_url, DAY, threading.Event()) == 2
        erasing.rollback()
        assert prune(database_url, DAY, threading.Event()) == 1, "the next round finds what was left"
        layout.writer.close()


def test_history_is_long_or_for_ever() -> None:
    assert load().history == 0 and load(history=3_600).history == 3_600
    with pytest.raises(ValidationError, match="at least 3,600"):
        load(history=60)
