"""Whatever a caller sends: an answer, or a refusal with its reason and the field. Never a failure of the server's."""

import base64
import itertools
import random
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from grpc_server import pages, positions
from grpc_server.generated.tidegate.v1 import explanation_pb2, segments_pb2
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from storage.transitions import Position
from tests.grpc.serving import DEADLINE_S, Serving, failure_of, serving
from tests.grpc.shop import NAMES, Shop

pytestmark = pytest.mark.postgres
SEED = 20261122

TEXTS = [
    "", "ann", "bob", "nobody", NAMES[0], NAMES[1], "big_spender", "x" * 512, "x" * 513, "ß" * 256, "ß" * 257,
    "x" * 100_000, "\0", "a\0b", "%s", "%(user)s", "'; DROP TABLE tidegate.members; --", "\\", "\n", " ", "/", "a/b",
    "../../etc/passwd", "\u202e", "\ufeff", "\U0010ffff", "e\u0301", "NULL", "{}", "{1,2}", "[1:2]={1,2}", '"',
]  # fmt: skip
NUMBERS = [0, 1, 7, 100, 101, 1_000, 1_001, -1, -(2**31), 2**31 - 1]
TIMES = [None, Timestamp(), Timestamp(seconds=-1), Timestamp(nanos=-1), Timestamp(nanos=2**31 - 1),
         Timestamp(seconds=253_402_300_800), Timestamp(seconds=2**62), Timestamp(seconds=1_780_000_000)]  # fmt: skip


def forged(payload: bytes) -> str:
    """A position with the right checksum."""
    data = base64.urlsafe_b64encode(positions._checksum(payload) + payload).decode().rstrip("=")
    return "1" + data


POSITIONS = [
    "", "1", "2abc", "x" * 70_000, positions.token("another", Position({0: 1})), *map(forged, (
        b"", b"|", b"log", b"log|x", b"log|0", b"log|0:", b"log|0:-1", b"log|0:1,,", b"log|0:1;1:2", b"\xff|0:1",
        b"log|" + b"9" * 5_000 + b":1", b"log|0:" + b"9" * 30, b"log|%d:1" % 2**31, "l\u00f6g|0:1".encode(),
        b"log|\0:1",
    )),
]  # fmt: skip
TOKENS = [
    *TEXTS, *POSITIONS[:3], pages.token("members big_spenders", "a"), pages.token("segments", "a\0b"), "=", "a" * 5_000,
]


def ask(call: Any, request: Message) -> grpc.StatusCode:
    try:
        answer = call(request, timeout=DEADLINE_S)
        if isinstance(request, pb.WatchTransitionsRequest):
            next(answer)
            answer.cancel()
    except grpc.RpcError as error:
        failed = failure_of(error)
        expected = {
            grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.OUT_OF_RANGE,
            grpc.StatusCode.FAILED_PRECONDITION,
        }  # fmt: skip
        assert failed.code in expected, (failed, str(request)[:300])
        assert failed.reason and len(failed.message) < 1_000, failed
        assert failed.code is not grpc.StatusCode.INVALID_ARGUMENT or failed.fields, "the field is named"
        assert failed.code is not grpc.StatusCode.NOT_FOUND or failed.metadata["segment"] is not None
        return failed.code
    return grpc.StatusCode.OK


def requests(server: Serving, chance: random.Random) -> list[tuple[Any, Message]]:
    """Each odd value in each field, the others good or odd."""
    member, segments = server.membership, server.segments

    def text(good: str) -> str:
        return chance.choice([good, good, chance.choice(TEXTS)])

    found: list[tuple[Any, Message]] = []
    for odd in TEXTS:
        found += [
            (member.CheckMembership, pb.CheckMembershipRequest(user_id=odd, segment=text(NAMES[0]))),
            (member.CheckMembership, pb.CheckMembershipRequest(user_id=text("ann"), segment=odd)),
            (member.ListUserSegments, pb.ListUserSegmentsRequest(user_id=odd)),
            (member.ListMembers, pb.ListMembersRequest(segment=odd)),
            (segments.GetSegment, segments_pb2.GetSegmentRequest(segment=odd)),
            (member.WatchTransitions, pb.WatchTransitionsRequest(segments=[NAMES[0], odd])),
            (member.WatchTransitions, pb.WatchTransitionsRequest(user_ids=["ann", odd, odd])),
            (member.BatchCheckMembership, batch([("ann", NAMES[0]), (odd, NAMES[0])])),
            (member.BatchCheckMembership, batch([("ann", odd), (text("bob"), NAMES[1])])),
        ]
    for number, token in itertools.product(NUMBERS, chance.sample(TOKENS, 12)):
        found.append((member.ListMembers, pb.ListMembersRequest(segment=NAMES[0], page_size=number, page_token=token)))
        found.append((segments.ListSegments, segments_pb2.ListSegmentsRequest(page_size=number, page_token=token)))
    found += [(member.WatchTransitions, pb.WatchTransitionsRequest(position=odd)) for odd in POSITIONS]
    found += [
        (member.ExplainMembership, explanation_pb2.ExplainMembershipRequest(
            user_id=text("ann"), segment=text(NAMES[0]), at=at, max_events=number,
        )) for at, number in zip(TIMES, NUMBERS)
    ]  # fmt: skip
    return found


def batch(pairs: list[tuple[str, str]]) -> pb.BatchCheckMembershipRequest:
    return pb.BatchCheckMembershipRequest(pairs=[pb.MembershipPair(user_id=u, segment=s) for u, s in pairs])


@pytest.mark.parametrize("cache", [False, True], ids=["database", "memory"])
def test_odd_values_in_every_field(shop: Shop, cache: bool) -> None:
    shop.fill()
    with serving(shop.url, grpc_cache=cache) as server:
        codes = [ask(call, request) for call, request in requests(server, random.Random(SEED))]
        assert codes.count(grpc.StatusCode.OK) > 50 and codes.count(grpc.StatusCode.INVALID_ARGUMENT) > 50
        # Sizes, repeats within one batch, and what nobody can read.
        pairs = [("ann", NAMES[0])] * 1_000
        assert [one.member for one in server.membership.BatchCheckMembership(batch(pairs)).results] == [True] * 1_000
        assert not server.membership.BatchCheckMembership(batch([])).results
        for odd in (batch([*pairs, ("bob", NAMES[0])]), batch([*pairs[:-1], ("", NAMES[0])])):
            assert ask(server.membership.BatchCheckMembership, odd) is grpc.StatusCode.INVALID_ARGUMENT
        assert server.membership.CheckMembership(pb.CheckMembershipRequest(user_id="ann", segment=NAMES[0])).member
        for method, data in itertools.product(
            ("CheckMembership", "BatchCheckMembership", "ListMembers", "ExplainMembership"),
            (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", bytes(range(256))),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                server.raw(f"/tidegate.v1.MembershipService/{method}")(data, timeout=DEADLINE_S)
            assert failure_of(caught.value).code is grpc.StatusCode.INVALID_ARGUMENT, (method, data)
