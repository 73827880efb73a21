import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SegmentState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEGMENT_STATE_UNSPECIFIED: _ClassVar[SegmentState]
    SEGMENT_STATE_BUILDING: _ClassVar[SegmentState]
    SEGMENT_STATE_COMPLETE: _ClassVar[SegmentState]
    SEGMENT_STATE_HELD: _ClassVar[SegmentState]
    SEGMENT_STATE_COMPLETE_SINCE: _ClassVar[SegmentState]
    SEGMENT_STATE_DISABLED: _ClassVar[SegmentState]
SEGMENT_STATE_UNSPECIFIED: SegmentState
SEGMENT_STATE_BUILDING: SegmentState
SEGMENT_STATE_COMPLETE: SegmentState
SEGMENT_STATE_HELD: SegmentState
SEGMENT_STATE_COMPLETE_SINCE: SegmentState
SEGMENT_STATE_DISABLED: SegmentState

class DefinitionStatus(_message.Message):
    __slots__ = ("segment", "version", "state", "complete_since", "held_since")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_SINCE_FIELD_NUMBER: _ClassVar[int]
    HELD_SINCE_FIELD_NUMBER: _ClassVar[int]
    segment: str
    version: int
    state: SegmentState
    complete_since: _timestamp_pb2.Timestamp
    held_since: _timestamp_pb2.Timestamp
    def __init__(self, segment: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[SegmentState, str]] = ..., complete_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., held_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
