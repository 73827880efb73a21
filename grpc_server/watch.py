"""WatchTransitions: one watcher of the feed. Chooses what was asked for, and says after each response where it is."""

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from grpc_server import positions, requests
from grpc_server.answers import timestamp
from grpc_server.errors import Refusal, exhausted, position_gone, unavailable, unknown_segment
from grpc_server.feed import Batch, Ended, Feed, SetBack, TooSlow
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from segmentation.evaluate.erasure import digest_of
from storage.reader import MembershipReader
from storage.segment_names import segment_names
from storage.transitions import AheadOfLog, Entry, Position, PositionGone, Transition, require_reached

#: The longest that a watcher hears nothing, seconds.
HEARTBEAT_S = 5.0

#: Watchers of one server; each costs some kilobytes, and its share of the filtering.
WATCHERS_MAX = 1_000

_CAUSES = {
    "event": pb.TRANSITION_CAUSE_EVENT,
    "time": pb.TRANSITION_CAUSE_TIME,
    "definition": pb.TRANSITION_CAUSE_DEFINITION,
    "release": pb.TRANSITION_CAUSE_RELEASE,
}
_ENDING = "The server ends. Go on from the position of the last response, at another server or a moment later."
_SLOW = (
    "More happens than this watcher reads. Go on from the position of the last response; read faster, or watch fewer "
    "users or segments."
)


class Stalled(Exception):
    """The edge throws it in where a response could not be sent for long: the caller does not read."""


class Watcher:
    """`responses` of one call."""

    def __init__(self, feed: Feed, reader: MembershipReader, request: pb.WatchTransitionsRequest) -> None:
        requests.watched(len(request.segments), "segments")
        requests.watched(len(request.user_ids), "user_ids")
        self._segments = {requests.segment(name, f"segments[{i}]"): i for i, name in enumerate(request.segments)}
        users = [requests.user_id(user, f"user_ids[{i}]") for i, user in enumerate(request.user_ids)]
        self._users = {digest_of(user): user for user in users}
        self._feed, self._reader = feed, reader
        self._given = positions.parse(request.position) if request.position else None

    async def responses(self) -> AsyncGenerator[pb.WatchTransitionsResponse, None]:
        if self._feed.followers >= WATCHERS_MAX:
            raise exhausted("TOO_MANY_WATCHERS", f"{WATCHERS_MAX} watch this server already. Try another one.", 1_000)
        await self._require_segments()
        page = await self._feed.now()
        log, position = self._given or (page.log, page.after)
        positions.require_same(page.log, log)
        sent = positions.token(log, position)
        told = time.monotonic()
        try:
            require_reached(position, page.end)
            first = pb.WatchTransitionsResponse(position=sent)
            if self._given is None:
                first.as_of.CopyFrom(timestamp(page.as_of) or first.as_of)
            yield first
            async with aclosing(self._feed.follow(position, HEARTBEAT_S / 2)) as batches:
                async for batch in batches:
                    positions.require_same(batch.page.log, log)
                    events = list(self._events(batch, position))
                    position = position.joined(batch.page.after)
                    now = time.monotonic()
                    if events or now - told >= HEARTBEAT_S / 2:
                        token = positions.token(log, position)
                        as_of = None if batch.page.more else timestamp(batch.page.as_of)
                        yield pb.WatchTransitionsResponse(events=events, position=token, as_of=as_of)
                        sent, told = token, now
        except Ended:
            raise unavailable("SERVER_ENDING", _ENDING, 100, {"position": sent}) from None
        except (TooSlow, Stalled):
            raise exhausted("WATCHER_TOO_SLOW", _SLOW, 100, {"position": sent}) from None
        except SetBack:
            raise _gone(AheadOfLog()) from None
        except PositionGone as error:
            raise _gone(error) from None

    async def _require_segments(self) -> None:
        if not self._segments:
            return
        names = await self._reader.fetch(segment_names())
        for name in self._segments.keys() - set(names):
            raise unknown_segment(name, names, f"segments[{self._segments[name]}]")

    def _events(self, batch: Batch, position: Position) -> Iterator[pb.WatchEvent]:
        inside = not position.covers(batch.before) or position != batch.before
        for entry in self._chosen(batch):
            if inside and entry.number <= position.of(entry.shard):
                continue
            event = self._event(entry)
            if event is not None:
                yield event

    def _chosen(self, batch: Batch) -> list[Entry]:
        """Of the users asked for, in order."""
        if not self._users:
            return batch.page.entries
        found = [entry for user in self._users.values() for entry in batch.by_user.get(user, ())]
        found += [entry for entry in batch.erasures if entry.digest in self._users]
        return sorted(found, key=lambda entry: (entry.number, entry.shard))

    def _event(self, entry: Entry) -> pb.WatchEvent | None:
        if not isinstance(entry, Transition):
            erasure = pb.Erasure(user_id=self._users.get(entry.digest, ""), digest=entry.digest)
            return pb.WatchEvent(erasure=erasure)
        changes = entry.changes
        if self._segments:
            changes = tuple(change for change in changes if change.segment in self._segments)
            if not changes:
                return None
        transition = pb.Transition(
            user_id=entry.user_id, seq=entry.seq, effective_at=timestamp(entry.effective_at),
            cause=_CAUSES.get(entry.cause, pb.TRANSITION_CAUSE_UNSPECIFIED),
            entered=[pb.SegmentVersion(segment=c.segment, version=c.version) for c in changes if c.entered],
            left=[pb.SegmentVersion(segment=c.segment, version=c.version) for c in changes if not c.entered],
        )  # fmt: skip
        return pb.WatchEvent(transition=transition)



def _gone(error: PositionGone) -> Refusal:
    since = timestamp(error.since)
    return position_gone(str(error), error.cause, since.ToJsonString() if since is not None else "")
