import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from tidegate_client.generated.tidegate.v1 import definition_pb2 as _definition_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConditionKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONDITION_KIND_UNSPECIFIED: _ClassVar[ConditionKind]
    CONDITION_KIND_ALL: _ClassVar[ConditionKind]
    CONDITION_KIND_ANY: _ClassVar[ConditionKind]
    CONDITION_KIND_NOT: _ClassVar[ConditionKind]
    CONDITION_KIND_IN: _ClassVar[ConditionKind]
    CONDITION_KIND_SEGMENT: _ClassVar[ConditionKind]
    CONDITION_KIND_CONDITION: _ClassVar[ConditionKind]

class Truth(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRUTH_UNSPECIFIED: _ClassVar[Truth]
    TRUTH_TRUE: _ClassVar[Truth]
    TRUTH_FALSE: _ClassVar[Truth]
    TRUTH_NULL: _ClassVar[Truth]
CONDITION_KIND_UNSPECIFIED: ConditionKind
CONDITION_KIND_ALL: ConditionKind
CONDITION_KIND_ANY: ConditionKind
CONDITION_KIND_NOT: ConditionKind
CONDITION_KIND_IN: ConditionKind
CONDITION_KIND_SEGMENT: ConditionKind
CONDITION_KIND_CONDITION: ConditionKind
TRUTH_UNSPECIFIED: Truth
TRUTH_TRUE: Truth
TRUTH_FALSE: Truth
TRUTH_NULL: Truth

class ExplainMembershipRequest(_message.Message):
    __slots__ = ("user_id", "segment", "at", "max_events")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    MAX_EVENTS_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    segment: str
    at: _timestamp_pb2.Timestamp
    max_events: int
    def __init__(self, user_id: _Optional[str] = ..., segment: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., max_events: _Optional[int] = ...) -> None: ...

class ExplainMembershipResponse(_message.Message):
    __slots__ = ("member", "known", "at", "definition", "since", "next_change", "searched_until", "condition", "turns", "events", "later_arrivals", "profile_time", "truncated", "events_dropped", "as_of", "behind", "unless", "since_pruned")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHANGE_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LATER_ARRIVALS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_TIME_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    UNLESS_FIELD_NUMBER: _ClassVar[int]
    SINCE_PRUNED_FIELD_NUMBER: _ClassVar[int]
    member: bool
    known: bool
    at: _timestamp_pb2.Timestamp
    definition: _definition_pb2.DefinitionStatus
    since: _timestamp_pb2.Timestamp
    next_change: _timestamp_pb2.Timestamp
    searched_until: _timestamp_pb2.Timestamp
    condition: ConditionPart
    turns: _containers.RepeatedCompositeFieldContainer[ConditionTurn]
    events: int
    later_arrivals: int
    profile_time: _timestamp_pb2.Timestamp
    truncated: bool
    events_dropped: bool
    as_of: _timestamp_pb2.Timestamp
    behind: str
    unless: str
    since_pruned: bool
    def __init__(self, member: _Optional[bool] = ..., known: _Optional[bool] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., definition: _Optional[_Union[_definition_pb2.DefinitionStatus, _Mapping]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_change: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., searched_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., condition: _Optional[_Union[ConditionPart, _Mapping]] = ..., turns: _Optional[_Iterable[_Union[ConditionTurn, _Mapping]]] = ..., events: _Optional[int] = ..., later_arrivals: _Optional[int] = ..., profile_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., truncated: _Optional[bool] = ..., events_dropped: _Optional[bool] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., behind: _Optional[str] = ..., unless: _Optional[str] = ..., since_pruned: _Optional[bool] = ...) -> None: ...

class ConditionPart(_message.Message):
    __slots__ = ("kind", "truth", "words", "sql", "segment", "op", "values", "beside", "counted", "parts")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TRUTH_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    OP_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    COUNTED_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    kind: ConditionKind
    truth: Truth
    words: str
    sql: str
    segment: str
    op: str
    values: _containers.RepeatedCompositeFieldContainer[ConditionValue]
    beside: _containers.RepeatedCompositeFieldContainer[ConditionValue]
    counted: _containers.RepeatedCompositeFieldContainer[CountedEvents]
    parts: _containers.RepeatedCompositeFieldContainer[ConditionPart]
    def __init__(self, kind: _Optional[_Union[ConditionKind, str]] = ..., truth: _Optional[_Union[Truth, str]] = ..., words: _Optional[str] = ..., sql: _Optional[str] = ..., segment: _Optional[str] = ..., op: _Optional[str] = ..., values: _Optional[_Iterable[_Union[ConditionValue, _Mapping]]] = ..., beside: _Optional[_Iterable[_Union[ConditionValue, _Mapping]]] = ..., counted: _Optional[_Iterable[_Union[CountedEvents, _Mapping]]] = ..., parts: _Optional[_Iterable[_Union[ConditionPart, _Mapping]]] = ...) -> None: ...

class ConditionValue(_message.Message):
    __slots__ = ("words", "sql", "value", "type", "constant")
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    CONSTANT_FIELD_NUMBER: _ClassVar[int]
    words: str
    sql: str
    value: str
    type: str
    constant: bool
    def __init__(self, words: _Optional[str] = ..., sql: _Optional[str] = ..., value: _Optional[str] = ..., type: _Optional[str] = ..., constant: _Optional[bool] = ...) -> None: ...

class CountedEvents(_message.Message):
    __slots__ = ("words", "sql", "total", "deciding", "events")
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    DECIDING_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    words: str
    sql: str
    total: int
    deciding: int
    events: _containers.RepeatedCompositeFieldContainer[NamedEvent]
    def __init__(self, words: _Optional[str] = ..., sql: _Optional[str] = ..., total: _Optional[int] = ..., deciding: _Optional[int] = ..., events: _Optional[_Iterable[_Union[NamedEvent, _Mapping]]] = ...) -> None: ...

class NamedEvent(_message.Message):
    __slots__ = ("event_id", "event_time")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    event_time: _timestamp_pb2.Timestamp
    def __init__(self, event_id: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ConditionTurn(_message.Message):
    __slots__ = ("words", "sql", "now", "then")
    WORDS_FIELD_NUMBER: _ClassVar[int]
    SQL_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    THEN_FIELD_NUMBER: _ClassVar[int]
    words: str
    sql: str
    now: Truth
    then: Truth
    def __init__(self, words: _Optional[str] = ..., sql: _Optional[str] = ..., now: _Optional[_Union[Truth, str]] = ..., then: _Optional[_Union[Truth, str]] = ...) -> None: ...
