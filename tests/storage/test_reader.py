"""What readers see: answers, as_of, pages that stay whole while members come and go."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TypeVar

import pytest

from storage import postgres, queries
from storage.postgres import DatabaseLost
from storage.queries import UnknownSegment
from storage.reader import MembershipReader, fetch, open_pool
from tests.storage.world import START, World, open_writer

pytestmark = pytest.mark.postgres
NAMES = ["active", "idle"]
T = TypeVar("T")


def asked(url: str, question: Callable[[MembershipReader], Awaitable[T]]) -> T:
    async def main() -> T:
        async with open_pool(url, size=2, patience=2) as pool:
            return await question(MembershipReader(pool, postgres.address(url)))

    return asyncio.run(main())


def test_check_answers_each_pair_in_order(database_url: str) -> None:
    world = World(NAMES, 2)
    with open_writer(database_url, NAMES, 2) as out:
        moves = [("ann", [0], 7, True), ("bob", [], 0, True), ("cid", [0, 1], 9, True), ("cid", [0], 90, True)]
        out.write([world.step(shard, moves) for shard in (0, 1)])
    pairs = [("ann", "active"), ("ann", "idle"), ("bob", "active"), ("nobody", "idle"), ("cid", "idle"), ("", "idle")]
    answers = asked(database_url, lambda reader: reader.check(pairs))
    assert [(a.user_id, a.segment) for a in answers] == pairs
    assert [a.member for a in answers] == [True, False, False, False, True, False]
    assert [a.known for a in answers] == [True, True, True, False, True, False]
    assert [a.since for a in answers] == [START + 7, None, None, None, START + 9, None]
    # Before START + 1, the watermark of both shards, all is known; whose own last transition is later, up to then.
    assert [a.as_of for a in answers] == [START + 7, START + 7, START, START, START + 90, START]
    assert {(a.version, a.state) for a in answers} == {(1, "complete")}
    with pytest.raises(UnknownSegment, match="nosuch") as caught:
        asked(database_url, lambda reader: reader.check([("ann", "nosuch"), ("ann", "active")]))
    assert caught.value.names == ["nosuch"]


def test_before_any_event_nothing_is_known_as_of_any_time(database_url: str) -> None:
    open_writer(database_url, NAMES, 2).close()
    [answer] = asked(database_url, lambda reader: reader.check([("ann", "active")]))
    assert (answer.member, answer.known, answer.as_of) == (False, False, None)
    page = asked(database_url, lambda reader: reader.members("active", None, 10))
    assert (page.members, page.next_after, page.as_of) == ([], None, None)


def test_the_segments_of_a_user(database_url: str) -> None:
    world = World(NAMES, 1)
    with open_writer(database_url, NAMES, 1) as out:
        out.write([world.step(0, [("ann", [1, 0], 3, True), ("bob", [], 0, True)])])
    ann = asked(database_url, lambda reader: reader.user_segments("ann"))
    assert [(s.segment, s.since, s.version) for s in ann.segments] == [("active", START + 3, 1), ("idle", START + 3, 1)]
    assert (ann.known, ann.as_of) == (True, START + 3)
    bob = asked(database_url, lambda reader: reader.user_segments("bob"))
    assert (bob.known, bob.segments, bob.as_of) == (True, [], START)
    assert not asked(database_url, lambda reader: reader.user_segments("nobody")).known


def test_pages_hold_everybody_who_stays_while_others_come_and_go(database_url: str) -> None:
    world = World(NAMES, 1)
    users = [f"u{i:03}" for i in range(100)] + ["é", "𝄞", "Z", "a"]
    reading = postgres.connect(database_url, autocommit=True)
    with open_writer(database_url, NAMES, 1) as out, closing(reading):
        out.write([world.step(0, [(user, [0], 0, True) for user in users])])
        seen: list[str] = []
        after, pages = None, 0
        while True:
            page = fetch(reading, queries.members("active", after, 7))
            seen += [member.user_id for member in page.members]
            assert len(page.members) == 7 or page.next_after is None
            after, pages = page.next_after, pages + 1
            if after is None:
                break
            # One on a page that was read leaves, one on a page to come leaves, one comes on each side.
            gone = [user for user in (f"u{pages * 2:03}", f"u{99 - pages:03}") if (user, "active") in world.inside]
            out.write([world.step(0, [(u, [0], 0, True) for u in [*gone, f"U{pages}", f"v{pages}"]])])
    staying = {user for user in users if (user, "active") in world.inside}
    assert staying <= set(seen) and len(seen) == len(set(seen))
    assert seen == sorted(seen, key=lambda user: user.encode())


def test_segments_and_their_counts(database_url: str) -> None:
    world = World(NAMES, 2)
    with open_writer(database_url, NAMES, 2) as out:
        moves = [(f"u{i}", [0, 1] if i % 3 else [0], i, True) for i in range(30)]
        out.write([world.step(shard, moves) for shard in (0, 1)])
        out.write([world.step(shard, [(f"u{i}", [0], 100, True) for i in range(5)]) for shard in (0, 1)])
    first = asked(database_url, lambda reader: reader.segments(None, 1))
    assert [(s.name, s.members, s.changed_at) for s in first.segments] == [("active", 25, START + 100)]
    second = asked(database_url, lambda reader: reader.segments(first.next_after, 5))
    assert [(s.name, s.members, s.changed_at) for s in second.segments] == [("idle", 20, START + 29)]
    assert second.next_after is None
    idle = asked(database_url, lambda reader: reader.segment("idle"))
    assert idle == second.segments[0]
    assert (idle.sql, idle.description, idle.enabled, idle.state) == ("SELECT 1", "about idle", True, "complete")
    with pytest.raises(UnknownSegment):
        asked(database_url, lambda reader: reader.segment("nosuch"))
    with pytest.raises(UnknownSegment):
        asked(database_url, lambda reader: reader.members("nosuch", None, 1))


def test_a_restarted_database_is_met_without_an_error(database_url: str) -> None:
    open_writer(database_url, NAMES, 1).close()

    async def question(reader: MembershipReader) -> int:
        await asyncio.gather(*(reader.ping() for _ in range(2)))
        with closing(postgres.connect(database_url, autocommit=True)) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        return len((await reader.segments(None, 10)).segments)

    assert asked(database_url, question) == 2


def test_a_database_that_is_away_is_named(database_url: str) -> None:
    async def main() -> None:
        url = "postgresql://someone:secret@127.0.0.1:1/nowhere"
        pool = open_pool(url, size=1, patience=0.2)
        await pool.open()
        try:
            await MembershipReader(pool, postgres.address(url)).ping()
        finally:
            await pool.close()

    with pytest.raises(DatabaseLost, match=r"nowhere at 127.0.0.1:1") as caught:
        asyncio.run(main())
    assert "secret" not in str(caught.value)
