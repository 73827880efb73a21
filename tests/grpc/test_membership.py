"""MembershipService over a real channel and a real database: every answer, every refusal."""

from contextlib import closing
from datetime import UTC, datetime

import grpc
import pytest

from grpc_server.generated.tidegate.v1 import definition_pb2, segments_pb2
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from storage import engine_state, postgres
from tests.grpc.serving import Serving, failure
from tests.grpc.shop import BIG, NAMES, START, Shop

pytestmark = pytest.mark.postgres
INVALID = grpc.StatusCode.INVALID_ARGUMENT


def check(user: str, segment: str) -> pb.CheckMembershipRequest:
    return pb.CheckMembershipRequest(user_id=user, segment=segment)


def micros(stamp: object) -> int:
    return int(stamp.seconds * 1_000_000 + stamp.nanos // 1_000)  # type: ignore[attr-defined]


def test_a_member(shop: Shop, server: Serving) -> None:
    shop.fill()
    answer = server.membership.CheckMembership(check("ann", "big_spenders"))
    assert (answer.member, answer.known, micros(answer.since)) == (True, True, START + 7)
    assert micros(answer.as_of) == START + 7
    assert (answer.definition.segment, answer.definition.version) == ("big_spenders", 1)
    assert answer.definition.state == definition_pb2.SEGMENT_STATE_COMPLETE
    assert not answer.definition.HasField("complete_since")


def test_an_answer_says_since_when_it_is_complete(shop: Shop, server: Serving) -> None:
    shop.fill()
    with closing(postgres.connect(shop.url)) as connection, connection.transaction():
        engine_state.store_complete_since(connection, {"big_spenders": START - 5})
    answers = [
        server.membership.CheckMembership(check("ann", "big_spenders")).definition,
        server.membership.ListUserSegments(pb.ListUserSegmentsRequest(user_id="ann")).segments[0].definition,
        server.membership.ListMembers(pb.ListMembersRequest(segment="big_spenders")).definition,
        server.segments.GetSegment(segments_pb2.GetSegmentRequest(segment="big_spenders")).segment.definition,
    ]
    for said in answers:
        assert said.state == definition_pb2.SEGMENT_STATE_COMPLETE_SINCE
        assert micros(said.complete_since) == START - 5
    other = server.membership.CheckMembership(check("ann", "lapsed_californians")).definition
    assert other.state == definition_pb2.SEGMENT_STATE_COMPLETE and not other.HasField("complete_since")


def test_an_answer_says_since_when_it_is_held(shop: Shop, server: Serving) -> None:
    """And is not of later than that, or than the user's own last flip in it; the state says so even where history is
    missing, too."""
    shop.fill()
    before = server.membership.CheckMembership(check("ann", "big_spenders"))
    with closing(postgres.connect(shop.url)) as connection, connection.transaction():
        engine_state.store_complete_since(connection, {"big_spenders": START - 5})
        connection.execute(
            "UPDATE tidegate.definitions SET held_since = %s::timestamptz WHERE name = 'big_spenders'",
            [datetime.fromtimestamp((START - 1_000_000) // 1_000_000, UTC)],
        )
    held = START // 1_000_000 * 1_000_000 - 1_000_000
    one = server.membership.CheckMembership(check("ann", "big_spenders"))
    (result,) = (batch := server.membership.BatchCheckMembership(
        pb.BatchCheckMembershipRequest(pairs=[pb.MembershipPair(user_id="ann", segment="big_spenders")])
    )).results  # fmt: skip
    members = server.membership.ListMembers(pb.ListMembersRequest(segment="big_spenders"))
    assert (one.member, one.since) == (before.member, before.since)
    assert micros(one.since) > held
    assert [micros(each.as_of) for each in (one, result, members)] == [micros(one.since)] * 2 + [held]
    listed = server.membership.ListUserSegments(pb.ListUserSegmentsRequest(user_id="ann")).segments[0].definition
    whole = server.segments.GetSegment(segments_pb2.GetSegmentRequest(segment="big_spenders")).segment.definition
    for said in (one.definition, batch.definitions[0], members.definition, listed, whole):
        assert said.state == definition_pb2.SEGMENT_STATE_HELD
        assert (micros(said.held_since), micros(said.complete_since)) == (held, START - 5)


def test_not_a_member_and_never_seen_are_answers(shop: Shop, server: Serving) -> None:
    shop.fill()
    bob = server.membership.CheckMembership(check("bob", "big_spenders"))
    assert (bob.member, bob.known, bob.HasField("since")) == (False, True, False)
    nobody = server.membership.CheckMembership(check("nobody", "big_spenders"))
    assert (nobody.member, nobody.known) == (False, False)
    assert micros(nobody.as_of) == START
    assert nobody.definition.version == 1


def test_before_any_event_as_of_is_absent(shop: Shop, server: Serving) -> None:
    answer = server.membership.CheckMembership(check("ann", "big_spenders"))
    assert (answer.member, answer.known, answer.HasField("as_of")) == (False, False, False)


def test_an_answer_is_that_of_the_last_commit(shop: Shop, server: Serving) -> None:
    shop.fill()
    shop.move([("ann", [BIG])], advance=20)
    answer = server.membership.CheckMembership(check("ann", "big_spenders"))
    assert (answer.member, micros(answer.as_of)) == (False, START + 20)
    shop.move([("ann", [BIG])], advance=30)
    again = server.membership.CheckMembership(check("ann", "big_spenders"))
    assert (again.member, micros(again.since)) == (True, START + 30)


def test_any_id_of_up_to_512_bytes(shop: Shop, server: Serving) -> None:
    users = ["a'b", "Größe", "𝄞", "%s", "back\\slash", " ", "x" * 512, "é" * 256]
    shop.move([(user, [BIG]) for user in users])
    for user in users:
        assert server.membership.CheckMembership(check(user, "big_spenders")).member
        assert server.membership.ListUserSegments(pb.ListUserSegmentsRequest(user_id=user)).known


BAD_USER_IDS = {
    "": "EMPTY_USER_ID", "x" * 513: "USER_ID_TOO_LONG", "é" * 257: "USER_ID_TOO_LONG", "a\0": "INVALID_USER_ID",
}  # fmt: skip


def test_bad_user_ids_are_named(server: Serving) -> None:
    for user, reason in BAD_USER_IDS.items():
        refused(server, user, reason)


def refused(server: Serving, user: str, reason: str) -> None:
    pair = pb.MembershipPair(user_id=user, segment="big_spenders")
    good = pb.MembershipPair(user_id="ann", segment="big_spenders")
    for call, request, place in (
        (server.membership.CheckMembership, check(user, "big_spenders"), "user_id"),
        (server.membership.ListUserSegments, pb.ListUserSegmentsRequest(user_id=user), "user_id"),
        (
            server.membership.BatchCheckMembership,
            pb.BatchCheckMembershipRequest(pairs=[good, pair]),
            "pairs[1].user_id",
        ),
    ):
        failed = failure(call, request)
        assert (failed.code, failed.reason, failed.fields) == (INVALID, reason, [place])
        assert failed.metadata["field"] == place


def test_an_unknown_segment_is_not_found_and_the_closest_is_named(server: Serving) -> None:
    for call, request in (
        (server.membership.CheckMembership, check("ann", "big_spender")),
        (server.membership.ListMembers, pb.ListMembersRequest(segment="big_spender")),
    ):
        failed = failure(call, request)
        assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SEGMENT")
        assert failed.metadata == {"segment": "big_spender", "field": "segment", "did_you_mean": "big_spenders"}
        assert "Did you mean 'big_spenders'?" in failed.message


def test_odd_names_of_segments_are_not_found(server: Serving) -> None:
    for name in ("zzz", "a\0b", "x" * 10_000, "𝄞" * 5_000, "Größe"):
        failed = failure(server.membership.CheckMembership, check("ann", name))
        assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SEGMENT")
        assert "did_you_mean" not in failed.metadata


def test_an_empty_segment_is_invalid(server: Serving) -> None:
    failed = failure(server.membership.CheckMembership, check("ann", ""))
    assert (failed.code, failed.reason, failed.fields) == (INVALID, "EMPTY_SEGMENT", ["segment"])


def test_a_batch_answers_in_order_with_each_definition_once(shop: Shop, server: Serving) -> None:
    shop.fill()
    asked = [("bob", NAMES[0]), ("ann", NAMES[1]), ("nobody", NAMES[0]), ("ann", NAMES[0]), ("ann", NAMES[1])]
    answer = server.membership.BatchCheckMembership(
        pb.BatchCheckMembershipRequest(pairs=[pb.MembershipPair(user_id=u, segment=s) for u, s in asked])
    )
    assert [(r.user_id, r.segment) for r in answer.results] == asked
    assert [r.member for r in answer.results] == [False, True, False, True, True]
    assert [r.known for r in answer.results] == [True, True, False, True, True]
    assert all(r.HasField("as_of") for r in answer.results)
    assert [r.HasField("since") for r in answer.results] == [False, True, False, True, True]
    assert [d.segment for d in answer.definitions] == NAMES


def test_a_batch_of_1000_pairs_and_not_one_more(shop: Shop, server: Serving) -> None:
    shop.fill()
    pairs = [pb.MembershipPair(user_id="x" * 500 + str(i), segment=NAMES[i % 2]) for i in range(1_001)]
    answer = server.membership.BatchCheckMembership(pb.BatchCheckMembershipRequest(pairs=pairs[:1_000]))
    assert [r.user_id for r in answer.results] == [pair.user_id for pair in pairs[:1_000]]
    failed = failure(server.membership.BatchCheckMembership, pb.BatchCheckMembershipRequest(pairs=pairs))
    assert (failed.code, failed.reason, failed.fields) == (INVALID, "BATCH_TOO_LARGE", ["pairs"])
    assert not server.membership.BatchCheckMembership(pb.BatchCheckMembershipRequest()).results


def test_one_unknown_segment_fails_the_batch_and_is_located(server: Serving) -> None:
    pairs = [pb.MembershipPair(user_id="ann", segment=name) for name in (NAMES[0], "lapsed_californian", "nosuch")]
    failed = failure(server.membership.BatchCheckMembership, pb.BatchCheckMembershipRequest(pairs=pairs))
    assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SEGMENT")
    assert (failed.metadata["segment"], failed.metadata["field"]) == ("lapsed_californian", "pairs[1].segment")
    assert failed.metadata["did_you_mean"] == "lapsed_californians"


def test_the_segments_of_a_user(shop: Shop, server: Serving) -> None:
    shop.fill()
    ann = server.membership.ListUserSegments(pb.ListUserSegmentsRequest(user_id="ann"))
    assert [s.definition.segment for s in ann.segments] == NAMES
    assert {(s.definition.version, s.definition.state, micros(s.since)) for s in ann.segments} == {
        (1, definition_pb2.SEGMENT_STATE_COMPLETE, START + 7)
    }
    assert (ann.known, micros(ann.as_of)) == (True, START + 7)
    bob = server.membership.ListUserSegments(pb.ListUserSegmentsRequest(user_id="bob"))
    assert (bob.known, list(bob.segments)) == (True, [])
    assert not server.membership.ListUserSegments(pb.ListUserSegmentsRequest(user_id="nobody")).known


def test_no_detail_of_the_database_reaches_the_caller(
    shop: Shop, server: Serving, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("storage.queries.CHECK", "SELECT 1 / 0 WHERE %s <> %s")
    batch = pb.BatchCheckMembershipRequest(pairs=[pb.MembershipPair(user_id=u, segment=NAMES[0]) for u in "ab"])
    failed = failure(server.membership.BatchCheckMembership, batch)
    assert (failed.code, failed.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "zero" not in failed.message
    assert "division by zero" in caplog.text
