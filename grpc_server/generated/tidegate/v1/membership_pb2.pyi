import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from grpc_server.generated.tidegate.v1 import definition_pb2 as _definition_pb2
from grpc_server.generated.tidegate.v1 import explanation_pb2 as _explanation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TransitionCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRANSITION_CAUSE_UNSPECIFIED: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_EVENT: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_TIME: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_DEFINITION: _ClassVar[TransitionCause]
    TRANSITION_CAUSE_RELEASE: _ClassVar[TransitionCause]
TRANSITION_CAUSE_UNSPECIFIED: TransitionCause
TRANSITION_CAUSE_EVENT: TransitionCause
TRANSITION_CAUSE_TIME: TransitionCause
TRANSITION_CAUSE_DEFINITION: TransitionCause
TRANSITION_CAUSE_RELEASE: TransitionCause

class CheckMembershipRequest(_message.Message):
    __slots__ = ("user_id", "segment")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    segment: str
    def __init__(self, user_id: _Optional[str] = ..., segment: _Optional[str] = ...) -> None: ...

class CheckMembershipResponse(_message.Message):
    __slots__ = ("member", "known", "as_of", "definition", "since")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    member: bool
    known: bool
    as_of: _timestamp_pb2.Timestamp
    definition: _definition_pb2.DefinitionStatus
    since: _timestamp_pb2.Timestamp
    def __init__(self, member: _Optional[bool] = ..., known: _Optional[bool] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., definition: _Optional[_Union[_definition_pb2.DefinitionStatus, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MembershipPair(_message.Message):
    __slots__ = ("user_id", "segment")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    segment: str
    def __init__(self, user_id: _Optional[str] = ..., segment: _Optional[str] = ...) -> None: ...

class BatchCheckMembershipRequest(_message.Message):
    __slots__ = ("pairs",)
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    pairs: _containers.RepeatedCompositeFieldContainer[MembershipPair]
    def __init__(self, pairs: _Optional[_Iterable[_Union[MembershipPair, _Mapping]]] = ...) -> None: ...

class BatchCheckMembershipResponse(_message.Message):
    __slots__ = ("results", "definitions")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    DEFINITIONS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[MembershipResult]
    definitions: _containers.RepeatedCompositeFieldContainer[_definition_pb2.DefinitionStatus]
    def __init__(self, results: _Optional[_Iterable[_Union[MembershipResult, _Mapping]]] = ..., definitions: _Optional[_Iterable[_Union[_definition_pb2.DefinitionStatus, _Mapping]]] = ...) -> None: ...

class MembershipResult(_message.Message):
    __slots__ = ("user_id", "segment", "member", "known", "as_of", "since")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    segment: str
    member: bool
    known: bool
    as_of: _timestamp_pb2.Timestamp
    since: _timestamp_pb2.Timestamp
    def __init__(self, user_id: _Optional[str] = ..., segment: _Optional[str] = ..., member: _Optional[bool] = ..., known: _Optional[bool] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListUserSegmentsRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class ListUserSegmentsResponse(_message.Message):
    __slots__ = ("segments", "known", "as_of")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedCompositeFieldContainer[UserSegment]
    known: bool
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, segments: _Optional[_Iterable[_Union[UserSegment, _Mapping]]] = ..., known: _Optional[bool] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UserSegment(_message.Message):
    __slots__ = ("definition", "since")
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    definition: _definition_pb2.DefinitionStatus
    since: _timestamp_pb2.Timestamp
    def __init__(self, definition: _Optional[_Union[_definition_pb2.DefinitionStatus, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListMembersRequest(_message.Message):
    __slots__ = ("segment", "page_size", "page_token")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    segment: str
    page_size: int
    page_token: str
    def __init__(self, segment: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMembersResponse(_message.Message):
    __slots__ = ("user_ids", "next_page_token", "as_of", "definition")
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    next_page_token: str
    as_of: _timestamp_pb2.Timestamp
    definition: _definition_pb2.DefinitionStatus
    def __init__(self, user_ids: _Optional[_Iterable[str]] = ..., next_page_token: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., definition: _Optional[_Union[_definition_pb2.DefinitionStatus, _Mapping]] = ...) -> None: ...

class WatchTransitionsRequest(_message.Message):
    __slots__ = ("segments", "user_ids", "position")
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    USER_IDS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    segments: _containers.RepeatedScalarFieldContainer[str]
    user_ids: _containers.RepeatedScalarFieldContainer[str]
    position: str
    def __init__(self, segments: _Optional[_Iterable[str]] = ..., user_ids: _Optional[_Iterable[str]] = ..., position: _Optional[str] = ...) -> None: ...

class WatchTransitionsResponse(_message.Message):
    __slots__ = ("events", "position", "as_of")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[WatchEvent]
    position: str
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, events: _Optional[_Iterable[_Union[WatchEvent, _Mapping]]] = ..., position: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchEvent(_message.Message):
    __slots__ = ("transition", "erasure")
    TRANSITION_FIELD_NUMBER: _ClassVar[int]
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    transition: Transition
    erasure: Erasure
    def __init__(self, transition: _Optional[_Union[Transition, _Mapping]] = ..., erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class Transition(_message.Message):
    __slots__ = ("user_id", "seq", "entered", "left", "effective_at", "cause")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ENTERED_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_AT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    seq: int
    entered: _containers.RepeatedCompositeFieldContainer[SegmentVersion]
    left: _containers.RepeatedCompositeFieldContainer[SegmentVersion]
    effective_at: _timestamp_pb2.Timestamp
    cause: TransitionCause
    def __init__(self, user_id: _Optional[str] = ..., seq: _Optional[int] = ..., entered: _Optional[_Iterable[_Union[SegmentVersion, _Mapping]]] = ..., left: _Optional[_Iterable[_Union[SegmentVersion, _Mapping]]] = ..., effective_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cause: _Optional[_Union[TransitionCause, str]] = ...) -> None: ...

class SegmentVersion(_message.Message):
    __slots__ = ("segment", "version")
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    segment: str
    version: int
    def __init__(self, segment: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class Erasure(_message.Message):
    __slots__ = ("user_id", "digest")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    digest: bytes
    def __init__(self, user_id: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...
