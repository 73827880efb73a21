"""SegmentService: which segments there are, and what they mean."""

from functools import lru_cache
from typing import Any

import grpc

from grpc_server import pages, requests
from grpc_server.answers import definition, timestamp
from grpc_server.errors import unknown_segment
from grpc_server.generated.tidegate.v1 import segments_pb2 as pb
from grpc_server.generated.tidegate.v1 import segments_pb2_grpc as rpc
from segmentation.compile.depends import dependencies
from storage.queries import Segment, UnknownSegment
from storage.reader import MembershipReader
from storage.segment_names import segment_names

Context = grpc.aio.ServicerContext[Any, Any]

_LISTING = "ListSegments"
_depends = lru_cache(maxsize=1_000)(dependencies)


class SegmentService(rpc.SegmentServiceServicer):
    def __init__(self, reader: MembershipReader) -> None:
        self._reader = reader

    async def ListSegments(self, request: pb.ListSegmentsRequest, context: Context) -> pb.ListSegmentsResponse:
        size = requests.page_size(request.page_size)
        page = await self._reader.segments(pages.after(_LISTING, request.page_token), size)
        return pb.ListSegmentsResponse(
            segments=[_message(segment) for segment in page.segments],
            next_page_token=pages.token(_LISTING, page.next_after) if page.next_after is not None else "",
            as_of=timestamp(page.segments[0].as_of) if page.segments else None,
        )

    async def GetSegment(self, request: pb.GetSegmentRequest, context: Context) -> pb.GetSegmentResponse:
        name = requests.segment(request.segment)
        try:
            segment = await self._reader.segment(name)
        except UnknownSegment:
            names = await self._reader.fetch(segment_names())
            raise unknown_segment(name, names) from None
        message, reads = _message(segment), _depends(segment.sql)
        message.sql = segment.sql
        message.depends_on.extend(reads.segments)
        message.columns.extend(reads.columns)
        return pb.GetSegmentResponse(segment=message, as_of=timestamp(segment.as_of))


def _message(segment: Segment) -> pb.Segment:
    return pb.Segment(
        definition=definition(segment.name, segment.version, segment.state),
        description=segment.description, owner=segment.owner, tags=segment.tags, members=segment.members,
        last_change=timestamp(segment.changed_at), defined_at=timestamp(segment.updated_at),
    )  # fmt: skip
