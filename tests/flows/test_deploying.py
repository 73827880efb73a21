"""A version is taken up by a running engine: members are those of its SQL, differences are the only transitions."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from flows.clock import now_us
from flows.run import run
from storage import deployments
from storage.applying import apply
from storage.deployments import COMPLETE, Deployment
from tests.fix_kafka import produce
from tests.flows.conftest import DEFINITIONS, ROOT, SCHEMA, Running, World, ended, event, send_all, until
from tests.flows.oracle import folded, members_by_events
from tests.flows.test_plan import plan

Make = Callable[..., World]
Start = Callable[..., Running]
AT = 1_767_225_600_000_000
MINUTE = 60_000_000
CHANGED = DEFINITIONS | {
    "buyers": "SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id HAVING sum(amount) >= 16",
    "viewers": "SELECT user_id FROM events GROUP BY user_id HAVING count(*) FILTER (WHERE event_type = 'view') >= 3",
}
del CHANGED["hour"], CHANGED["away"]


def texts(definitions: dict[str, str]) -> dict[str, str]:
    return {f"{name}.sql": sql for name, sql in definitions.items()} | {"schema.yml": SCHEMA}


def minutes(first: int, last: int) -> list[tuple[str | bytes | None, bytes | None]]:
    return [
        event(f"u{i * 7919 % 31}", i, AT + i * MINUTE, "buy" if i % 3 else "view", i % 5) for i in range(first, last)
    ]


def changed(world: World, definitions: dict[str, str]) -> None:
    """The folder too, which the oracle reads."""
    for path in (world.folder / "definitions").glob("*.sql"):
        path.unlink()
    for name, sql in definitions.items():
        (world.folder / "definitions" / f"{name}.sql").write_text(sql)


def check(world: World, end: int) -> None:
    log = world.log()
    assert world.members() == folded(log) == members_by_events(world, end)
    alternate = """
        SELECT bool_and(entered IS DISTINCT FROM before) FROM (
            SELECT entered, lag(entered) OVER (PARTITION BY user_id, segment ORDER BY seq) AS before
            FROM segment_transitions) t
    """
    assert world.query(alternate) == [(True,)]
    gaps = "SELECT count(DISTINCT seq) = max(seq) FROM segment_transitions GROUP BY user_id"
    assert all(whole for whole, in world.query(gaps))
    counted = {name: count for name, count in world.query("SELECT segment, members FROM segments") if count}
    found: dict[str, int] = {}
    for segment, _ in world.members():
        found[segment] = found.get(segment, 0) + 1
    assert counted == found


def by_definition(world: World) -> set[tuple[str, str, bool]]:
    return set(
        world.query("SELECT segment, user_id, entered FROM segment_transitions WHERE cause = 'definition'")
    )


def complete(world: World, number: int) -> Deployment | None:
    found = deployments.version(world.url, number)
    assert found.state != deployments.WITHDRAWN, found.reason
    return found if found.state == COMPLETE else None


def test_at_a_start_and_back(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event")
    produce(world.bootstrap, world.topic, minutes(0, 300))
    run(world.settings(), until_end=True)
    before = world.members()
    assert apply(world.url, texts(DEFINITIONS), "ann") is None
    assert apply(world.url, texts(CHANGED), "ann") == 2
    produce(world.bootstrap, world.topic, minutes(300, 400))
    run(world.settings(), until_end=True, finish_at=AT + 500 * MINUTE)
    now = complete(world, 2)
    assert now is not None and now == deployments.deployed(world.url)
    changed(world, CHANGED)
    check(world, AT + 500 * MINUTE)
    came = by_definition(world)
    assert {segment for segment, _, _ in came} == {"buyers", "viewers", "hour/0-2", "away"}
    assert not any(entered for segment, _, entered in came if segment in ("hour/0-2", "away"))
    assert {(s, u) for s, u, entered in came if not entered} <= before
    totals: dict[str, tuple[int, int]] = {}
    for segment, _, entered in came:
        a, b = totals.get(segment, (0, 0))
        totals[segment] = (a + entered, b + (not entered))
    assert now.outcome == totals
    # The old files again, as a new version; nobody flaps who is in both.
    assert apply(world.url, deployments.version(world.url, 1).files, "bob") == 3
    run(world.settings(), until_end=True, finish_at=AT + 600 * MINUTE)
    changed(world, DEFINITIONS)
    check(world, AT + 600 * MINUTE)
    send_all(world.settings())


def test_a_running_engine_takes_it_up(make_world: Make, embedded_broker: str, start: Start) -> None:
    world = make_world(embedded_broker)
    at = now_us() - 5 * 3_600_000_000
    some = [event(f"u{i % 31}", i, at + i * 1_000_000, "buy" if i % 3 else "view", i % 5) for i in range(400)]
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, some[:200])
    until(lambda: world.taken() == 200, "taken", alive=[engine])
    assert apply(world.url, texts(CHANGED), "ann") == 2
    produce(world.bootstrap, world.topic, some[200:])
    until(lambda: complete(world, 2), "the version is answered by", alive=[engine])
    until(lambda: world.taken() == 400, "all taken", alive=[engine])
    changed(world, CHANGED)
    engine.end()
    check(world, world.watermark())
    # A rebuild of what is right makes no difference.
    log = world.log()
    assert apply(world.url, texts(CHANGED), "ann", rebuilt=["buyers"]) == 3
    engine = start(world.settings())
    done = until(lambda: complete(world, 3), "rebuilt", alive=[engine])
    assert done.outcome == {} and set(log) <= set(world.log())
    engine.end()


#: Right after which call of what the process is killed.
KILLS = [
    ("storage.deployments:tell", 1),
    ("segmentation.evaluate.building:build", 2),
    ("storage.rebuild:Rebuild.apply_differences", 2),
    ("storage.checkpoints:CheckpointStore.save", 2),
    ("storage.deployments:complete", 1),
    ("storage.rebuild:Rebuild.__exit__", 1),
]


def test_killed_at_any_point(make_world: Make, embedded_broker: str) -> None:
    """Before the one transaction all is as it was, after it the new version is answered by."""
    world = make_world(embedded_broker, clock="event", shards=2)
    versions = [DEFINITIONS, CHANGED]
    for number, (place, calls) in enumerate(KILLS):
        produce(world.bootstrap, world.topic, minutes(number * 60, number * 60 + 60))
        run(world.settings(), until_end=True)
        before = world.members(), world.log()
        version = apply(world.url, texts(versions[(number + 1) % 2]), "ann")
        assert version == number + 2
        killed = subprocess.run(
            [sys.executable, "-m", "tests.flows.killed_apply", place, str(calls)], cwd=ROOT, env=world.environment(),
            timeout=120, capture_output=True, text=True,
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        last = number == len(KILLS) - 1
        assert (deployments.version(world.url, version).state == COMPLETE) == last
        if not last:
            assert (world.members(), world.log()) == before
    end = AT + 500 * MINUTE
    changed(world, versions[len(KILLS) % 2])
    run(world.settings(), until_end=True, finish_at=end)
    check(world, end)


def test_a_column_that_was_declared_later(make_world: Make, embedded_broker: str) -> None:
    """Refused, or deployed with the instant from which on it is complete."""
    world = make_world(embedded_broker, clock="event")
    produce(world.bootstrap, world.topic, minutes(0, 50))
    run(world.settings(), until_end=True)
    files = texts(DEFINITIONS) | {"schema.yml": SCHEMA + "  note: {type: text}\n"}
    files["noted.sql"] = "SELECT user_id FROM events WHERE note IS NULL GROUP BY user_id"
    for number, allowed in ((2, False), (3, True)):
        assert apply(world.url, files, "ann", allow_incomplete=allowed) == number
        run(world.settings(), until_end=True)
    refused, taken = deployments.version(world.url, 2), deployments.version(world.url, 3)
    assert refused.state == deployments.WITHDRAWN and taken.state == COMPLETE
    assert "noted: column note was declared later" in str(refused.reason)
    since = world.query("SELECT name, complete_since IS NOT NULL FROM tidegate.definitions ORDER BY 1")
    assert since == [(name, name == "noted") for name, _ in since]
    assert not any(segment == "noted" for segment, _ in world.members())
    # What has not changed since, and was allowed, is not refused with the next change.
    assert apply(world.url, files | {"more.sql": DEFINITIONS["recent"]}, "ann") == 4
    run(world.settings(), until_end=True)
    assert deployments.version(world.url, 4).state == COMPLETE
    # The plan of one that reads the same count says what applying it would: that count is not whole either.
    again = "SELECT user_id FROM events WHERE note IS NULL GROUP BY user_id HAVING count(*) >= 1"
    more = {"noted": files["noted.sql"], "more": DEFINITIONS["recent"], "again": again}
    told = json.loads(plan(world, DEFINITIONS | more, "--json", schema=files["schema.yml"]).out)
    ((one,),) = [each["segments"] for each in told["definitions"] if each["definition"] == "again"]
    assert one["complete_since"] is not None and one["needs_allow_incomplete"]
    assert apply(world.url, files | {f"{name}.sql": sql for name, sql in more.items()}, "ann") == 5
    run(world.settings(), until_end=True)
    assert deployments.version(world.url, 5).state == deployments.WITHDRAWN


@pytest.mark.parametrize("what", ["type", "sql"])
def test_what_cannot_be_built_is_withdrawn(make_world: Make, embedded_broker: str, what: str) -> None:
    world = make_world(embedded_broker, clock="event")
    produce(world.bootstrap, world.topic, minutes(0, 50))
    run(world.settings(), until_end=True)
    files: dict[str, Any] = texts(DEFINITIONS)
    if what == "type":
        files["schema.yml"] = SCHEMA.replace("bigint", '"numeric(18,2)"')
    else:
        files["buyers.sql"] = "SELECT nonsense FROM events"
    assert apply(world.url, files, "ann") == 2
    produce(world.bootstrap, world.topic, minutes(50, 100))
    run(world.settings(), until_end=True, finish_at=AT + 200 * MINUTE)
    found = deployments.version(world.url, 2)
    assert found.state == deployments.WITHDRAWN
    assert ("column amount" if what == "type" else "buyers.sql") in str(found.reason)
    check(world, AT + 200 * MINUTE)


def test_several_processes_take_it_up_together(
    make_world: Make, embedded_broker: str, tidegate: Callable[..., "subprocess.Popen[str]"]
) -> None:
    world = make_world(embedded_broker, shards=4, checkpoint_every=1)
    at = now_us() - 5 * 3_600_000_000
    some = [event(f"u{i % 31}", i, at + i * 1_000_000, "buy" if i % 3 else "view", i % 5) for i in range(600)]
    engine = tidegate(world.environment(), "--workers", "2")
    produce(world.bootstrap, world.topic, some[:200])
    until(lambda: world.taken() == 200, "taken", alive=[engine])
    assert apply(world.url, texts(CHANGED), "ann") == 2
    produce(world.bootstrap, world.topic, some[200:400])
    until(lambda: complete(world, 2), "the version is answered by", alive=[engine], timeout_s=120)
    produce(world.bootstrap, world.topic, some[400:])
    until(lambda: world.taken() == 600, "all taken", alive=[engine], timeout_s=120)
    changed(world, CHANGED)
    ended(engine)
    check(world, world.watermark())


def test_a_running_engine_goes_on_where_it_cannot_be_built(
    make_world: Make, embedded_broker: str, start: Start
) -> None:
    world = make_world(embedded_broker)
    engine = start(world.settings())
    produce(world.bootstrap, world.topic, [event("a", 1, now_us(), amount=10)])
    until(lambda: world.taken() == 1, "taken", alive=[engine])
    (token,) = world.query("SELECT max(token) FROM tidegate.shards")
    assert apply(world.url, texts(DEFINITIONS) | {"buyers.sql": "SELECT nonsense"}, "ann") == 2
    until(lambda: deployments.version(world.url, 2).state == deployments.WITHDRAWN, "withdrawn", alive=[engine])
    assert world.query("SELECT max(token) FROM tidegate.shards") == [token], "nothing was interrupted"
    engine.end()


def test_a_change_of_too_many_is_held(make_world: Make, embedded_broker: str) -> None:
    world = make_world(embedded_broker, clock="event", guard=10)
    produce(world.bootstrap, world.topic, minutes(0, 300))
    run(world.settings(), until_end=True)
    before = world.members(), world.log()
    assert apply(world.url, texts(CHANGED), "ann") == 2
    run(world.settings(), until_end=True)
    held = deployments.version(world.url, 2)
    assert held.held and held.outcome["buyers"][1] > 3 and (world.members(), world.log()) == before
    run(world.settings(), until_end=True)
    assert deployments.version(world.url, 2) == held, "nobody tries again before it is confirmed"
    assert deployments.confirm(world.url, 2, "bob")
    run(world.settings(), until_end=True, finish_at=AT + 500 * MINUTE)
    now = complete(world, 2)
    assert now is not None and now.confirmed_by == "bob" and now.outcome == held.outcome
    changed(world, CHANGED)
    check(world, AT + 500 * MINUTE)
    # A version that changes little goes through.
    assert apply(world.url, texts(CHANGED) | {"new.sql": CHANGED["viewers"]}, "ann") == 3
    run(world.settings(), until_end=True)
    assert complete(world, 3)
