"""From what the reader says to the messages of the API."""

from google.protobuf.timestamp_pb2 import Timestamp

from grpc_server.errors import disabled
from grpc_server.generated.tidegate.v1.definition_pb2 import DefinitionStatus, SegmentState
from storage.queries import State

_STATES = {
    "building": SegmentState.SEGMENT_STATE_BUILDING,
    "complete": SegmentState.SEGMENT_STATE_COMPLETE,
    "held": SegmentState.SEGMENT_STATE_HELD,
    "complete_since": SegmentState.SEGMENT_STATE_COMPLETE_SINCE,
    "disabled": SegmentState.SEGMENT_STATE_DISABLED,
}


def timestamp(micros: int | None) -> Timestamp | None:
    """None stays None: a field that is absent."""
    if micros is None:
        return None
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def definition(segment: str, version: int, state: State) -> DefinitionStatus:
    return DefinitionStatus(
        segment=segment, version=version, state=_STATES[state], complete_since=timestamp(state.since),
        held_since=timestamp(state.held),
    )  # fmt: skip


def member_definition(segment: str, version: int, state: State) -> DefinitionStatus:
    """For answers about members. Raises Refusal for a disabled segment: its "no" would say nothing."""
    if state == "disabled":
        raise disabled(segment)
    return definition(segment, version, state)
