"""A real clickstream through the whole line: `tidegate replay` into Kafka, engine, Postgres, gRPC.

Members at the end of the file, asked over gRPC, and the log of transitions folded up to five instants
before it, both user by user, are what DuckDB says of the same file.
"""

import datetime
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import grpc
import psycopg
import pytest

from grpc_server.generated.tidegate.v1 import membership_pb2, membership_pb2_grpc
from tests.ecom import shop
from tests.fix_kafka import new_topic

pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(not shop.FOUND.exists(), reason=f"the clickstream is not at {shop.FOUND}"),
]


@pytest.mark.parametrize("broker", ["embedded_broker", pytest.param("apache_kafka", marks=pytest.mark.kafka)])
def test_members_and_history(
    broker: str, request: pytest.FixtureRequest, database_url: str, tmp_path: Path
) -> None:
    bootstrap: str = request.getfixturevalue(broker)
    events = shop.write_events(tmp_path / "ecom.csv.gz")
    answers = shop.Answers(events)
    first, last = answers.ends()
    settings = {
        "TIDEGATE_DEFINITIONS": str(shop.write_definitions(tmp_path / "defs")),
        "TIDEGATE_DATABASE_URL": database_url,
        "TIDEGATE_KAFKA": bootstrap,
        "TIDEGATE_EVENTS_TOPIC": new_topic(bootstrap, "events", 3),
        "TIDEGATE_TRANSITIONS_TOPIC": new_topic(bootstrap, "transitions", 1),
        "TIDEGATE_DEAD_LETTER_TOPIC": new_topic(bootstrap, "refused", 1),
        "TIDEGATE_STORAGE_URL": str(tmp_path / "storage"),
        "TIDEGATE_CLOCK": "event",
        "TIDEGATE_ENGINE_METRICS_PORT": "0",
        "TIDEGATE_SERVER_METRICS_PORT": "0",
        "TIDEGATE_GRPC_LISTEN": "127.0.0.1:0",
    }
    tidegate(settings, "replay", str(events), "--map", shop.MAPPING, "--timezone", "UTC")
    tidegate(settings, "run", "--until-end", "--at", last.isoformat())
    assert over_grpc(settings) == answers.members(last)
    with closing(psycopg.connect(database_url)) as connection:
        log = connection.execute(
            "SELECT user_id, segment, entered, effective_at FROM segment_transitions ORDER BY user_id, seq"
        ).fetchall()
    for part in range(1, 6):
        at = first + (last - first) * part / 6
        assert folded(log, at) == answers.members(at), at


def tidegate(settings: dict[str, str], *command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "console.main", *command], env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def over_grpc(settings: dict[str, str]) -> set[tuple[str, str]]:
    """Every page of every segment, from a server of its own."""
    server = subprocess.Popen(
        [sys.executable, "-m", "console.main", "serve"], env=os.environ | settings, stderr=subprocess.PIPE, text=True
    )
    try:
        assert server.stderr is not None
        line = next(line for line in server.stderr if "127.0.0.1:" in line)
        address = next(word for word in line.replace(",", " ").split() if word.startswith("127.0.0.1:"))
        members = set()
        with grpc.insecure_channel(address) as channel:
            service = membership_pb2_grpc.MembershipServiceStub(channel)
            for segment in shop.DEFINITIONS:
                token = ""
                while True:
                    page = service.ListMembers(
                        membership_pb2.ListMembersRequest(segment=segment, page_size=97, page_token=token), timeout=20
                    )
                    members |= {(user, segment) for user in page.user_ids}
                    token = page.next_page_token
                    if not token:
                        break
        return members
    finally:
        server.terminate()
        assert server.wait(20) == 0


def folded(log: list[tuple[str, str, bool, datetime.datetime]], at: datetime.datetime) -> set[tuple[str, str]]:
    inside: set[tuple[str, str]] = set()
    for user, segment, entered, effective_at in log:
        if effective_at <= at:
            (inside.add if entered else inside.discard)((user, segment))
    return inside
