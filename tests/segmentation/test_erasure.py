"""What a shard still holds of an erased user: nothing but a digest; and of the others: everything."""

from pathlib import Path

import numpy as np
import pytest

from segmentation.compile.bind import bind
from segmentation.compile.lower import lower
from segmentation.compile.plan import Plan
from segmentation.compile.tree import Value
from segmentation.evaluate.erasure import DIGEST_BYTES, digest_of
from segmentation.evaluate.shard import Shard
from segmentation.events.rows import PROFILES, Poll
from segmentation.reference import Event
from segmentation.state import log
from storage.reservoir import Reservoir
from tests.flows.erased import content_of
from tests.oracle.grammar import COLUMNS
from tests.oracle.running import SCHEMA
from tests.oracle.streams import profiles_of, rows_of

T = 1_700_000_000_000_000
DEFINITIONS = {
    "last_is_ours": "HAVING arg_max(region, event_time) = 'Ours'",
    "lower": "HAVING arg_max(lower(region), event_time) = 'ours'",
    "first_id": "HAVING arg_min(event_id, event_time) >= 'i'",
    "sums": "HAVING sum(amount) > 0 AND sum(quantity) >= 9223372036854775807",
    "recent": "WHERE region <> 'x' AND event_time > now() - INTERVAL '1 hour'",
}


def plan() -> Plan:
    texts = {name: (f"SELECT user_id FROM events GROUP BY user_id {having}") for name, having in DEFINITIONS.items()}
    texts["recent"] = f"SELECT user_id FROM events {DEFINITIONS['recent']} GROUP BY user_id"
    return lower([bind(name, f"{name}.sql", sql, SCHEMA) for name, sql in texts.items()], SCHEMA)


def event(user: str, region: str, after: int) -> Event:
    values: dict[str, Value] = {"event_type": f"kind of {user}", "region": region, "amount": 7, "quantity": 2**62 + 5}
    return Event(user, f"id-of-{user}-{after}", T + after, values)


def events_poll(events: list[Event], first: int) -> Poll:
    rows = rows_of(events, COLUMNS, first)
    return Poll(0, first + len(events), T, int(rows.high[-1]), None, rows)


def tombstone(user: str, after: int, first: int) -> Poll:
    return Poll(PROFILES, first + 1, T, T + after, None, None, profiles_of([(user, T + after)], first))


@pytest.fixture
def shard(monkeypatch: pytest.MonkeyPatch) -> Shard:
    shard = Shard(plan(), 1, 0, None, False)
    shard.add_partitions(1, 1)
    secret = [event("erasable", f"Only-His-{n}", n) for n in range(5)]
    other = [event("other", region, n) for n, region in enumerate(["Shared", "OURS", "Ours"])]
    shard.run([events_poll(secret + other, 0)])
    return shard


def members(shard: Shard) -> dict[str, set[str]]:
    names = shard.plan.names
    return {user: {names[number] for number in numbers} for user, numbers in shard.members()}


HIS = (b"erasable", b"Only-His", b"only-his", str(5 * (2**62 + 5)).encode())


def test_nothing_of_him_is_in_the_state(shard: Shard) -> None:
    before = members(shard)
    assert all(his in shard.dump() for his in HIS)
    step = shard.run([tombstone("erasable", 10, 0)])
    assert step.erased == [("erasable", T + 10)] and not len(step.transitions)
    state = shard.dump()
    assert not any(his in state for his in HIS)
    assert members(shard) == {"other": before["other"]}
    again = Shard.load(state, shard.plan, 0, 0, None, False)
    assert members(again) == members(shard)
    assert again.dump() == state


def test_texts_that_others_use_stay_what_they_are(shard: Shard) -> None:
    shard.run([tombstone("erasable", 10, 0)])
    for loaded in (False, True):
        if loaded:
            shard = Shard.load(shard.dump(), shard.plan, 0, 0, None, False)
        else:
            shard.dump()
        at = 20 + loaded
        shard.run([events_poll([event("other", "OURS", at), event("third", "Only-His-1", at)], 100 + 2 * loaded)])
        assert members(shard)["other"] >= {"lower", "first_id"} and "last_is_ours" not in members(shard)["other"]
        assert "lower" not in members(shard)["third"]


def test_what_is_after_the_tombstone_is_a_new_user(shard: Shard) -> None:
    step = shard.run([tombstone("erasable", 3, 0)])
    assert step.new_users == ["erasable"] and shard._seq[shard._users.find("erasable")] == 1
    state = shard.dump()
    assert b"id-of-erasable-4" in state and b"Only-His-4" in state
    assert not any(f"Only-His-{n}".encode() in state for n in range(4))
    replay = [event("erasable", f"Only-His-{n}", n) for n in range(5)]
    step = shard.run([events_poll(replay, 50)])
    assert (step.dropped, step.repeated, step.accepted) == (4, 1, 0)


def test_he_does_not_come_back_with_what_was_before(shard: Shard) -> None:
    shard.run([tombstone("erasable", 10, 0)])
    shard = Shard.load(shard.dump(), shard.plan, 0, 0, None, False)
    step = shard.run([events_poll([event("erasable", "Only-His-1", n) for n in range(11)], 50)])
    assert (step.dropped, step.accepted, step.new_users) == (11, 0, [])
    assert not any(his in shard.dump() for his in HIS)
    step = shard.run([tombstone("erasable", 9, 3), events_poll([event("erasable", "New", 11)], 90)])
    assert step.erased == [] and step.new_users == ["erasable"]


def test_an_unknown_user_is_remembered(shard: Shard) -> None:
    shard.run([tombstone("nobody", 10, 0)])
    assert dict(shard.erasures.items())[digest_of("nobody")] == T + 10 and len(digest_of("nobody")) == DIGEST_BYTES
    assert b"nobody" not in shard.dump()
    assert shard.erasures.lacking({digest_of("nobody"): T + 10, digest_of("other"): T}) == 1
    assert shard.erasures.lacking({digest_of("nobody"): T + 11}) == 1


def test_files_hold_nothing_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a user of whom some events stay; the event ids of those are read, though no definition reads any."""
    for name, rows in (("CHUNK_ROWS", 3), ("LATE_ROWS", 2)):
        monkeypatch.setattr(log, name, rows)
    columns = {name: column.type for name, column in SCHEMA.events.items() if name in COLUMNS}
    shard = Shard(plan(), 1, 0, None, False, Reservoir(tmp_path, 0, 1, columns))
    shard.add_partitions(1, 1)
    for n in range(0, 40, 2):
        shard.run([events_poll([event("erasable", f"Only-His-{n:02}", n), event("other", "Ours", n)], n)])
    assert shard.files()[1]
    shard.run([tombstone("erasable", 20, 0)])
    for n in range(40, 60):
        shard.run([events_poll([event("other", "Ours", n)], n)])
    assert not shard._log.erasing
    folder = tmp_path / "reservoir/shard-0000"
    content = b"".join(content_of(folder / f"{name}.parquet") for name in shard.files()[1])
    assert b"Only-His-22" in content and b"Only-His-20" not in content and b"id-of-erasable-4" not in content
    stay = np.concatenate([rows["time"][rows["user"] == 0] for rows in shard._log.parts()])
    assert sorted(stay - T) == list(range(22, 40, 2))
