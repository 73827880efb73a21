"""`tidegate explain` and `tidegate forecast` of a deployment say what the engine has stored, and then does."""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from console.explanation import lines
from flows.run import run
from segmentation.state import log
from storage.one_user import NotSaved, deployed, explained, see
from storage.pruning import prune
from tests.console.run_command import Done, tidegate
from tests.explain.conftest import END, USERS
from tests.fix_kafka import produce
from tests.flows.conftest import DEFINITIONS, World
from tests.flows.test_flow import HOUR, some_events

MICROS = "(extract(epoch FROM {}) * 1000000)::bigint"


def told(world: World, *arguments: str) -> Done:
    values = world.values
    env = {"TIDEGATE_DATABASE_URL": values["database_url"], "TIDEGATE_STORAGE_URL": values["storage_url"]}
    return tidegate(*arguments, env=env, cwd=world.folder)


def test_what_is_said_is_what_is_stored_and_what_comes(world: World) -> None:
    storage, what = world.settings().storage_url, deployed(world.url)
    members = {(user, name) for name, user in world.members()}
    since = {(user, name): at for user, name, at in world.query(f"SELECT user_id, segment, {MICROS.format('since')} "
                                                                "FROM segment_members")}  # fmt: skip
    flips = []
    for definition in what.plan.segments:
        for number in range(USERS):
            user = f"u{number}"
            said = explained(world.url, storage, what, definition, user, None, 3)
            assert said.member == ((user, definition.name) in members)
            assert not said.member or said.since == since[user, definition.name]
            assert said.at == END and said.events == 300 // USERS
            if said.next_flip is not None:
                flips.append((said.next_flip, user, not said.member, definition.name))
        ahead = json.loads(told(world, "forecast", definition.name, "--within", "24h", "--json").out)
        first: dict[str, tuple[str, bool]] = {}
        for flip in ahead["flips"]:
            first.setdefault(flip["user_id"], (flip["at"], flip["enters"]))
        mine = {user: entered for _, user, entered, name in flips if name == definition.name}
        assert {user: enters for user, (_, enters) in first.items()} == mine
        assert ahead["members"] == sum(name == definition.name for _, name in members)
    assert len(flips) > USERS

    # The engine goes on without arrivals: what was said comes true.
    run(world.settings(), until_end=True, finish_at=END + 24 * HOUR)
    log_of = set(world.query(f"SELECT user_id, segment, {MICROS.format('effective_at')} FROM segment_transitions"))
    assert {(user, name, at) for at, user, _, name in flips} <= log_of


def test_the_commands(world: World) -> None:
    done = told(world, "explain", "u2", "buyers", "--show", "2")
    assert done.code == 0 and "u2 is in buyers since " in done.out, done
    assert "the sum of amount where event_type is 'buy': " in done.out
    assert "as of the last commit: everything that the engine has counted is in it" in done.err
    past = told(world, "explain", "u1", "recent", "--at", "2025-12-31T22:00:00Z")
    assert past.code == 0 and "became known later" in past.out
    forecast = told(world, "forecast", "recent", "--limit", "1")
    assert forecast.code == 0 and "more; --limit" in forecast.err and "leaves" in forecast.out
    for arguments, code, said in [
        (("explain", "nobody", "buyers"), 1, "nothing is known of the user 'nobody'"),
        (("explain", "u1", "buyer"), 2, "Did you mean 'buyers'?"),
        (("forecast", "hour"), 2, "hour/0-2"),
        (("explain", "u1", "buyers", "--definitions", "definitions"), 2, "go with --events"),
        (("forecast", "buyers", "--at", "2026-01-01T00:00:00Z"), 2, "go with --events"),
    ]:
        done = told(world, *arguments)
        assert done.code == code and said in done.err, done
    what = deployed(world.url)
    one = explained(world.url, world.settings().storage_url, what, what.plan.segments[0], "u2", None, 3)
    assert any("is held: what is stored stays" in line for line in lines(replace(one, held=True)))
    world.execute("UPDATE tidegate.definitions SET complete_since = now() WHERE name = 'recent'")
    partly = told(world, "explain", "u2", "recent")
    assert partly.code == 0 and "recent does not count what is older than 2" in partly.out, partly
    assert told(world, "explain", "u2", "recent", "--at", "2025-12-31T22:00:00Z").code == 2
    assert set(DEFINITIONS) - {"hour"} <= set(deployed(world.url).plan.names)


def test_events_that_were_dropped(
    make_world: Callable[..., World], embedded_broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of three hours no window needs more than two: sums over all time are told from the state."""
    monkeypatch.setattr(log, "CHUNK_ROWS", 20)
    world = make_world(embedded_broker, 1, shards=2, poll_rows=20, dedupe_horizon=1)
    now = time.time_ns() // 1_000
    messages = some_events(300, USERS, now)
    produce(world.bootstrap, world.topic, messages)
    run(world.settings(), until_end=True)
    bought: Counter[str] = Counter()
    for key, value in messages:
        event = json.loads(value or b"")
        bought[str(key)] += event["amount"] if event["event_type"] == "buy" else 0
    storage, what = world.settings().storage_url, deployed(world.url)
    members = {(user, name) for name, user in world.members()}
    from_state, said_of_all = 0, []
    for definition in what.plan.segments:
        for user in (f"u{number}" for number in range(USERS)):
            said = explained(world.url, storage, what, definition, user, None, 3)
            said_of_all.append(said)
            assert said.member == ((user, definition.name) in members)
            from_state += said.from_state
            if definition.name == "buyers" and said.from_state:
                (left,) = [part.sides[0] for part in said.condition.walk() if part.op and "sum(" in part.sql]
                assert left.value == bought[user]
    assert from_state > USERS
    done = told(world, "explain", "u2", "buyers")
    assert done.code == 0 and "Older events of u2 have been dropped" in done.out, done
    # The log of transitions goes, too: since when somebody is a member is stored elsewhere, since when not is not.
    before = {(one.user_id, one.segment): one for one in said_of_all}
    assert [prune(world.url, 0, threading.Event()) > 0 for _ in range(2)] == [False, True]
    unknown = 0
    for definition, number in itertools.product(what.plan.segments, range(USERS)):
        said = explained(world.url, storage, what, definition, f"u{number}", None, 3)
        old = before[said.user_id, said.segment]
        if said.member or not said.from_state:
            assert (said.since, said.since_pruned) == (old.since, False)
        elif old.since is not None:
            unknown += 1
            assert said.since is None and said.since_pruned
            assert any("since when is not kept" in line for line in lines(said))
    assert unknown
    past = told(world, "explain", "u2", "recent", "--at", "2026-01-01T00:00:00Z")
    assert past.code == 2 and "a past instant cannot be explained for certain" in past.err
    assert told(world, "explain", "u2", "recent").code == 0


def test_files_that_are_not_here(world: World) -> None:
    elsewhere = world.folder / "elsewhere"
    with pytest.raises(NotSaved, match="Ask where storage_url"):
        see(world.url, elsewhere, deployed(world.url), "u1", "buyers")
    done = tidegate("forecast", "buyers", env={"TIDEGATE_DATABASE_URL": world.url}, cwd=world.folder)
    assert done.code == 2 and "Ask where storage_url" in done.err


def test_a_database_without_an_engine(make_world: Callable[..., World], embedded_broker: str) -> None:
    world = make_world(embedded_broker)
    done = told(world, "migrate")
    assert done.code == 0, done
    assert "no engine has run" in told(world, "explain", "u1", "buyers").err
