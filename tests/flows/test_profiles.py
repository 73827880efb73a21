"""Profiles from `tidegate send --profile` to membership, through a kill, a reshard and a rebuild."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flows.reshard import reshard
from flows.run import run
from tests.console.run_command import tidegate as command
from tests.fix_kafka import produce
from tests.flows.conftest import World, ended, until
from tests.flows.oracle import folded

Make = Callable[..., World]
Tidegate = Callable[..., "subprocess.Popen[str]"]
BROKERS = ["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)]
SCHEMA = """
events:
  amount: {type: bigint}
users:
  tier: {type: bigint}
  city: {type: text}
  limit_of: {type: bigint, path: credit.limit}
"""
DEFINITIONS = {
    "everybody": "SELECT user_id FROM users",
    "first_tier": "SELECT user_id FROM users WHERE tier = 1",
    "homeless": "SELECT user_id FROM users WHERE city IS NULL",
    "tier_buyers": "SELECT user_id FROM events JOIN users USING (user_id) WHERE tier = 1 AND event_type = 'buy' "
    "GROUP BY user_id HAVING sum(amount) >= 10",
    "over": "SELECT user_id FROM events JOIN users USING (user_id) GROUP BY user_id HAVING sum(amount) > max(limit_of)",
    "idle": "SELECT u.user_id FROM users u LEFT JOIN events e USING (user_id) WHERE e.user_id IS NULL AND tier = 1",
}


class Shop:
    """What was sent, and who must be where by it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.profiles: dict[str, dict[str, Any]] = {}
        self.spent: dict[str, int] = {}

    def send(self, *arguments: str) -> dict[str, Any]:
        done = command("send", *arguments, "--wait", "--timeout", "60", "--json", env=self.world.environment())
        assert done.code == 0, done.err + done.out
        outcome: dict[str, Any] = json.loads(done.out)
        return outcome

    def profile(self, user: str, **values: Any) -> set[tuple[str, bool]]:
        self.profiles[user] = values
        outcome = self.send("--profile", user, json.dumps(values))
        assert outcome["outcome"] == "accepted"
        return {(flip["segment"], flip["entered"]) for flip in outcome["flips"]}

    def buy(self, user: str, amount: int) -> set[tuple[str, bool]]:
        self.spent[user] = self.spent.get(user, 0) + amount
        outcome = self.send("--now", json.dumps({"user_id": user, "event_type": "buy", "amount": amount}))
        return {(flip["segment"], flip["entered"]) for flip in outcome["flips"]}

    def erase(self, user: str) -> None:
        self.profiles.pop(user, None)
        self.spent.pop(user, None)
        assert self.send("--erase", user)["outcome"] == "erased"

    def many(self, count: int) -> None:
        """Each with two versions, at once."""
        messages: list[tuple[str | bytes | None, bytes | None]] = []
        for version in (0, 1):
            for number in range(count):
                values = {"tier": 1 + (number + version) % 3, "city": "Pune" if (number + version) % 2 else None}
                self.profiles[f"u{number}"] = values
                messages.append((f"u{number}", json.dumps(values).encode()))
        produce(self.world.bootstrap, self.world.values["profiles_topic"], messages)

    def expected(self) -> set[tuple[str, str]]:
        found = set()
        for user in self.profiles.keys() | self.spent.keys():
            profile = self.profiles.get(user, {})
            spent, limit = self.spent.get(user), profile.get("credit", {}).get("limit")
            holds = {
                "everybody": True, "first_tier": profile.get("tier") == 1, "homeless": profile.get("city") is None,
                "tier_buyers": profile.get("tier") == 1 and (spent or 0) >= 10,
                "over": spent is not None and limit is not None and spent > limit,
                "idle": profile.get("tier") == 1 and spent is None,
            }
            found |= {(segment, user) for segment, held in holds.items() if held}
        return found


@pytest.mark.parametrize("broker", BROKERS)
def test_from_send_to_membership(
    make_world: Make, tidegate: Tidegate, broker: str, request: pytest.FixtureRequest
) -> None:
    # Hardly ever saved: what is counted before the kill is read again.
    world = make_world(request.getfixturevalue(broker), shards=2, lateness=0.1, checkpoint_every=600)
    folder = world.folder / "definitions"
    for path in folder.glob("*.sql"):
        path.unlink()
    for name, text in DEFINITIONS.items():
        (folder / f"{name}.sql").write_text(text)
    (folder / "schema.yml").write_text(SCHEMA)
    shop = Shop(world)
    engine = tidegate(world.environment())
    until(lambda: world.query("SELECT to_regclass('tidegate.shards')") != [(None,)], "the tables", alive=[engine])
    until(lambda: world.query("SELECT FROM tidegate.shards"), "it has begun", alive=[engine])
    joined = {("everybody", True), ("first_tier", True), ("homeless", True), ("idle", True)}
    assert shop.profile("ann", tier=1, credit={"limit": 15}) == joined
    assert shop.buy("ann", 12) == {("tier_buyers", True), ("idle", False)}
    assert shop.buy("bob", 20) == {("everybody", True), ("homeless", True)}
    assert shop.profile("bob", tier=1, city="Pune", credit={"limit": 10}) == {
        ("homeless", False), ("first_tier", True), ("tier_buyers", True), ("over", True)
    }  # fmt: skip
    shop.many(60)
    shop.erase("u7")
    assert shop.profile("ann", tier=2, credit={"limit": 5}) == {
        ("first_tier", False), ("tier_buyers", False), ("over", True)
    }  # fmt: skip
    until(lambda: world.members() == shop.expected(), "all are where they belong", alive=[engine])
    before = world.log()

    engine.send_signal(signal.SIGKILL)
    engine.wait(60)
    engine = tidegate(world.environment())
    assert shop.profile("ann", tier=1, city="Oslo") == {
        ("first_tier", True), ("tier_buyers", True), ("over", False), ("homeless", False)
    }  # fmt: skip
    assert world.members() == shop.expected()
    assert [row for row in world.log() if row[0] != "ann"] == [row for row in before if row[0] != "ann"]
    ended(engine)

    assert sum(reshard(world.settings(), 4, threading.Event()).users) >= 61
    world.values["shards"] = 4
    engine = tidegate(world.environment())
    assert shop.profile("u1", tier=1, city="Pune", credit={"limit": 0}) >= {("first_tier", True)}
    assert shop.buy("u1", 1) == {("over", True), ("idle", False)}
    ended(engine)
    assert world.members() == shop.expected() == folded(world.log())

    (folder / "poor.sql").write_text("SELECT user_id FROM users WHERE limit_of <= 0")
    run(world.settings(), rebuild=True, until_end=True)
    assert world.members() == shop.expected() | {("poor", "u1")}
    assert folded(world.log()) == world.members()
