"""WatchTransitions: every transition exactly once, whoever ends in between, and never more memory than the ring's."""

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from grpc_server import edge, feed, positions
from grpc_server.errors import Refusal
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.generated.tidegate.v1 import membership_pb2_grpc
from segmentation.evaluate.erasure import digest_of
from storage import postgres
from storage.pruning import prune
from storage.transitions import Position
from tests.grpc.proxy import Proxy, eventually
from tests.grpc.serving import Serving, failure_of, serving
from tests.grpc.shop import BIG, LAPSED_CALIFORNIANS, NAMES, START, Shop

pytestmark = pytest.mark.postgres


@dataclass
class Copy:
    """What a watcher has heard: it fails at once where a user's transitions are not one after the other."""

    position: str = ""
    heard: list[tuple[str, int, str, bool]] = field(default_factory=list)
    seq: dict[str, int] = field(default_factory=dict)

    def take(self, response: pb.WatchTransitionsResponse) -> None:
        for event in response.events:
            moved = event.transition
            if moved.user_id in self.seq:
                assert moved.seq == self.seq[moved.user_id] + 1
            self.seq[moved.user_id] = moved.seq
            self.heard += [(moved.user_id, moved.seq, one.segment, True) for one in moved.entered]
            self.heard += [(moved.user_id, moved.seq, one.segment, False) for one in moved.left]
        self.position = response.position


def logged(shop: Shop) -> list[tuple[str, int, str, bool]]:
    return sorted((flip.user, flip.seq, flip.segment, flip.entered) for flip in shop.world.log)


@contextmanager
def watching(server: Serving, **request: Any) -> Iterator[Any]:
    """The stream, its first response taken."""
    with following(server.membership, **request) as stream:
        yield stream


@contextmanager
def following(stub: Any, **request: Any) -> Iterator[Any]:
    stream = stub.WatchTransitions(pb.WatchTransitionsRequest(**request), timeout=120)
    try:
        assert not next(stream).events
        yield stream
    finally:
        stream.cancel()


def refused(server: Serving, **request: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        next(server.membership.WatchTransitions(pb.WatchTransitionsRequest(**request), timeout=60))
    return failure_of(caught.value)


def users_of(response: pb.WatchTransitionsResponse) -> list[str]:
    return [event.transition.user_id for event in response.events]


def test_from_now_on(shop: Shop, server: Serving) -> None:
    shop.fill()
    with watching(server) as stream:
        shop.move([("bob", [BIG])], advance=9)
        response = next(stream)
        [event] = response.events
        moved = event.transition
        assert (moved.user_id, moved.seq, moved.cause) == ("bob", 1, pb.TRANSITION_CAUSE_EVENT)
        assert moved.effective_at.ToMicroseconds() == START + 9
        assert [(one.segment, one.version) for one in moved.entered] == [(NAMES[BIG], 1)]
        assert not moved.left
        assert response.as_of.ToMicroseconds() == START + 1


def test_from_a_position_on_and_only_what_is_asked_for(shop: Shop, server: Serving) -> None:
    with watching(server) as stream:
        shop.fill()
        position = next(stream).position
        shop.move([("ann", [BIG]), ("carl", [BIG, LAPSED_CALIFORNIANS]), ("dora", [LAPSED_CALIFORNIANS])])
        assert users_of(next(stream)) == ["ann", "carl", "dora"]
    with watching(server, position=position) as stream:
        assert users_of(next(stream)) == ["ann", "carl", "dora"]
    with watching(server, position=position, segments=[NAMES[BIG]]) as stream:
        found = next(stream)
        assert users_of(found) == ["ann", "carl"]
        assert [one.segment for one in found.events[1].transition.entered] == [NAMES[BIG]]
        assert [one.segment for one in found.events[0].transition.left] == [NAMES[BIG]]
    with watching(server, position=position, user_ids=["dora", "ann", "nobody"]) as stream:
        assert users_of(next(stream)) == ["ann", "dora"]
    with watching(server, position=position, user_ids=["carl", "dora"], segments=[NAMES[BIG]]) as stream:
        assert users_of(next(stream)) == ["carl"]


def test_those_who_watch_little_have_a_recent_position(
    shop: Shop, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_server.watch.HEARTBEAT_S", 0.1)
    shop.fill()
    with watching(server, user_ids=["nobody"]) as stream:
        shop.move([("ann", [BIG])])
        eventually(lambda: next(stream).as_of.ToMicroseconds() == START + 1, "a heartbeat tells of the later watermark")
        position = next(stream).position
    shop.move([("bob", [BIG])])
    with watching(server, position=position) as stream:
        assert next(users for users in map(users_of, stream) if users) == ["bob"]  # heartbeats may come first


def test_an_erasure_is_told(shop: Shop, server: Serving) -> None:
    shop.fill()
    with watching(server) as all_of_them, watching(server, user_ids=["ann", "bob"]) as ann:
        shop.erase("ann")
        shop.move([("ann", [BIG])])
        told = next(all_of_them).events
        assert (told[0].erasure.user_id, told[0].erasure.digest) == ("", digest_of("ann"))
        assert next(ann).events[0].erasure.user_id == "ann"


def test_wrong_requests(shop: Shop, server: Serving) -> None:
    shop.fill()
    failed = refused(server, segments=[NAMES[BIG], "big_spender"])
    assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SEGMENT")
    assert failed.metadata["did_you_mean"] == "big_spenders"
    assert refused(server, user_ids=["ann", ""]).reason == "EMPTY_USER_ID"
    for wrong in ({"user_ids": ["ann"] * 1_001}, {"segments": [NAMES[BIG]] * 1_001}):
        assert refused(server, **wrong).reason == "TOO_MANY_WATCHED"
    good = positions.token("log", Position({0: 5, 12: 10**15}))
    assert positions.parse(good) == ("log", Position({0: 5, 12: 10**15}))
    for text in ("1", "x", "2" + good[1:], good[:-2], good + "A", "1" + "x" * 70_000, "1é"):
        with pytest.raises(Refusal):
            positions.parse(text)
        assert refused(server, position=text).reason == "INVALID_POSITION"


def test_positions_that_cannot_be_gone_on_from(shop: Shop, server: Serving) -> None:
    shop.fill()
    with watching(server) as stream:
        shop.move([("bob", [BIG])])
        log, reached = positions.parse(next(stream).position)
    ahead = positions.token(log, Position({0: reached.of(0) + 1}))
    for position in (positions.token("another", reached), ahead):
        failed = refused(server, position=position)
        assert (failed.code, failed.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_GONE")
        assert "Watch from now" in failed.message


def test_the_end_of_the_server_is_told_with_the_position(shop: Shop) -> None:
    shop.fill()
    with serving(shop.url) as server, watching(server) as stream:
        shop.move([("bob", [BIG])])
        position = next(stream).position
        server.run(server.running.stop())
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
    failed = failure_of(caught.value)
    assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "SERVER_ENDING")
    assert failed.metadata["position"] == position
    assert failed.retry_s is not None


def test_one_who_does_not_read_is_let_go_and_the_others_are_not(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "LONGEST_WRITE_S", 1.0)
    monkeypatch.setattr(feed, "RING_ENTRIES", 200)
    shop.fill()
    users = [f"{'x' * 480}{i}" for i in range(200)]
    with serving(shop.url) as server, watching(server) as good, ExitStack() as stack:
        copy, heard = Copy(), threading.Event()
        # Without the probe the window stays at 64 kB, so that not much has to be written to fill it.
        channel = grpc.insecure_channel(f"localhost:{server.running.port}", [("grpc.http2.bdp_probe", 0)])
        small = membership_pb2_grpc.MembershipServiceStub(stack.enter_context(channel))
        with following(small) as idle:
            def read() -> None:
                for response in good:
                    copy.take(response)
                    if ("last", 1, NAMES[BIG], True) in copy.heard:
                        heard.set()
                        return

            thread = threading.Thread(target=read)
            thread.start()
            for _ in range(20):
                shop.move([(user, [BIG]) for user in users])
            eventually(lambda: server.running.watchers == 1, "the idle one is let go", 60)
            shop.move([("last", [BIG])])
            assert heard.wait(60)
            thread.join()
            mine = Copy()
            with pytest.raises(grpc.RpcError) as caught:
                for response in idle:
                    mine.take(response)
            failed = failure_of(caught.value)
            assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCHER_TOO_SLOW")
        assert sorted(copy.heard) == [flip for flip in logged(shop) if flip[0] != "ann"]
        with watching(server, position=mine.position) as stream:
            while len(mine.heard) < len(copy.heard):
                mine.take(next(stream))
        assert sorted(mine.heard) == sorted(copy.heard)


def test_a_database_that_is_away_only_delays(shop: Shop) -> None:
    shop.fill()
    with Proxy(shop.url) as proxy, serving(proxy.url) as server, watching(server) as stream:
        for user in ("carl", "dora", "emil"):
            shop.move([(user, [BIG])])
            assert users_of(next(stream)) == [user]
        proxy.cut()
        shop.move([("bob", [BIG])])
        failed = refused(server)
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        proxy.restore()
        while not (found := users_of(next(stream))):
            pass
        assert found == ["bob"]


def test_a_log_that_was_set_back_ends_the_stream(shop: Shop, server: Serving) -> None:
    shop.fill()
    with watching(server) as stream, closing(postgres.connect(shop.url, autocommit=True)) as connection:
        shop.move([("bob", [BIG])])
        assert users_of(next(stream)) == ["bob"]
        connection.execute("UPDATE tidegate.shards SET position = 0")
        with pytest.raises(grpc.RpcError) as caught:
            next(stream)
        assert failure_of(caught.value).reason == "POSITION_GONE"


@pytest.mark.parametrize("seed", [1, 2])
def test_every_transition_once_while_servers_and_clients_end_at_random(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    ended = threading.Event()

    def write() -> None:
        for number in range(120):
            shop.move([(f"u{chance.randrange(40)}", [chance.randrange(2)]) for _ in range(20)], advance=number)
        ended.set()

    copy = Copy()
    with serving(shop.url) as server, watching(server) as stream:
        shop.move([("u0", [BIG])])
        copy.take(next(stream))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        breaks = random.Random(-seed)
        while not (ended.is_set() and sorted(copy.heard) == logged(shop)):
            with serving(shop.url) as server:
                for _ in range(breaks.randrange(1, 3)):
                    with watching(server, position=copy.position) as stream:
                        for _ in range(breaks.randrange(1, 6)):
                            if ended.is_set() and sorted(copy.heard) == logged(shop):
                                break
                            copy.take(next(stream))
                        if breaks.random() < 0.5:
                            server.run(server.running.stop(grace=0))
                            break
    finally:
        writer.join()
    assert sorted(copy.heard) == logged(shop)


def test_a_position_whose_transitions_were_pruned(shop: Shop, server: Serving) -> None:
    with watching(server) as stream, closing(postgres.connect(shop.url, autocommit=True)) as connection:
        first = position_of(server)
        shop.fill()
        copy = Copy()
        copy.take(next(stream))
        connection.execute("UPDATE tidegate.shards SET checkpoint = jsonb_build_object('step', step)")
        prune(shop.url, 0, threading.Event())
        assert prune(shop.url, 0, threading.Event()) == 2
        with serving(shop.url) as another:  # this one still has them in memory
            failed = refused_later(another, first)
        assert (failed.code, failed.reason) == (grpc.StatusCode.OUT_OF_RANGE, "POSITION_GONE")
        assert failed.metadata["cause"] == "pruned" and failed.metadata["kept_since"].endswith("Z")
        assert "`history`" in failed.message and "Watch from now, then read the members anew" in failed.message
        # Those who have read them go on, in the stream and from their position.
        shop.move([("bob", [BIG])])
        assert users_of(next(stream)) == ["bob"]
        with watching(server, position=copy.position) as later:
            assert users_of(next(later)) == ["bob"]


def position_of(server: Serving) -> str:
    stream = server.membership.WatchTransitions(pb.WatchTransitionsRequest(), timeout=60)
    try:
        return str(next(stream).position)
    finally:
        stream.cancel()


def refused_later(server: Serving, position: str) -> Any:
    """The first response comes at once, and says only where the stream begins."""
    stream = server.membership.WatchTransitions(pb.WatchTransitionsRequest(position=position), timeout=60)
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    return failure_of(caught.value)
