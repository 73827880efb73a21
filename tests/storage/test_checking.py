"""The short way of single checks: the answers of the ordinary one, and None wherever it cannot tell."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing

import psycopg
import pytest

from storage import checking, postgres
from storage.checking import Checks
from storage.queries import Answer, UnknownSegment, answers
from storage.reader import MembershipReader, connection_arguments, open_pool
from tests.storage.world import START, World, open_writer

pytestmark = pytest.mark.postgres
NAMES = ["active", "idle"]
Question = Callable[[Checks, MembershipReader], Awaitable[None]]


def asked(url: str, question: Question) -> None:
    """With the short way connected, and a reader that does not know it."""

    async def main() -> None:
        checks = Checks(connection_arguments(url))
        running = asyncio.create_task(checks.run())
        try:
            async with asyncio.timeout(60), open_pool(url, size=2, patience=2) as pool:
                await connected(checks)
                await question(checks, MembershipReader(pool, postgres.address(url)))
        finally:
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(main())


async def connected(checks: Checks) -> None:
    while await checks.ask("nobody", NAMES[0]) is None:
        checks.answered()
        await asyncio.sleep(0.01)


def fill(url: str) -> None:
    world = World(NAMES, 2)
    with open_writer(url, NAMES, 2) as out:
        moves = [("ann", [0], 7, True), ("bob", [], 0, True), ("cid", [0, 1], 9, True), ("cid", [0], 90, True)]
        out.write([world.step(shard, [*moves, ('{"é,\\', [1], 95, True)]) for shard in (0, 1)])


def test_its_answers_are_those_of_the_ordinary_way(database_url: str) -> None:
    fill(database_url)
    with closing(postgres.connect(database_url, autocommit=True)) as connection:
        # One segment is held, and has users who flipped since.
        connection.execute(
            "UPDATE tidegate.definitions SET held_since = to_timestamp(%s / 1000000), complete_since = held_since "
            "WHERE name = 'idle'",
            [START // 1_000_000 * 1_000_000],
        )
    users = ["ann", "bob", "cid", "nobody", '{"é,\\', "NULL", "'", "u" * 512]
    pairs = [(user, segment) for user in users for segment in NAMES] * 20

    async def question(checks: Checks, reader: MembershipReader) -> None:
        async def one(user: str, segment: str) -> Answer:
            row = await checks.ask(user, segment)
            assert row is not None
            return answers([(user, segment)], [row])[0]

        expected = await reader.check(pairs)
        assert [await one(*pair) for pair in pairs[: len(users) * 2]] == expected[: len(users) * 2]
        together = await asyncio.gather(*(one(*pair) for pair in pairs))
        assert together == expected
        assert [(a.as_of, a.state.held) for a in together] == [(a.as_of, a.state.held) for a in expected]
        assert any(a.member for a in expected) and any(a.state.held for a in expected)

    asked(database_url, question)


def test_many_that_wait_are_one_statement(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database_url)
    sizes: list[int] = []
    send = Checks._send

    def counting(self: Checks) -> None:
        send(self)
        sizes.append(len(self._out))

    async def question(checks: Checks, reader: MembershipReader) -> None:
        monkeypatch.setattr(Checks, "_send", counting)
        await asyncio.gather(*(checks.ask("ann", NAMES[0]) for _ in range(151)))
        assert sizes == [1, 100, 50]

    asked(database_url, question)


def test_an_unknown_segment_is_that_of_one_caller(database_url: str) -> None:
    fill(database_url)

    async def question(checks: Checks, reader: MembershipReader) -> None:
        first, unknown, known = await asyncio.gather(*(checks.ask("ann", name) for name in ("idle", "nosuch", "idle")))
        assert first is not None and unknown is not None and known == first
        with pytest.raises(UnknownSegment, match="nosuch"):
            answers([("ann", "nosuch")], [unknown])

    asked(database_url, question)


def test_who_goes_takes_nobody_along(database_url: str) -> None:
    fill(database_url)

    async def question(checks: Checks, reader: MembershipReader) -> None:
        calls = [asyncio.create_task(checks.ask("ann", NAMES[0])) for _ in range(5)]
        await asyncio.sleep(0)
        calls[0].cancel()
        calls[3].cancel()
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(row, asyncio.CancelledError) for row in told] == [True, False, False, True, False]
        assert told[1] == told[2] == told[4] is not None

    asked(database_url, question)


def test_a_lost_connection_and_what_comes_after(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_PAUSE_S", 0.01)
    fill(database_url)

    async def question(checks: Checks, reader: MembershipReader) -> None:
        before = await checks.ask("ann", NAMES[0])
        await asyncio.to_thread(end_sessions, database_url)
        while await checks.ask("ann", NAMES[0]) is not None:
            pass  # until the end of the session has come here
        assert await checks.ask("ann", NAMES[0]) is None  # not before the ordinary way has given an answer
        await connected(checks)
        assert await checks.ask("ann", NAMES[0]) == before

    asked(database_url, question)


def test_a_statement_that_takes_long_is_given_up_and_cancelled(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_PATIENCE_S", 0.2)
    monkeypatch.setattr(checking, "_PAUSE_S", 0.01)
    fill(database_url)

    async def question(checks: Checks, reader: MembershipReader) -> None:
        with closing(postgres.connect(database_url)) as holder:
            holder.execute("LOCK TABLE tidegate.members IN ACCESS EXCLUSIVE MODE")
            assert await asyncio.gather(*(checks.ask("ann", NAMES[0]) for _ in range(3))) == [None] * 3
            with closing(postgres.connect(database_url, autocommit=True)) as beside:
                while waiting(beside):
                    await asyncio.sleep(0.01)
        await connected(checks)

    asked(database_url, question)


def test_a_refused_statement_is_none_and_the_connection_anew(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_PAUSE_S", 0.01)
    fill(database_url)

    async def question(checks: Checks, reader: MembershipReader) -> None:
        held = checks._connection
        assert held is not None
        held.pgconn.exec_(b"DEALLOCATE ALL")
        assert await checks.ask("ann", NAMES[0]) is None
        await connected(checks)
        assert checks._connection is not held

    asked(database_url, question)


def end_sessions(url: str) -> None:
    with closing(postgres.connect(url, autocommit=True)) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'tidegate server' AND datname = current_database()"
        )


def waiting(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    found = connection.execute(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return found.fetchone() is not None
