"""Refused profiles sent again: with the time that they had, and never behind a newer one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.clock import now_us
from flows.run import run
from flows.steps import headers_of
from segmentation.events.origin import Origin
from tests.console.run_command import Done, tidegate
from tests.console.test_dead_letters import Office, office
from tests.fix_kafka import consume_all, new_topic, produce
from tests.flows.conftest import Running, World, make_world, start, until

__all__ = ["make_world", "office", "start"]

SCHEMA = "events:\n  amount: {type: bigint}\nusers:\n  tier: {type: TYPE}\n"
STAMP = 1_767_225_600_123


@pytest.fixture
def profiles(office: Office) -> str:
    (office.folder / "schema.yml").write_text(SCHEMA.replace("TYPE", "bigint"))
    return new_topic(office.kafka, "profiles", 2)


def refuse(office: Office, topic: str, user: str, offset: int, value: bytes = b'{"tier": 1}') -> str:
    """As the engine has stored it, and as it is in the topic."""
    produce(office.kafka, topic, [(user, value)], partition=1, timestamps_ms=[STAMP + offset])
    origin = office.letter(1, offset, value, key=user.encode(), topic=topic)
    office.query('UPDATE tidegate.dead_letters SET stamp = %s WHERE "offset" = %s', [(STAMP + offset) * 1_000, offset])
    return origin


def test_they_go_with_their_time_and_only_the_last_of_each(office: Office, profiles: str) -> None:
    def replayed(*arguments: str) -> Done:
        return office.run("replay", *arguments, TIDEGATE_PROFILES_TOPIC=profiles)

    for offset, user in enumerate(["alone", "twice", "twice", "newer", "erased", "wrong"]):
        refuse(office, profiles, user, offset, b'{"tier": "?"}' if user == "wrong" else b'{"tier": 1}')
    produce(office.kafka, profiles, [("newer", b'{"tier": 2}'), ("erased", None)], partition=1)
    for arguments, code in ((["--dry-run"], 1), ([], 1), (["--force"], 1)):
        done = replayed(*arguments)
        assert done.code == code and "still refused: 3 newer_profile" in done.out, done.out
        if not arguments:
            assert "still refused: 1 wrong_type" in done.out and done.out.startswith("2 of 6 refused")
    sent = [message for message in consume_all(office.kafka, profiles, 2) if Origin.among(headers_of(message))]
    assert [(m.key(), m.timestamp()[1], m.partition()) for m in sent] == [
        (b"alone", STAMP, 1), (b"twice", STAMP + 2, 1), (b"wrong", STAMP + 5, 1),
    ]  # fmt: skip
    assert [str(Origin.among(headers_of(m))) for m in sent] == [f"{profiles}/1@{n}" for n in (0, 2, 5)]
    assert office.sent() == [], "nothing to the topic of events"


def test_one_that_was_sent_but_not_marked_is_sent_again(office: Office, profiles: str) -> None:
    refuse(office, profiles, "alone", 0)
    for _ in range(2):
        assert office.run("replay", TIDEGATE_PROFILES_TOPIC=profiles).code == 0
        office.query("UPDATE tidegate.dead_letters SET replayed_at = NULL")
    assert len(consume_all(office.kafka, profiles, 2)) == 3


def test_after_the_schema_was_mended(
    make_world: Callable[..., World], start: Callable[..., Running], embedded_broker: str
) -> None:
    """The rebuild counts it already, as far as the topic still has it; the replay changes nothing."""
    world = make_world(embedded_broker, partitions=1)
    folder = Path(world.values["definitions"])
    (folder / "schema.yml").write_text(SCHEMA.replace("TYPE", "bigint"))
    (folder / "known.sql").write_text("SELECT user_id FROM users")
    topic = new_topic(embedded_broker, "profiles", 2)
    world.values["profiles_topic"] = topic
    at = now_us() // 1_000 - 5_000
    produce(world.bootstrap, topic, [("u1", b'{"tier": "gold"}'), ("u2", b"{}")], timestamps_ms=[at, at])
    engine = start(world.settings())
    letters = "SELECT topic || '/' || partition || '@' || \"offset\", stamp FROM tidegate.dead_letters"
    [(origin, stamp)] = until(lambda: world.query(letters), "refused", alive=[engine])
    until(lambda: world.members(), "the other is known", alive=[engine])
    assert world.members() == {("known", "u2")} and stamp == at * 1_000
    engine.end()
    (folder / "schema.yml").write_text(SCHEMA.replace("TYPE", "text"))
    environment = {name: value for name, value in world.environment().items() if name.startswith("TIDEGATE_")}
    assert "another schema.yml" in tidegate("dead-letter", "replay", env=environment).err
    run(world.settings(), rebuild=True, then_end=True)
    engine = start(world.settings())
    assert world.members() == {("known", "u1"), ("known", "u2")}
    before = world.log()
    done = tidegate("dead-letter", "replay", origin, env=environment)
    assert done.code == 0, done.out + done.err

    def outcome() -> str:
        shown = tidegate("dead-letter", "show", origin, "--json", env=environment)
        return str(json.loads(shown.out)["replayed"]["outcome"])

    until(lambda: outcome() == "taken", "it is taken", alive=[engine])
    engine.end()
    assert world.log() == before
    [again] = [m for m in consume_all(world.bootstrap, topic, 2) if Origin.among(headers_of(m))]
    assert again.timestamp()[1] == at
