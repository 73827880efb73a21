"""Callers in other languages, by the tools of Go: reflection, checks, the details of errors, many calls at once."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.grpc.go_tools import go_tools
from tests.grpc.serving import Serving, serving
from tests.grpc.shop import Shop

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
MEMBERSHIP = "tidegate.v1.MembershipService"


@pytest.fixture(scope="module")
def tools() -> dict[str, Path]:
    return go_tools()


def call(program: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=60, cwd=ROOT)


def test_grpcurl_and_ghz(tools: dict[str, Path], shop: Shop, server: Serving) -> None:
    shop.fill()
    grpcurl, target = tools["grpcurl"], f"localhost:{server.running.port}"
    services = call(grpcurl, "-plaintext", target, "list")
    assert MEMBERSHIP in services.stdout.split(), services
    described = call(grpcurl, "-plaintext", target, "describe", f"{MEMBERSHIP}.WatchTransitions")
    assert "stream .tidegate.v1.WatchTransitionsResponse" in described.stdout, described

    asked = '{"user_id": "ann", "segment": "big_spenders"}'
    told = json.loads(call(grpcurl, "-plaintext", "-d", asked, target, f"{MEMBERSHIP}/CheckMembership").stdout)
    assert told["member"] and told["known"] and told["definition"]["segment"] == "big_spenders"

    wrong = '{"user_id": "ann", "segment": "big_spender"}'
    refused = call(grpcurl, "-plaintext", "-d", wrong, target, f"{MEMBERSHIP}/CheckMembership")
    assert refused.returncode != 0
    for said in ("NotFound", "google.rpc.ErrorInfo", "UNKNOWN_SEGMENT", '"did_you_mean": "big_spenders"'):
        assert said in refused.stderr, refused

    data = '{"user_id": "u-{{.RequestNumber}}", "segment": "big_spenders"}'
    many = call(
        tools["ghz"], "--insecure", "--call", f"{MEMBERSHIP}/CheckMembership", "-d", data, "-n", "400", "-c", "4",
        "--connections", "2", "-O", "json", target,
    )  # fmt: skip
    assert many.stdout.startswith("{"), many
    report = json.loads(many.stdout)
    assert (report["count"], report["statusCodeDistribution"]) == (400, {"OK": 400}), many


def test_without_reflection_the_proto_files_are_enough(tools: dict[str, Path], shop: Shop) -> None:
    shop.fill()
    with serving(shop.url, grpc_reflection=False) as server:
        target, grpcurl = f"localhost:{server.running.port}", tools["grpcurl"]
        assert "does not support the reflection API" in call(grpcurl, "-plaintext", target, "list").stderr
        files = ("-import-path", "proto", "-proto", "tidegate/v1/membership.proto")
        asked = call(
            grpcurl, "-plaintext", *files, "-d", '{"user_id": "bob"}', target, f"{MEMBERSHIP}/ListUserSegments"
        )
        assert json.loads(asked.stdout)["known"] is True, asked
