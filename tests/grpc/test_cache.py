"""Answers out of memory: the same as the database's, never older than stated, and none where the feed has failed."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpc_server import fast, records
from grpc_server.cache import Copy
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.keeping import Cache
from storage import postgres, transitions
from storage.reader import fetch
from tests.grpc.proxy import Proxy, eventually
from tests.grpc.serving import Serving, failure, failure_of, serving
from tests.grpc.shop import BIG, LAPSED_CALIFORNIANS, NAMES, START, Shop
from tests.storage.world import USERS

pytestmark = pytest.mark.postgres
CHECK = pb.CheckMembershipRequest(user_id="ann", segment="big_spenders")


def copy_of(server: Serving) -> Copy | None:
    cache: Cache | None = server.running._cache
    assert cache is not None
    return cache.copy()


def settled(server: Serving, url: str) -> Copy:
    """The copy in memory, once it has caught up with the database."""
    with closing(postgres.connect(url, autocommit=True)) as connection:
        end = fetch(connection, transitions.end())
    found: list[Copy] = []

    def caught_up() -> bool:
        copy = copy_of(server)
        if copy is None or copy.definitions != end.definitions or not copy.position.covers(end.after):
            return False
        found[:] = [copy]
        return dict(copy._complete_to) == dict(end.complete_to)

    eventually(caught_up, "memory has caught up", 60)
    return found[0]


@contextmanager
def both(url: str, **given: Any) -> Iterator[tuple[Serving, Serving]]:
    """Servers with and without memory."""
    with serving(url, grpc_cache=True, grpc_cache_max_age=600, **given) as fast_one, serving(url) as plain:
        yield fast_one, plain


@given(st.integers(0, 2**35 * 10**6 - 1))
def test_a_timestamp_in_twelve_bytes(micros: int) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp

    encoded = records.stamp(micros)
    assert encoded is not None and len(encoded) == records.STAMP_BYTES
    assert Timestamp.FromString(encoded).ToMicroseconds() == micros if micros < 253_402_300_800_000_000 else True


def test_times_without_a_short_encoding() -> None:
    assert records.stamp(-1) is None and records.stamp(2**35 * 10**6) is None


@given(st.integers(0, 1023), st.dictionaries(st.integers(0, 99), st.binary(min_size=12, max_size=12)))
def test_a_record_gives_back_what_it_was_made_of(shard: int, inside: dict[int, bytes]) -> None:
    made = records.record(shard, inside, 13)
    assert records.inside_of(made, 13) == inside
    assert made[:2] == records.shard_key(shard)


MOVES = st.lists(
    st.tuples(st.sampled_from(USERS), st.lists(st.integers(0, 1), max_size=2, unique=True)), min_size=1, max_size=15
)


def test_the_same_answers_as_the_database(shop: Shop) -> None:
    shop.fill()
    clock = iter(range(1_000_000))
    with both(shop.url) as (memory, plain):

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.lists(MOVES, min_size=1, max_size=3), st.sets(st.sampled_from(USERS), max_size=2), st.randoms())
        def compare(several: list[Any], erased: set[str], chance: Any) -> None:
            for moves in several:
                shop.move(moves, advance=next(clock))
            for user in sorted(erased):
                shop.erase(user)
            shop.move([(user, [BIG]) for user in sorted(erased)[:1]], advance=next(clock))
            copy = settled(memory, shop.url)
            pairs = [pb.MembershipPair(user_id=user, segment=name) for user in USERS for name in NAMES]
            chance.shuffle(pairs)
            known = [pair for pair in pairs if pair.user_id.encode() in copy.users and len(pair.user_id.encode()) < 90]
            for asked in (known, pairs):
                request = pb.BatchCheckMembershipRequest(pairs=asked)
                mine = memory.membership.BatchCheckMembership(request)
                assert mine == plain.membership.BatchCheckMembership(request)
            if known:
                assert fast.batch(copy, pb.BatchCheckMembershipRequest(pairs=known).SerializeToString()) is not None
            for pair in pairs[:6]:
                one = pb.CheckMembershipRequest(user_id=pair.user_id, segment=pair.segment)
                assert memory.membership.CheckMembership(one) == plain.membership.CheckMembership(one)

        compare()


def test_what_memory_does_not_know_is_asked(shop: Shop) -> None:
    shop.fill()
    with both(shop.url) as (memory, _):
        copy = settled(memory, shop.url)
        for user, segment in (("nobody", "big_spenders"), ("ann", "nothing"), ("", "big_spenders")):
            request = pb.CheckMembershipRequest(user_id=user, segment=segment)
            assert fast.check(copy, request) is None
            pair = pb.BatchCheckMembershipRequest(pairs=[pb.MembershipPair(user_id=user, segment=segment)])
            assert fast.batch(copy, pair.SerializeToString()) is None
        nobody = pb.CheckMembershipRequest(user_id="nobody", segment=NAMES[0])
        assert not memory.membership.CheckMembership(nobody).known
        unknown = pb.CheckMembershipRequest(user_id="ann", segment="big_spender")
        assert failure(memory.membership.CheckMembership, unknown).metadata["did_you_mean"] == "big_spenders"
        assert memory.membership.BatchCheckMembership(pb.BatchCheckMembershipRequest()) == (
            pb.BatchCheckMembershipResponse()
        )
        too_many = pb.BatchCheckMembershipRequest(pairs=[pb.MembershipPair(user_id="ann", segment=NAMES[0])] * 1_001)
        assert failure(memory.membership.BatchCheckMembership, too_many).reason == "BATCH_TOO_LARGE"


@given(st.binary(max_size=60), st.integers(0, 200), st.binary(max_size=3))
def test_bytes_that_are_no_usual_request(noise: bytes, at: int, put: bytes) -> None:
    """Left to the service, or read as protobuf reads them."""
    copy = Copy("", transitions.Position({}), *_columns_of(NAMES))
    copy.users[b"ann"] = records.record(0, {0: records.stamp(START) or b""}, 1)
    copy.users[b"bob"] = records.record(0, {}, 1)
    copy.as_of = {records.shard_key(0): records.stamp(START) or b""}
    good = pb.BatchCheckMembershipRequest(
        pairs=[pb.MembershipPair(user_id=user, segment=name) for user in ("ann", "bob") for name in NAMES]
    ).SerializeToString()
    copy.ahead[b"bob"] = records.stamp(START + 5) or b""
    for data in (good, noise, good[:at] + put + good[at:], good[:at], good + noise, good[:at] + good[at + 1 :]):
        answer = fast.batch(copy, data)
        assert answer == fast.batch_by_python(copy, data)
        if answer is not None:
            asked = pb.BatchCheckMembershipRequest.FromString(data)
            found = pb.BatchCheckMembershipResponse.FromString(answer)
            assert [(one.user_id, one.segment) for one in found.results] == [
                (pair.user_id, pair.segment) for pair in asked.pairs
            ]
            assert [one.member for one in found.results] == [
                (pair.user_id, pair.segment) == ("ann", NAMES[0]) for pair in asked.pairs
            ]


def _columns_of(names: list[str]) -> Any:
    from grpc_server.cache import columns_of
    from storage.snapshot import StoredDefinition

    return columns_of([StoredDefinition(i, name, 1, True) for i, name in enumerate(names)])


def test_other_definitions_are_loaded_anew(shop: Shop) -> None:
    shop.fill()
    with both(shop.url) as (memory, plain), closing(postgres.connect(shop.url, autocommit=True)) as connection:
        settled(memory, shop.url)
        connection.execute(
            "UPDATE tidegate.definitions SET version = 7, updated_at = now() WHERE name = 'big_spenders'"
        )
        copy = settled(memory, shop.url)
        answer = pb.CheckMembershipResponse.FromString(fast.check(copy, CHECK) or b"")
        assert answer == plain.membership.CheckMembership(CHECK)
        assert answer.definition.version == 7
        connection.execute("UPDATE tidegate.definitions SET held_since = now() - interval '1 day' WHERE version = 7")
        assert fast.check(settled(memory, shop.url), CHECK) is None, "as_of is not the shard's then"
        held = memory.membership.CheckMembership(CHECK)
        assert held == plain.membership.CheckMembership(CHECK) and held.definition.HasField("held_since")
        connection.execute("UPDATE tidegate.definitions SET held_since = NULL WHERE version = 7")
        assert fast.check(settled(memory, shop.url), CHECK) is not None
        connection.execute("UPDATE tidegate.definitions SET state = 'disabled', updated_at = now() WHERE version = 7")
        assert fast.check(settled(memory, shop.url), CHECK) is None
        assert failure(memory.membership.CheckMembership, CHECK).reason == "SEGMENT_DISABLED"


def test_an_entry_that_does_not_fit_is_no_answer(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A membership that somebody has changed by hand: noticed with the next entry, and read anew."""
    shop.fill()
    with both(shop.url) as (memory, plain):
        copy = settled(memory, shop.url)
        copy.users[b"ann"] = records.record(0, {}, copy.bitmap_bytes)
        shop.move([("ann", [BIG])])
        eventually(lambda: "does not fit" in caplog.text, "it is noticed", 60)
        settled(memory, shop.url)
        assert not memory.membership.CheckMembership(CHECK).member
        assert memory.membership.CheckMembership(CHECK) == plain.membership.CheckMembership(CHECK)


def test_a_feed_that_fails_ends_the_answers(shop: Shop) -> None:
    """The database is gone: what was known is told for `grpc_cache_max_age`, with its age, and then nothing."""
    shop.fill()
    with Proxy(shop.url) as proxy, serving(proxy.url, grpc_cache=True, grpc_cache_max_age=2.0) as server:
        settled(server, shop.url)
        proxy.cut()
        cut = time.monotonic()
        shop.move([("ann", [BIG])])  # nobody tells the server
        answers = 0
        while True:
            try:
                answer = server.membership.CheckMembership(CHECK, timeout=20)
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                break
            assert answer.member and answer.as_of.ToMicroseconds() == START + 7, "as of a moment when it was so"
            answers += 1
            assert time.monotonic() - cut < 60
        assert answers
        assert copy_of(server) is None
        proxy.restore()
        eventually(lambda: copy_of(server) is not None, "it answers from memory again", 60)
        assert not server.membership.CheckMembership(CHECK, timeout=20).member


def times_loaded(caplog: pytest.LogCaptureFixture) -> int:
    return sum("users in memory after" in record.getMessage() for record in caplog.records)


def test_after_a_break_the_log_is_followed_again(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is loaded anew, and what happened meanwhile is there; unless the log is another one now."""
    caplog.set_level("INFO", "grpc_server")
    shop.fill()
    with Proxy(shop.url) as proxy, serving(proxy.url, grpc_cache=True, grpc_cache_max_age=600) as server:
        settled(server, shop.url)
        shop.move([("eve", [BIG]), ("ann", [BIG])], advance=8)
        settled(server, shop.url)
        proxy.cut()
        shop.move([("ann", [BIG]), ("eve", [LAPSED_CALIFORNIANS])], advance=9)
        proxy.restore()
        copy = settled(server, shop.url)
        assert times_loaded(caplog) == 1
        answer = pb.CheckMembershipResponse.FromString(fast.check(copy, CHECK) or b"")
        assert answer.member and answer.as_of.ToMicroseconds() == START + 9
        with closing(postgres.connect(shop.url, autocommit=True)) as connection:
            # A copy of the database that other things have happened to: as many, but not the same.
            proxy.cut()
            connection.execute("UPDATE tidegate.transitions SET user_id = 'zoe' WHERE user_id = 'eve'")
            connection.execute("UPDATE tidegate.users SET user_id = 'zoe' WHERE user_id = 'eve'")
            connection.execute("UPDATE tidegate.members SET user_id = 'zoe' WHERE user_id = 'eve'")
        proxy.restore()
        eventually(lambda: times_loaded(caplog) == 2, "it is loaded anew", 60)
        copy = settled(server, shop.url)
        assert b"zoe" in copy.users and b"eve" not in copy.users


def test_a_feed_that_is_silent_ends_the_answers(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """No news, no error either: the database's connections are frozen."""
    monkeypatch.setattr("grpc_server.serve.CALLS_PER_CONNECTION", 3)
    shop.fill()
    with (
        Proxy(shop.url) as proxy,
        serving(proxy.url, grpc_cache=True, grpc_cache_max_age=1.0, grpc_connections=1) as server,
    ):
        settled(server, shop.url)
        proxy.freeze()
        frozen = time.monotonic()
        shop.move([("ann", [BIG])], advance=8)
        answers = 0
        while copy_of(server) is not None:
            try:
                answer = server.membership.CheckMembership(CHECK, timeout=2)
            except grpc.RpcError:
                assert copy_of(server) is None  # since the loop looked
                break
            assert answer.member and answer.as_of.ToMicroseconds() == START + 7
            answers += 1
            assert time.monotonic() - frozen < 60
        assert answers
        calls = [server.membership.CheckMembership.future(CHECK, timeout=2) for _ in range(30)]
        outcomes = {call.code() for call in calls}
        # No more than so many wait at once, each for its deadline; nobody is told what was so before.
        assert outcomes == {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
        turned_away = [failure_of(call) for call in calls if call.code() is grpc.StatusCode.UNAVAILABLE]
        assert all(one.retry_s is not None for one in turned_away)
        proxy.thaw()
        settled(server, shop.url)
        assert not server.membership.CheckMembership(CHECK, timeout=20).member


def test_a_slow_database_does_not_keep_callers_from_memory(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grpc_server.serve.CALLS_PER_CONNECTION", 3)
    monkeypatch.setattr("grpc_server.database._WATCH_EVERY_S", 3_600)
    shop.fill()
    with (
        serving(shop.url, grpc_cache=True, grpc_cache_max_age=600, grpc_connections=1) as server,
        closing(postgres.connect(shop.url)) as holder,
    ):
        settled(server, shop.url)
        holder.execute("LOCK TABLE tidegate.users IN ACCESS EXCLUSIVE MODE")
        unknown = pb.CheckMembershipRequest(user_id="nobody", segment=NAMES[0])
        calls = [server.membership.CheckMembership.future(unknown, timeout=60) for _ in range(8)]
        eventually(lambda: any(call.done() for call in calls), "too many are turned away", 60)
        assert failure(server.membership.CheckMembership, unknown).reason == "OVERLOADED"
        assert server.membership.CheckMembership(CHECK, timeout=20).member
        for call in calls:
            call.cancel()
        holder.rollback()


def test_many_pages_are_no_moment(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """While memory is between two pages of one commit, the database answers."""
    monkeypatch.setattr("grpc_server.keeping.PAGE_FLIPS", 5)
    shop.move([(f"u{i}", [BIG]) for i in range(50)])
    with both(shop.url) as (memory, plain):
        settled(memory, shop.url)
        for number in range(5):
            shop.move([(f"u{i}", [LAPSED_CALIFORNIANS]) for i in range(50)], advance=number)
            for _ in range(10):
                request = pb.BatchCheckMembershipRequest(
                    pairs=[pb.MembershipPair(user_id=f"u{i}", segment=NAMES[LAPSED_CALIFORNIANS]) for i in range(50)]
                )
                assert len({one.member for one in memory.membership.BatchCheckMembership(request).results}) == 1
        settled(memory, shop.url)
        assert memory.membership.BatchCheckMembership(request) == plain.membership.BatchCheckMembership(request)


