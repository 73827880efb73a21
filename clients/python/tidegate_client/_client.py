"""The client for threads."""

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import grpc

from tidegate_client import _types as types
from tidegate_client._connection import BATCH_MAX, CHANNELS, OPTIONS, PAGE_SIZE, TIMEOUT_S, credentials, metadata
from tidegate_client._errors import Error, error_of, out_of_time
from tidegate_client._retry import BROKEN, Budget, Tries, pause_of
from tidegate_client.generated.tidegate.v1 import membership_pb2 as m
from tidegate_client.generated.tidegate.v1 import membership_pb2_grpc, segments_pb2_grpc
from tidegate_client.generated.tidegate.v1 import segments_pb2 as s

T = TypeVar("T")


class Client:
    """Asks the server at `target` (HOST:PORT). For any number of threads; make one and keep it.

    token: sent with every call. tls: True, or the authorities as a PEM file or its bytes. timeout: seconds for a
    call, its retries included. channels: connections, taken in turn. Every method raises `Error` where there is no
    answer; there is never a guessed one.
    """

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        tls: bool | Path | bytes = False,
        timeout: float = TIMEOUT_S,
        channels: int = CHANNELS,
        plaintext_token: bool = False,
    ) -> None:
        self._target, self._timeout, self._budget = target, timeout, Budget()
        self._metadata = metadata(target, token, tls, plaintext_token)
        secret = credentials(tls)
        self._channels = [
            grpc.secure_channel(target, secret, OPTIONS) if secret else grpc.insecure_channel(target, OPTIONS)
            for _ in range(channels)
        ]
        self._membership = itertools.cycle([membership_pb2_grpc.MembershipServiceStub(one) for one in self._channels])
        self._segments = itertools.cycle([segments_pb2_grpc.SegmentServiceStub(one) for one in self._channels])

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def is_member(self, user: str, segment: str, *, timeout: float | None = None) -> bool:
        request = m.CheckMembershipRequest(user_id=user, segment=segment)
        return self._call(lambda: next(self._membership).CheckMembership, request, timeout).member

    def check(self, user: str, segment: str, *, timeout: float | None = None) -> types.Check:
        request = m.CheckMembershipRequest(user_id=user, segment=segment)
        answer = self._call(lambda: next(self._membership).CheckMembership, request, timeout)
        return types.check_of(user, segment, answer)

    def batch(self, pairs: Iterable[tuple[str, str]], *, timeout: float | None = None) -> list[types.Check]:
        """Of (user, segment), in order. A call is made for each 1000; the answers of one are as of one moment."""
        found: list[types.Check] = []
        asked = iter(pairs)
        while some := list(itertools.islice(asked, BATCH_MAX)):
            request = m.BatchCheckMembershipRequest(
                pairs=[m.MembershipPair(user_id=user, segment=segment) for user, segment in some]
            )
            answer = self._call(lambda: next(self._membership).BatchCheckMembership, request, timeout)
            found += types.checks_of(answer)
        return found

    def list_user_segments(self, user: str, *, timeout: float | None = None) -> types.UserSegments:
        request = m.ListUserSegmentsRequest(user_id=user)
        answer = self._call(lambda: next(self._membership).ListUserSegments, request, timeout)
        return types.user_segments_of(user, answer)

    def list_members(self, segment: str, *, timeout: float | None = None) -> Iterator[str]:
        """By id. Who is a member all the while comes exactly once. timeout: of each page."""
        token = ""
        while True:
            request = m.ListMembersRequest(segment=segment, page_size=PAGE_SIZE, page_token=token)
            page = self._call(lambda: next(self._membership).ListMembers, request, timeout)
            yield from page.user_ids
            if not (token := page.next_page_token):
                return

    def list_segments(self, *, timeout: float | None = None) -> Iterator[types.Segment]:
        """By name."""
        token = ""
        while True:
            request = s.ListSegmentsRequest(page_size=PAGE_SIZE, page_token=token)
            page = self._call(lambda: next(self._segments).ListSegments, request, timeout)
            yield from map(types.segment_of, page.segments)
            if not (token := page.next_page_token):
                return

    def get_segment(self, segment: str, *, timeout: float | None = None) -> types.Segment:
        request = s.GetSegmentRequest(segment=segment)
        return types.segment_of(self._call(lambda: next(self._segments).GetSegment, request, timeout).segment)

    def position_now(self, *, timeout: float | None = None) -> str:
        """Where the log of transitions ends now: what `watch` is to go on from after the members have been read."""
        return self._call(self._first_update, m.WatchTransitionsRequest(), timeout).position

    def _first_update(self) -> Callable[..., m.WatchTransitionsResponse]:
        method = next(self._membership).WatchTransitions

        def first(*given: Any, **options: Any) -> m.WatchTransitionsResponse:
            stream: Any = method(*given, **options)
            try:
                response: m.WatchTransitionsResponse = next(stream)
                return response
            finally:
                stream.cancel()

        return first

    def watch(
        self,
        *,
        segments: Iterable[str] = (),
        users: Iterable[str] = (),
        position: str = "",
        give_up_after: float | None = None,
    ) -> Iterator[types.Update]:
        """Entries and exits as they are committed: of these segments and users (none: all), from `position` or now.

        Resumes by itself after whatever may pass, without loss or repetition; raises Unavailable once that has
        lasted for `give_up_after` seconds (None: never), PositionGone where the log does not reach back so far.
        """
        request = m.WatchTransitionsRequest(segments=list(segments), user_ids=list(users), position=position)
        failures, since = 0, time.monotonic()
        while True:
            stream: Any = next(self._membership).WatchTransitions(request, metadata=self._metadata)
            try:
                for response in stream:
                    request.position, failures = response.position, 0
                    yield types.update_of(response)
                    since = time.monotonic()
            except grpc.RpcError as broken:
                error = error_of(broken, self._target)
                lasted = time.monotonic() - since
                if error.code not in BROKEN or (give_up_after is not None and lasted > give_up_after):
                    raise error from None
                time.sleep(pause_of(failures, error.retry_after))
                failures += 1
            finally:
                stream.cancel()

    def _call(self, method: Callable[[], Callable[..., T]], request: Any, timeout: float | None) -> T:
        """`method` gives the call on the next channel, for each try another one."""
        if timeout is not None and timeout <= 0:
            raise out_of_time(self._target)
        tries = Tries(self._budget, time.monotonic() + (self._timeout if timeout is None else timeout))
        while True:
            try:
                answer = method()(request, timeout=tries.remaining(), metadata=self._metadata)
            except grpc.RpcError as failed:
                error: Error = error_of(failed, self._target)
                pause = tries.pause_after(error)
                if pause is None:
                    raise error from None
                time.sleep(pause)
            else:
                self._budget.succeeded()
                return answer
