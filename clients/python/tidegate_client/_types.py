"""What answers are made of. All times are in UTC and exact to the microsecond."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from hashlib import blake2b
from typing import Any

from tidegate_client.generated.tidegate.v1 import definition_pb2, membership_pb2, segments_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class SegmentState(Enum):
    """How far an answer can be relied on; see SegmentState in definition.proto."""

    UNSPECIFIED = 0
    BUILDING = 1
    COMPLETE = 2
    HELD = 3
    COMPLETE_SINCE = 4
    DISABLED = 5


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition behind an answer. complete_since: where history is missing; held_since:
    with SegmentState.HELD only, up to when answers are complete."""

    segment: str
    version: int
    state: SegmentState
    complete_since: datetime | None
    held_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a user is in a segment. since: when the user entered, None for those not in.

    as_of: up to when the answer is complete; None before any event was read."""

    user_id: str
    segment: str
    member: bool
    known: bool
    since: datetime | None
    as_of: datetime | None
    definition: Definition


@dataclass(frozen=True, slots=True)
class UserSegment:
    definition: Definition
    since: datetime

    @property
    def segment(self) -> str:
        return self.definition.segment


@dataclass(frozen=True, slots=True)
class UserSegments:
    user_id: str
    known: bool
    as_of: datetime | None
    segments: Sequence[UserSegment]


@dataclass(frozen=True, slots=True)
class Segment:
    """sql, depends_on, columns: of `get_segment` only."""

    name: str
    description: str
    owner: str
    tags: Sequence[str]
    members: int
    definition: Definition
    last_change: datetime | None
    defined_at: datetime | None
    sql: str
    depends_on: Sequence[str]
    columns: Sequence[str]


@dataclass(frozen=True, slots=True)
class Transition:
    """All entries and exits of a user in one step; (user_id, seq) names it. entered, left: segment -> version.

    cause: event, time, definition, release."""

    user_id: str
    seq: int
    entered: dict[str, int]
    left: dict[str, int]
    effective_at: datetime
    cause: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """A user was erased. user_id: where `watch` was given users, else None; `digest_of(user_id)` is `digest`."""

    user_id: str | None
    digest: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """Events in order, and the position to go on from once all of them have been dealt with."""

    events: Sequence[Transition | Erasure]
    position: str
    as_of: datetime | None


def digest_of(user_id: str) -> bytes:
    """By which an erased user is found among those that one has stored."""
    return blake2b(user_id.encode(), digest_size=16).digest()


def time_of(message: Any, field: str) -> datetime | None:
    if not message.HasField(field):
        return None
    stamp = getattr(message, field)
    return _EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1_000)


def definition_of(message: definition_pb2.DefinitionStatus) -> Definition:
    try:
        state = SegmentState(message.state)
    except ValueError:
        state = SegmentState.UNSPECIFIED  # of a newer server
    since = time_of(message, "complete_since"), time_of(message, "held_since")
    return Definition(message.segment, message.version, state, *since)


def segment_of(message: segments_pb2.Segment) -> Segment:
    return Segment(
        message.definition.segment, message.description, message.owner, tuple(message.tags), message.members,
        definition_of(message.definition), time_of(message, "last_change"), time_of(message, "defined_at"),
        message.sql, tuple(message.depends_on), tuple(message.columns),
    )  # fmt: skip


def user_segments_of(user: str, message: membership_pb2.ListUserSegmentsResponse) -> UserSegments:
    segments = tuple(
        UserSegment(definition_of(one.definition), time_of(one, "since") or _EPOCH) for one in message.segments
    )
    return UserSegments(user, message.known, time_of(message, "as_of"), segments)


def check_of(user: str, segment: str, message: membership_pb2.CheckMembershipResponse) -> Check:
    return Check(
        user, segment, message.member, message.known, time_of(message, "since"), time_of(message, "as_of"),
        definition_of(message.definition),
    )  # fmt: skip


def checks_of(message: membership_pb2.BatchCheckMembershipResponse) -> list[Check]:
    definitions = {one.segment: definition_of(one) for one in message.definitions}
    return [
        Check(
            one.user_id, one.segment, one.member, one.known, time_of(one, "since"), time_of(one, "as_of"),
            definitions[one.segment],
        )
        for one in message.results
    ]  # fmt: skip


def update_of(message: membership_pb2.WatchTransitionsResponse) -> Update:
    return Update(tuple(map(_event, message.events)), message.position, time_of(message, "as_of"))


def _event(message: membership_pb2.WatchEvent) -> Transition | Erasure:
    if message.HasField("erasure"):
        return Erasure(message.erasure.user_id or None, message.erasure.digest)
    moved = message.transition
    cause = membership_pb2.TransitionCause.Name(moved.cause).removeprefix("TRANSITION_CAUSE_").lower()
    return Transition(
        moved.user_id, moved.seq, {one.segment: one.version for one in moved.entered},
        {one.segment: one.version for one in moved.left}, time_of(moved, "effective_at") or _EPOCH, cause,
    )  # fmt: skip
