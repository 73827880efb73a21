"""A database that is away, slow, or not set up: refused with the truth, never a wrong "no", and over by itself."""

import threading
from contextlib import closing

import grpc
import pytest
from grpc_health.v1 import health_pb2

from grpc_server import database
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from storage import postgres
from tests.fix_postgres import PostgresServer
from tests.grpc.proxy import Proxy, eventually
from tests.grpc.serving import Serving, failure, failure_of, serving
from tests.grpc.shop import Shop

pytestmark = pytest.mark.postgres
CHECK = pb.CheckMembershipRequest(user_id="ann", segment="big_spenders")
SERVICES = ("", "tidegate.v1.MembershipService", "tidegate.v1.SegmentService")


def healthy(server: Serving, service: str = "") -> bool:
    answer = server.health.Check(health_pb2.HealthCheckRequest(service=service))
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def answers(server: Serving) -> bool:
    try:
        return bool(server.membership.CheckMembership(CHECK, timeout=20).member)
    except grpc.RpcError as error:
        assert failure_of(error).code is grpc.StatusCode.UNAVAILABLE
        return False


def test_away_and_back(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "grpc_server")
    shop.fill()
    with Proxy(shop.url) as proxy, serving(proxy.url) as server:
        assert answers(server)
        assert all(healthy(server, service) for service in SERVICES)
        proxy.cut()
        failed = failure(server.membership.CheckMembership, CHECK)
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "DATABASE_UNAVAILABLE")
        assert failed.retry_s == 1.0
        assert str(proxy.port) not in failed.message
        eventually(lambda: not any(healthy(server, service) for service in SERVICES), "health is NOT_SERVING")
        assert f"127.0.0.1:{proxy.port}" in caplog.text
        proxy.restore()
        eventually(lambda: all(healthy(server, service) for service in SERVICES), "health is SERVING again")
        assert answers(server)


def test_lost_connections_cost_no_caller_an_error(shop: Shop) -> None:
    shop.fill()
    with Proxy(shop.url) as proxy, serving(proxy.url) as server:
        for _ in range(5):
            assert answers(server)
            proxy.cut()
            proxy.restore()
            assert server.membership.CheckMembership(CHECK, timeout=20).member


def test_not_there_at_the_start(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.fill()
    with Proxy(shop.url) as proxy:
        proxy.cut()
        with serving(proxy.url, ready=False) as server:
            assert not healthy(server)
            assert failure(server.membership.CheckMembership, CHECK).reason == "DATABASE_UNAVAILABLE"
            eventually(lambda: f"127.0.0.1:{proxy.port}" in caplog.text, "the log names the address")
            proxy.restore()
            eventually(lambda: healthy(server), "the server serves")
            assert answers(server)


def test_a_database_without_tables_is_not_served_until_it_has_them(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    from storage.migrate import migrate

    url = postgres_server.create("template0")
    try:
        with serving(url, ready=False) as server:
            eventually(lambda: "lacks Tidegate's tables" in caplog.text, "the log says what is missing")
            assert not healthy(server)
            assert failure(server.membership.CheckMembership, CHECK).reason == "DATABASE_UNAVAILABLE"
            migrate(url)
            eventually(lambda: healthy(server), "the server serves")
            assert failure(server.membership.CheckMembership, CHECK).reason == "UNKNOWN_SEGMENT"
    finally:
        postgres_server.drop(url)


def waiting_queries(url: str) -> int:
    with closing(postgres.connect(url)) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
def one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch asks once, and is not in the way of counting queries."""
    monkeypatch.setattr(database, "_WATCH_EVERY_S", 3_600)


def test_a_deadline_ends_the_query_too(one_look: None, shop: Shop, server: Serving) -> None:
    shop.fill()
    with closing(postgres.connect(shop.url)) as holder:
        holder.execute("LOCK TABLE tidegate.members IN ACCESS EXCLUSIVE MODE")
        call = server.membership.CheckMembership.future(CHECK, timeout=1.5)
        eventually(lambda: waiting_queries(shop.url) == 1, "the query waits")
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: waiting_queries(shop.url) == 0, "the query is cancelled")
        cancelled = server.membership.CheckMembership.future(CHECK)
        eventually(lambda: waiting_queries(shop.url) == 1, "the query waits")
        cancelled.cancel()
        eventually(lambda: waiting_queries(shop.url) == 0, "the query is cancelled")
    assert answers(server)


def test_without_a_deadline_the_server_sets_one(
    one_look: None, shop: Shop, server: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_server.edge.LONGEST_CALL_S", 0.2)
    with closing(postgres.connect(shop.url)) as holder:
        holder.execute("LOCK TABLE tidegate.members IN ACCESS EXCLUSIVE MODE")
        failed = failure(server.membership.CheckMembership, CHECK, timeout=None)
        assert (failed.code, failed.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")


def test_a_silent_database_is_no_answer(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_ANSWER_WITHIN_S", 0.3)
    shop.fill()
    with Proxy(shop.url) as proxy, serving(proxy.url) as server:
        assert answers(server)
        proxy.freeze()
        call = server.membership.CheckMembership.future(CHECK, timeout=1)
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: not healthy(server), "health is NOT_SERVING")
        proxy.thaw()
        eventually(lambda: healthy(server), "health is SERVING again")
        assert answers(server)


def test_too_many_calls_are_turned_away_at_once(
    one_look: None, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("grpc_server.serve.CALLS_PER_CONNECTION", 3)
    shop.fill()
    with serving(shop.url, grpc_connections=1) as server, closing(postgres.connect(shop.url)) as holder:
        holder.execute("LOCK TABLE tidegate.members IN ACCESS EXCLUSIVE MODE")
        calls = [server.membership.CheckMembership.future(CHECK, timeout=20) for _ in range(4)]
        first_ended = threading.Event()
        for call in calls:
            call.add_done_callback(lambda _: first_ended.set())
        assert first_ended.wait(20)
        [turned_away] = [call for call in calls if call.done()]
        failed = failure_of(turned_away)
        assert (failed.code, failed.reason) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
        assert failed.retry_s == 0.1
        assert healthy(server)  # health is not turned away
        holder.rollback()
        outcomes = [call.code() for call in calls if call is not turned_away]
        assert grpc.StatusCode.OK in outcomes
