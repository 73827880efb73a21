"""SegmentService: what there is to be asked about."""

import time

import grpc
import pytest

from grpc_server.generated.tidegate.v1 import definition_pb2
from grpc_server.generated.tidegate.v1 import segments_pb2 as pb
from tests.grpc.serving import Serving, failure
from tests.grpc.shop import BIG, LAPSED, NAMES, START, Shop
from tests.grpc.test_membership import micros

pytestmark = pytest.mark.postgres


def test_one_segment_with_everything_about_it(shop: Shop, server: Serving) -> None:
    shop.fill()
    answer = server.segments.GetSegment(pb.GetSegmentRequest(segment="lapsed_californians"))
    segment = answer.segment
    assert segment.sql == LAPSED
    assert (segment.definition.version, segment.definition.state) == (1, definition_pb2.SEGMENT_STATE_COMPLETE)
    assert (segment.members, micros(segment.last_change), micros(answer.as_of)) == (1, START + 7, START)
    assert list(segment.columns) == ["channel", "event_time", "event_type", "region", "user_id"]
    assert list(segment.depends_on) == ["big_spenders"]
    assert abs(time.time() - segment.defined_at.seconds) < 600


def test_a_segment_that_nobody_ever_entered(server: Serving) -> None:
    answer = server.segments.GetSegment(pb.GetSegmentRequest(segment="big_spenders"))
    assert (answer.segment.members, answer.segment.HasField("last_change")) == (0, False)
    assert not answer.HasField("as_of")
    assert (answer.segment.description, answer.segment.owner) == ("spent over 100", "growth")
    assert list(answer.segment.tags) == ["money", "top"]


def test_all_segments_in_pages_by_name(shop: Shop, server: Serving) -> None:
    shop.fill()
    shop.move([("bob", [BIG])])
    first = server.segments.ListSegments(pb.ListSegmentsRequest(page_size=1))
    second = server.segments.ListSegments(pb.ListSegmentsRequest(page_size=1, page_token=first.next_page_token))
    assert not second.next_page_token
    found = [*first.segments, *second.segments]
    assert [(s.definition.segment, s.members, s.sql) for s in found] == [(NAMES[0], 2, ""), (NAMES[1], 1, "")]
    assert found == list(server.segments.ListSegments(pb.ListSegmentsRequest()).segments)
    assert micros(first.as_of) == START + 1


def test_an_unknown_segment(server: Serving) -> None:
    failed = failure(server.segments.GetSegment, pb.GetSegmentRequest(segment="bigspenders"))
    assert (failed.code, failed.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SEGMENT")
    assert failed.metadata["did_you_mean"] == "big_spenders"
    empty = failure(server.segments.GetSegment, pb.GetSegmentRequest())
    assert (empty.code, empty.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["segment"])
