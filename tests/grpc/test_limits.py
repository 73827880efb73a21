"""Rates of tokens, and the log of calls that need scope admin."""

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2

from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.rates import Rates
from grpc_server.serve import start
from tests.grpc.serving import bearer, failure, raw, serving
from tests.grpc.shop import Shop

CHECK = pb.CheckMembershipRequest(user_id="ann", segment="big_spenders")
TOKENS = {"reader-secret": "read", "other-secret": "read", "admin-secret": "admin"}


def test_a_bucket_a_token() -> None:
    now = [0.0]
    rates = Rates(4.0, lambda: now[0])
    taken = [rates.refuse("a") for _ in range(6)]
    assert [one is None for one in taken] == [True] * 4 + [False] * 2
    assert rates.refuse("b") is None
    refused = taken[-1]
    assert refused is not None and refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    now[0] = 0.24
    assert rates.refuse("a") is not None
    now[0] = 0.5
    assert [rates.refuse("a") is None for _ in range(3)] == [True, True, False]
    now[0] = 100.0
    assert sum(rates.refuse("a") is None for _ in range(10)) == 4
    assert all(Rates(0).refuse("a") is None for _ in range(100))


@pytest.mark.postgres
def test_one_token_does_not_take_the_calls_of_another(shop: Shop) -> None:
    shop.fill()
    with serving(shop.url, grpc_tokens=TOKENS, grpc_rate=0.001) as server:
        check = server.membership.CheckMembership
        assert check(CHECK, metadata=bearer("reader-secret"), timeout=20).member
        failed = failure(check, CHECK, metadata=bearer("reader-secret"))
        assert (failed.code, failed.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert failed.retry_s is not None and failed.retry_s > 1
        assert check(CHECK, metadata=bearer("other-secret"), timeout=20).member
        for _ in range(3):
            server.health.Check(health_pb2.HealthCheckRequest())


@pytest.mark.postgres
def test_admin_calls_are_written_down(shop: Shop, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """By a method that stands for those to come: unlisted, so of scope admin."""
    caplog.set_level("INFO", "grpc_server.audit")

    async def work(request: bytes, context: Any) -> bytes:
        return b"done"

    wrap: Any = grpc.unary_unary_rpc_method_handler
    extra = grpc.method_handlers_generic_handler("tidegate.v1.AdminService", {"Change": wrap(work)})

    async def with_extra(settings: Any) -> Any:
        return await start(settings, [extra])

    monkeypatch.setattr("tests.grpc.serving.start", with_extra)
    with serving(shop.url, grpc_tokens=TOKENS) as server:
        change = raw(server.channel, "/tidegate.v1.AdminService/Change")
        assert change(b"", timeout=20, metadata=bearer("admin-secret")) == b"done"
        with pytest.raises(grpc.RpcError) as refused:
            change(b"", timeout=20, metadata=bearer("reader-secret"))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
        shop.fill()
        assert server.membership.CheckMembership(CHECK, metadata=bearer("reader-secret"), timeout=20).member
    lines = [record.getMessage() for record in caplog.records if record.name == "grpc_server.audit"]
    assert [line.split(" by ")[0] for line in lines] == [
        "/tidegate.v1.AdminService/Change", "/tidegate.v1.AdminService/Change", "'/tidegate.v1.AdminService/Change'",
    ]  # fmt: skip
    assert lines[1].endswith("done") and lines[2].endswith("PERMISSION_DENIED")
    assert "secret" not in "".join(lines)
