"""Who gets in: TLS, tokens, scopes, and where the server refuses to listen at all."""

from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from pydantic import SecretStr

from grpc_server import auth, listen
from grpc_server.errors import Refusal
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.serve import _OWN_SERVICES
from segmentation.errors import TidegateError
from tests.grpc.serving import bearer, failure, raw, serving, settings
from tests.grpc.shop import Shop

CHECK = pb.CheckMembershipRequest(user_id="ann", segment="big_spenders")
METHOD = "/tidegate.v1.MembershipService/CheckMembership"
TOKENS = {"reader-secret": "read", "admin-secret": "admin"}


@pytest.mark.postgres
def test_tls_and_tokens(shop: Shop, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shop.fill()
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    trusted = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    given: dict[str, Any] = {"grpc_tls_cert": cert, "grpc_tls_key": key, "grpc_tokens": TOKENS}
    with serving(shop.url, credentials=trusted, **given) as server:
        check = server.membership.CheckMembership
        for token in TOKENS:
            assert check(CHECK, metadata=bearer(token)).member
        assert check(CHECK, metadata=(("authorization", "bearer reader-secret"),)).member
        missing = failure(check, CHECK)
        assert (missing.code, missing.reason) == (grpc.StatusCode.UNAUTHENTICATED, "MISSING_TOKEN")
        wrong = failure(check, CHECK, metadata=bearer("reader-secret-"))
        assert (wrong.code, wrong.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNKNOWN_TOKEN")
        assert failure(check, CHECK, metadata=(("authorization", "Basic reader-secret"),)).reason == "MISSING_TOKEN"
        probe = server.health.Check(health_pb2.HealthCheckRequest())
        assert probe.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as closed:
            ProtoReflectionDescriptorDatabase(server.channel).get_services()
        assert closed.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with grpc.insecure_channel(f"localhost:{server.running.port}") as plain:
            with pytest.raises(grpc.RpcError) as refused:
                raw(plain, METHOD)(CHECK.SerializeToString(), timeout=5, metadata=bearer("reader-secret"))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("token", "method", "code"),
    [
        ("reader-secret", METHOD, None),
        ("admin-secret", METHOD, None),
        ("reader-secret", "/tidegate.v1.SegmentService/NewAndUnlisted", grpc.StatusCode.PERMISSION_DENIED),
        ("admin-secret", "/tidegate.v1.SegmentService/NewAndUnlisted", None),
        ("", METHOD, grpc.StatusCode.UNAUTHENTICATED),
        ("reader", METHOD, grpc.StatusCode.UNAUTHENTICATED),
    ],
)
def test_scopes(token: str, method: str, code: grpc.StatusCode | None) -> None:
    tokens = auth.Tokens({SecretStr(text): scope for text, scope in TOKENS.items()})  # type: ignore[misc]
    refusal = tokens.refuse(method, bearer(token))
    assert (refusal.code if refusal else None) == code
    if isinstance(refusal, Refusal) and code is grpc.StatusCode.PERMISSION_DENIED:
        assert (refusal.reason, refusal.metadata) == ("SCOPE_MISSING", {"scope": "admin"})


def test_every_method_of_ours_has_a_scope() -> None:
    from grpc_server.generated.tidegate.v1 import membership_pb2, segments_pb2

    services = [s for module in (membership_pb2, segments_pb2) for s in module.DESCRIPTOR.services_by_name.values()]
    methods = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    assert {service.full_name for service in services} == set(_OWN_SERVICES)
    assert {method for method in auth.SCOPES if method.startswith("/tidegate")} == methods


SAFE: dict[str, Any] = {"grpc_tls_cert": "cert.pem", "grpc_tls_key": "key.pem", "grpc_tokens": TOKENS}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"grpc_listen": "127.0.0.1:50051"}, None),
        ({"grpc_listen": "127.8.8.8:50051"}, None),
        ({"grpc_listen": "[::1]:50051"}, None),
        ({"grpc_listen": "localhost:0"}, None),
        ({"grpc_listen": "0.0.0.0:50051", "grpc_insecure": True}, None),
        ({"grpc_listen": "0.0.0.0:50051", **SAFE}, None),
        ({"grpc_listen": "0.0.0.0:50051"}, "grpc_tls_cert and grpc_tls_key and grpc_tokens"),
        ({"grpc_listen": "[::]:50051"}, "grpc_tokens"),
        ({"grpc_listen": "db.internal:50051"}, "grpc_tokens"),
        ({"grpc_listen": "10.0.0.7:50051", "grpc_tokens": TOKENS}, "grpc_tls_cert and grpc_tls_key"),
        ({"grpc_listen": "10.0.0.7:50051", **SAFE, "grpc_tokens": {}}, "grpc_tokens"),
        ({"grpc_tls_cert": "cert.pem"}, "one of them is missing"),
        ({"grpc_listen": "50051"}, "HOST:PORT"),
        ({"grpc_listen": ":50051"}, "HOST:PORT"),
        ({"grpc_listen": "::1:50051"}, "HOST:PORT"),
        ({"grpc_listen": "localhost:99999"}, "HOST:PORT"),
    ],
)
def test_where_it_listens(given: dict[str, Any], missing: str | None) -> None:
    chosen = settings("postgresql://localhost/none", **given)
    if missing is None:
        listen.require_safe(chosen)
    else:
        with pytest.raises(TidegateError, match=missing.replace("[", r"\[")):
            listen.require_safe(chosen)


def test_certificates_that_cannot_be_read(tmp_path: Path) -> None:
    nothing, text = tmp_path / "none.pem", tmp_path / "text.pem"
    text.write_text("hello")
    for cert, reason in ((nothing, "No such file"), (text, "not a PEM file")):
        with pytest.raises(TidegateError, match=reason):
            listen.credentials(settings("postgresql://localhost/none", grpc_tls_cert=cert, grpc_tls_key=text))


@pytest.mark.postgres
def test_a_port_that_is_taken(shop: Shop) -> None:
    with serving(shop.url) as server:
        taken = server.running.address
        with pytest.raises(TidegateError, match=f"Cannot listen on {taken}"), serving(shop.url, grpc_listen=taken):
            pass
