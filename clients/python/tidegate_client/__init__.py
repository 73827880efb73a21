"""Asks Tidegate who is in which segment, and hears when that changes. See README.md beside this package."""

from tidegate_client._aio import AsyncClient
from tidegate_client._client import Client
from tidegate_client._errors import (
    DeadlineExceeded,
    Error,
    InvalidRequest,
    PermissionDenied,
    PositionGone,
    SegmentDisabled,
    Unauthenticated,
    Unavailable,
    UnknownSegment,
)
from tidegate_client._types import (
    Check,
    Definition,
    Erasure,
    Segment,
    SegmentState,
    Transition,
    Update,
    UserSegment,
    UserSegments,
    digest_of,
)

__all__ = [
    "AsyncClient", "Check", "Client", "DeadlineExceeded", "Definition", "Erasure", "Error", "InvalidRequest",
    "PermissionDenied", "PositionGone", "Segment", "SegmentDisabled", "SegmentState", "Transition", "Unauthenticated",
    "Unavailable", "UnknownSegment", "Update", "UserSegment", "UserSegments", "digest_of",
]  # fmt: skip
