"""MembershipService: who is in which segment. One statement of the database per call, WatchTransitions excepted."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from grpc_server import pages, requests
from grpc_server.answers import member_definition, timestamp
from grpc_server.errors import unknown_segment
from grpc_server.explainer import Explainer
from grpc_server.feed import Feed
from grpc_server.generated.tidegate.v1 import explanation_pb2
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.generated.tidegate.v1 import membership_pb2_grpc as rpc
from grpc_server.watch import Watcher
from storage.queries import UnknownSegment
from storage.reader import MembershipReader
from storage.segment_names import segment_names

Context = grpc.aio.ServicerContext[Any, Any]


class MembershipService(rpc.MembershipServiceServicer):
    def __init__(self, reader: MembershipReader, feed: Feed, explainer: Explainer) -> None:
        self._reader, self._feed, self._explainer = reader, feed, explainer

    async def CheckMembership(self, request: pb.CheckMembershipRequest, context: Context) -> pb.CheckMembershipResponse:
        user, segment = requests.user_id(request.user_id), requests.segment(request.segment)
        try:
            answer = (await self._reader.check([(user, segment)]))[0]
        except UnknownSegment:
            raise unknown_segment(segment, await self._names()) from None
        return pb.CheckMembershipResponse(
            member=answer.member, known=answer.known, as_of=timestamp(answer.as_of), since=timestamp(answer.since),
            definition=member_definition(segment, answer.version, answer.state),
        )  # fmt: skip

    async def BatchCheckMembership(
        self, request: pb.BatchCheckMembershipRequest, context: Context
    ) -> pb.BatchCheckMembershipResponse:
        requests.pairs_count(len(request.pairs))
        pairs = [
            (requests.user_id(pair.user_id, f"{at}.user_id"), requests.segment(pair.segment, f"{at}.segment"))
            for at, pair in ((f"pairs[{i}]", pair) for i, pair in enumerate(request.pairs))
        ]
        if not pairs:
            return pb.BatchCheckMembershipResponse()
        try:
            answers = await self._reader.check(pairs)
        except UnknownSegment as error:
            missing = set(error.names)
            index = next(i for i, (_, segment) in enumerate(pairs) if segment in missing)
            raise unknown_segment(pairs[index][1], await self._names(), f"pairs[{index}].segment") from None
        definitions = {answer.segment: (answer.version, answer.state) for answer in answers}
        return pb.BatchCheckMembershipResponse(
            results=[
                pb.MembershipResult(
                    user_id=answer.user_id, segment=answer.segment, member=answer.member, known=answer.known,
                    as_of=timestamp(answer.as_of), since=timestamp(answer.since),
                )
                for answer in answers
            ],
            definitions=[member_definition(name, *definitions[name]) for name in sorted(definitions)],
        )  # fmt: skip

    async def ListUserSegments(
        self, request: pb.ListUserSegmentsRequest, context: Context
    ) -> pb.ListUserSegmentsResponse:
        found = await self._reader.user_segments(requests.user_id(request.user_id))
        return pb.ListUserSegmentsResponse(
            known=found.known, as_of=timestamp(found.as_of),
            segments=[
                pb.UserSegment(
                    definition=member_definition(segment.segment, segment.version, segment.state),
                    since=timestamp(segment.since),
                )
                for segment in found.segments
            ],
        )  # fmt: skip

    async def ListMembers(self, request: pb.ListMembersRequest, context: Context) -> pb.ListMembersResponse:
        segment, size = requests.segment(request.segment), requests.page_size(request.page_size)
        listing = f"ListMembers {segment}"
        after = pages.after(listing, request.page_token)
        try:
            page = await self._reader.members(segment, after, size)
        except UnknownSegment:
            raise unknown_segment(segment, await self._names()) from None
        return pb.ListMembersResponse(
            user_ids=[member.user_id for member in page.members], as_of=timestamp(page.as_of),
            next_page_token=pages.token(listing, page.next_after) if page.next_after is not None else "",
            definition=member_definition(segment, page.version, page.state),
        )  # fmt: skip

    def WatchTransitions(
        self, request: pb.WatchTransitionsRequest, context: Context
    ) -> AsyncIterator[pb.WatchTransitionsResponse]:
        return Watcher(self._feed, self._reader, request).responses()

    async def ExplainMembership(
        self, request: explanation_pb2.ExplainMembershipRequest, context: Context
    ) -> explanation_pb2.ExplainMembershipResponse:
        user, segment = requests.user_id(request.user_id), requests.segment(request.segment)
        at = requests.instant(request.at) if request.HasField("at") else None
        events = requests.max_events(request.max_events)
        try:
            stored = (await self._reader.check([(user, segment)]))[0]
            definition = member_definition(segment, stored.version, stored.state)
            answer = await self._explainer.explain(user, segment, at, events)
        except (UnknownSegment, LookupError):
            raise unknown_segment(segment, await self._names()) from None
        answer.definition.CopyFrom(definition)
        return answer

    async def _names(self) -> list[str]:
        return await self._reader.fetch(segment_names())
