"""A round over a deployment: a sound one has no wrong answer, a seeded one is found, told, written down, mended."""

import threading
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from console.commands import test as testing
from console.status_view import problems
from flows import metrics
from flows.auditing import one_round, told
from flows.run import run
from segmentation.errors import TidegateError
from storage.audit.round import Outcome, audit
from storage.status import read_status
from tests.fix_kafka import produce
from tests.flows.conftest import World
from tests.flows.test_flow import HOUR, some_events

AT = 1_767_225_600_000_000


@pytest.fixture
def world(make_world: Callable[..., World], embedded_broker: str) -> World:
    """An engine has read events of 40 users, and has ended."""
    world = make_world(embedded_broker, clock="event", shards=2, audit_users=1_000)
    produce(world.bootstrap, world.topic, some_events(600, 40, AT))
    run(world.settings(), until_end=True, finish_at=AT + HOUR // 2)
    return world


def audited(world: World) -> Outcome:
    return audit(world.url, world.settings().storage_url, 1_000, Random(1))


def test_a_sound_engine_has_no_wrong_answer(world: World) -> None:
    done = audited(world)
    assert done.wrong == 0 and done.skipped == 0 and not done.unjudged and done.moved == 0
    assert done.users == 40 and done.answers == 40 * 7
    status = read_status(world.url)
    assert status.audit is not None and (status.audit.rounds, status.audit.open) == (1, 0)
    assert not any("WRONG" in problem for problem in problems(status))


def test_a_round_tells_what_segments_cost(world: World) -> None:
    audited(world)
    status = read_status(world.url)
    pairs = {one.segment: one.pairs or 0 for one in status.segments}
    assert sum(pairs.values()) > 600 and min(pairs.values()) > 0
    # The bands read one count, which is divided among them and whoever else reads it.
    assert pairs["hour/0-2"] == pairs["hour/3-5"] == pairs["hour/6+"] < pairs["buyers"] + pairs["gone"]
    # Every user has a number for most cells of all events, and those who bought for those of purchases.
    assert all(one.bytes is not None and 0 < one.bytes <= 40 * 8 * 9 for one in status.segments)


def test_wrong_answers_are_found_and_mended(world: World, tmp_path: Path) -> None:
    """One member too few and one too many, as a defect or a hand in the database would make them."""
    (user,) = world.query("SELECT user_id FROM segment_members WHERE segment = 'buyers' ORDER BY 1 LIMIT 1")[0]
    everybody = {f"u{number}" for number in range(40)}
    (other, *_) = sorted(everybody - {one for segment, one in world.members() if segment == "gone"})
    number = "(SELECT id FROM tidegate.definitions WHERE name = '{}')"
    take = f"DELETE FROM tidegate.members WHERE user_id = '{user}' AND segment_id = {number.format('buyers')}"
    put = f"INSERT INTO tidegate.members VALUES ({number.format('gone')}, '{other}', now(), 99)"
    world.execute(take, put)

    done = audited(world)
    assert {(one.user_id, one.segment, one.stored, one.judged) for one in done.differ} == {
        (user, "buyers", False, True), (other, "gone", True, False),
    }  # fmt: skip
    wrong = next(problem for problem in problems(read_status(world.url)) if "WRONG" in problem)
    assert "2 answers are WRONG" in wrong and done.differ[0].file in wrong
    storage = world.settings().storage_url
    for one in done.differ:  # evaluated anew these events give what DuckDB says
        shown = CliRunner().invoke(
            testing.command, [str(storage / one.file), "--definitions", world.values["definitions"]]
        )
        assert shown.exit_code == 0, shown.output

    # Who is found wrong is looked at again, whoever else is drawn.
    world.execute(f"INSERT INTO tidegate.members VALUES ({number.format('buyers')}, '{user}', now(), 1)")
    again = audit(world.url, storage, 1, Random(2))
    assert [one.user_id for one in again.differ] == [other]
    world.execute(f"DELETE FROM tidegate.members WHERE seq = 99 AND user_id = '{other}'")
    assert audit(world.url, storage, 1, Random(3)).wrong == 0
    assert audited(world).wrong == 0
    assert not list((storage / "audit").glob("*")), "files of what was mended are deleted"


def test_what_came_after_the_saved_state_does_not_matter(world: World) -> None:
    """Membership is compared as of the state: later flips are undone first."""
    (user, seq, segment) = world.query(
        "SELECT t.user_id, max(t.seq), (SELECT id FROM tidegate.definitions WHERE name = 'recent') "
        "FROM tidegate.transitions t GROUP BY 1 ORDER BY 1 LIMIT 1"
    )[0]
    inside = ("recent", user) in world.members()
    world.execute(
        f"INSERT INTO tidegate.transitions VALUES "
        f"('{user}', {seq + 1}, {segment}, {not inside}, now(), 'event', 1, 0, 1)",
        f"UPDATE tidegate.users SET seq = {seq + 1} WHERE user_id = '{user}'",
        f"DELETE FROM tidegate.members WHERE user_id = '{user}' AND segment_id = {segment}" if inside
        else f"INSERT INTO tidegate.members VALUES ({segment}, '{user}', now(), {seq + 1})",
    )  # fmt: skip
    assert audited(world).wrong == 0


def test_the_process_beside_an_engine(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.execute("DELETE FROM tidegate.members WHERE (segment_id, user_id) = (SELECT segment_id, user_id FROM "
                  "tidegate.members ORDER BY user_id, segment_id LIMIT 1)")  # fmt: skip
    found = one_round(world.settings(), threading.Event())
    assert found is not None and found["wrong"] == 1 and found["answers"] == 40 * 7
    told(found)
    assert "WRONG ANSWER" in caplog.text and found["differ"][0]["file"] in caplog.text
    assert [value for _, value in metrics.values("tidegate_audit_mismatch_rate")] == [1 / 280]
    ended = threading.Event()
    ended.set()
    assert one_round(world.settings(), ended) is None


def test_a_damaged_file_is_no_wrong_answer(world: World) -> None:
    state = next((world.settings().storage_url / "checkpoints").glob("*.state"))
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(TidegateError, match="is damaged"):
        audited(world)
    found = one_round(world.settings(), threading.Event())
    assert found is not None and "is damaged" in found["failure"]
    assert any("The audit could not be done" in problem for problem in problems(read_status(world.url)))
