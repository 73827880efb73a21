"""send, replay, check, members, status and dead-letter against a running engine and gRPC server."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from console.demo.stack import Stack
from tests.console.run_command import Done, tidegate

SCHEMA = 'events:\n  amount: {type: "numeric(18,2)"}\n'
DEFINITIONS = {
    "vip": "SELECT user_id FROM events GROUP BY user_id HAVING sum(amount) >= 100",
    "here": "SELECT user_id FROM events WHERE event_time > now() - INTERVAL '1 second' GROUP BY user_id",
    "nobody_yet": "SELECT user_id FROM events GROUP BY user_id HAVING sum(amount) > 50 AND min(amount) < -1000000",
    "buyer": "SELECT user_id FROM events WHERE event_type = 'buy' GROUP BY user_id",
}

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("live")
    definitions = folder / "segment_defs"
    definitions.mkdir()
    (definitions / "schema.yml").write_text(SCHEMA)
    for name, text in DEFINITIONS.items():
        (definitions / f"{name}.sql").write_text(text)
    with Stack(folder / "demo", definitions, lambda line: None) as stack:
        stack.start()
        yield stack


@pytest.fixture
def run(stack: Stack, tmp_path: Path) -> Run:
    stack.check()
    return lambda *arguments, **more: tidegate(*arguments, "--config", stack.config, cwd=tmp_path, **more)


def send(run: Run, user: str, *more: str, **fields: object) -> Done:
    event = {"user_id": user, "event_type": "see", **fields}
    return run("send", json.dumps(event), "--now", "--wait", "--timeout", "30", *more)


def test_an_accepted_event_says_what_it_flipped(run: Run) -> None:
    done = send(run, "s1", event_type="buy", amount=100)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("accepted (events/")
    assert [line.split(" at ")[0] for line in lines[1:4]] == [
        "  s1 entered buyer", "  s1 entered here", "  s1 entered vip"
    ]  # fmt: skip
    outcome = json.loads(send(run, "s1", "--json", amount=-1).out)
    assert outcome["outcome"] == "accepted"
    # "here" may have been left a second after the first event, before or with this one.
    assert "vip" in [flip["segment"] for flip in outcome["flips"] if not flip["entered"]]


def test_a_refused_event_says_why_and_is_listed(run: Run) -> None:
    done = send(run, "s2", amount="much")
    assert done.code == 1
    assert done.out.startswith("refused: wrong_type: amount")
    assert run("send", "{nope", "--wait").out.startswith("refused: not_json")
    letters = json.loads(run("dead-letter", "list", "--json", "--reason", "wrong_type").out)
    assert letters[0]["key"] == "s2"
    late = run("send", '{"user_id": "s2", "event_id": "1", "event_type": "x", "event_time": "2001-01-01T00:00:00Z"}',
               "--wait")  # fmt: skip
    assert (late.code, late.out.split(":")[1].strip()) == (1, "event_too_late")


def test_check_answers_with_its_exit_code(run: Run) -> None:
    send(run, "c1", event_type="buy")
    assert run("check", "c1", "buyer").code == 0
    no = run("check", "c1", "vip")
    assert (no.code, no.out.split(":")[0]) == (1, "c1 is not in vip")
    stranger = run("check", "c9", "vip", "--json")
    assert stranger.code == 1 and json.loads(stranger.out)["known"] is False
    unknown = run("check", "c1", "vpi")
    assert unknown.code == 2 and "vip" in unknown.err


def test_replay_then_members_page_by_page(run: Run, tmp_path: Path) -> None:
    count = 2_500
    lines = [f"m{number:05d},buy,2026-01-01 00:00:00.{number:06d}" for number in range(25)]
    (tmp_path / "e.csv").write_text("\n".join(["user,what,when", *reversed(lines), "m1,buy,never"]))
    mapping = ["--map", "user_id=user,event_type=what,event_time=when", "--timezone", "UTC"]
    dry = run("replay", "e.csv", *mapping, "--dry-run")
    assert dry.code == 0 and "would send 25 events of 25 users to events" in dry.out
    done = run("replay", "e.csv", *mapping, "--rate", "20000", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["delivered"] == 25 and "1 row refused: bad_time" in done.err
    # These events are too late for a live engine, which says so; the fresh ones after them count.
    (tmp_path / "f.ndjson").write_text(
        "\n".join(
            json.dumps({"user_id": f"n{number:05d}", "event_type": "buy", "event_id": str(number),
                        "event_time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
            for number in range(count)
        )
    )  # fmt: skip
    assert run("replay", "f.ndjson").code == 0
    send(run, "last")
    assert wait_for(lambda: len(members(run)), count) == count
    some = run("members", "buyer", "--limit", "3")
    assert len(some.out.splitlines()) == 3 and "there are more than these 3" in some.err
    assert json.loads(run("members", "buyer", "--limit", "2", "--json").out)["complete"] is False
    assert run("members", "nobody").code == 2


def test_status_tells_segments_shards_and_refused_events(run: Run) -> None:
    send(run, "t1", event_type="buy")
    found = json.loads(run("status", "--json").out)
    assert {one["segment"] for one in found["segments"]} == set(DEFINITIONS)
    assert len(found["shards"]) == 4


def members(run: Run) -> list[str]:
    return [user for user in run("members", "buyer").out.splitlines() if user.startswith("n0")]


def wait_for(value: Callable[[], int], wanted: int, seconds: float = 30) -> int:
    deadline = time.monotonic() + seconds
    while (found := value()) != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def test_a_profile_and_an_erasure(run: Run) -> None:
    assert send(run, "gone", event_type="buy", amount=100).code == 0
    assert run("check", "gone", "vip").code == 0
    profile = run("send", "--profile", "gone", '{"any": 1}', "--wait")
    assert profile.code == 0 and profile.out.startswith("accepted (profiles/"), profile.err
    refused = run("send", "--profile", "gone", '{"user_id": "other"}', "--wait")
    assert refused.code == 1 and refused.out.startswith("refused: other_user_id: user_id")
    erased = run("send", "--erase", "gone", "--wait", "--timeout", "30")
    assert erased.code == 0 and erased.out.startswith("gone is erased (profiles/")
    said = json.loads(run("check", "gone", "vip", "--json").out)
    assert said["member"] is False and said["known"] is False
    assert json.loads(run("dead-letter", "list", "--json", "--reason", "other_user_id").out) == []
    back = send(run, "gone", event_type="buy", amount=1, event_time="2026-01-01T00:00:00Z")
    assert back.code == 0 and "entered" not in back.out
    assert run("check", "gone", "buyer").code == 1
    again = json.loads(send(run, "gone", "--json", event_type="buy", amount=1).out)
    assert min(flip["seq"] for flip in again["flips"]) == 1  # a second later he is no longer here


def test_a_first_test_from_the_saved_events(run: Run, stack: Stack) -> None:
    """What was sent is in the next saved states; the test that is made of it passes, and names nobody."""
    assert send(run, "somebody-real", event_type="buy", amount=100).code == 0
    written = stack.settings.definitions / "tests/buyer.yml"
    wait_for(lambda: run("test", "--create", "buyer", "--force").code, 0, seconds=120)
    assert "user: member-1" in written.read_text() and "somebody-real" not in written.read_text()
    passed = run("test", "buyer")
    assert (passed.code, passed.out) == (0, "ok    buyer.yml  buyer as it was\n")


def test_why_nobody_is_in_a_segment(run: Run, stack: Stack, tmp_path: Path) -> None:
    """Counted in the next saved states: one user has enough, and nobody has spent so little."""
    assert send(run, "why", amount=60).code == 0

    def told() -> dict[str, Any]:
        done = run("members", "nobody_yet", "--json")
        assert done.code == 0 and json.loads(done.out)["user_ids"] == []
        return dict(json.loads(done.out)["why_nobody"])

    assert wait_for(lambda: "condition" in told() and told()["users"] > 0, True, seconds=120), told()
    condition = told()["condition"]
    assert condition["users"] == 0 and condition["holds_if"] == "all of" and told()["as_of"]
    rare = next(part for part in condition["parts"] if "amount < -1000000" in part["sql"])
    assert wait_for(lambda: told()["condition"]["parts"][condition["parts"].index(rare)]["users_without"] >= 1, True,
                    seconds=120)  # fmt: skip
    assert rare["users"] == 0
    spoken = run("members", "nobody_yet")
    assert (spoken.code, spoken.out) == (0, "") and "none are in it" in spoken.err
    other = tmp_path / "other"
    other.mkdir()
    (other / "schema.yml").write_text(SCHEMA)
    (other / "nobody_yet.sql").write_text(DEFINITIONS["buyer"])
    changed = run("members", "nobody_yet", env={"TIDEGATE_DEFINITIONS": str(other)})
    assert changed.code == 0 and "are not those that the engine runs" in changed.err
    elsewhere = run("members", "nobody_yet", env={"TIDEGATE_STORAGE_URL": str(tmp_path / "empty")})
    assert elsewhere.code == 0 and "run this where storage_url" in elsewhere.err


@pytest.mark.parametrize(
    "arguments", [("--erase", "u", "{}"), ("--erase", "u", "--profile", "u"), ("--profile", "u"),
                  ("--now", "--profile", "u", "{}")]
)  # fmt: skip
def test_what_does_not_go_together(run: Run, arguments: tuple[str, ...]) -> None:
    assert run("send", *arguments).code == 2
