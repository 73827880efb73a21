"""What a caller may be told instead of an answer, and how it travels.

Refusal                  code, reason (google.rpc.ErrorInfo, domain "tidegate"), message
 ├ unknown_segment       NOT_FOUND, with the closest names
 ├ disabled              FAILED_PRECONDITION
 ├ invalid               INVALID_ARGUMENT, with google.rpc.BadRequest naming the field
 ├ unavailable           UNAVAILABLE, with google.rpc.RetryInfo
 ├ exhausted             RESOURCE_EXHAUSTED, the same
 ├ position_gone         OUT_OF_RANGE
 ├ late                  DEADLINE_EXCEEDED
 ├ unauthenticated       UNAUTHENTICATED
 ├ forbidden             PERMISSION_DENIED
 └ internal              INTERNAL: a bug; the log knows more than the caller

Services raise refusals; `grpc_server.edge` is the only place that turns them, and whatever the
database layer raised, into a gRPC status. Texts given by the caller are cut before they are repeated,
because clients limit the size of what they accept in trailing metadata.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from itertools import islice

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

DOMAIN = "tidegate"
DETAILS_KEY = "grpc-status-details-bin"

_REPEATED_CHARS_MAX = 100
_NAMES_COMPARED_MAX = 2_000


class Refusal(Exception):
    """Ends a call without an answer. `reason` is UPPER_SNAKE_CASE and stays the same over versions."""

    def __init__(
        self,
        code: grpc.StatusCode,
        reason: str,
        message: str,
        metadata: Mapping[str, str] | None = None,
        details: Iterable[Message] = (),
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.metadata, self.details = dict(metadata or {}), tuple(details)

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The status with its details, under the key where gRPC libraries of all languages look."""
        status = Status(code=self.code.value[0], message=self.message)
        info = ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=self.metadata)
        for detail in (info, *self.details):
            packed = Any()
            packed.Pack(detail)
            status.details.append(packed)
        return ((DETAILS_KEY, status.SerializeToString()),)


def unknown_segment(name: str, names: Iterable[str], field: str = "segment") -> Refusal:
    """`names` are those that exist; the closest is suggested."""
    shown = _cut(name)
    metadata = {"segment": shown, "field": field}
    close = get_close_matches(shown, list(islice(names, _NAMES_COMPARED_MAX)), n=1, cutoff=0.6)
    if close:
        metadata["did_you_mean"] = close[0]
        advice = f"Did you mean {close[0]!r}?"
    else:
        advice = "SegmentService.ListSegments lists those there are."
    return Refusal(grpc.StatusCode.NOT_FOUND, "UNKNOWN_SEGMENT", f"There is no segment {shown!r}. {advice}", metadata)


def disabled(segment: str) -> Refusal:
    return Refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "SEGMENT_DISABLED",
        f"Segment {segment!r} is disabled: nobody keeps its members. Enable it in its definition.",
        {"segment": _cut(segment)},
    )  # fmt: skip


def invalid(reason: str, field: str, description: str) -> Refusal:
    """`field` is the path in the request, as google.rpc.BadRequest writes it: `pairs[3].user_id`."""
    violation = BadRequest.FieldViolation(field=field, description=description)
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT, reason, f"{field}: {description}", {"field": field},
        [BadRequest(field_violations=[violation])],
    )  # fmt: skip


def unreadable() -> Refusal:
    return Refusal(
        grpc.StatusCode.INVALID_ARGUMENT, "UNREADABLE_REQUEST",
        "These bytes are no request of this call. Generate the stubs anew from the .proto files.",
    )  # fmt: skip


def unavailable(reason: str, message: str, retry_ms: int, metadata: Mapping[str, str] | None = None) -> Refusal:
    return Refusal(grpc.StatusCode.UNAVAILABLE, reason, message, metadata, [_retry(retry_ms)])


def exhausted(reason: str, message: str, retry_ms: int, metadata: Mapping[str, str] | None = None) -> Refusal:
    return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, reason, message, metadata, [_retry(retry_ms)])


def position_gone(message: str, cause: str, kept_since: str = "") -> Refusal:
    """cause: pruned, set_back or other_log. kept_since: RFC 3339, where it is known since when the log is whole."""
    metadata = {"field": "position", "cause": cause} | ({"kept_since": kept_since} if kept_since else {})
    return Refusal(grpc.StatusCode.OUT_OF_RANGE, "POSITION_GONE", message, metadata)


def late() -> Refusal:
    return Refusal(
        grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED",
        "The answer was not ready before the deadline. Allow more time, or ask for less at once.",
    )  # fmt: skip


def unauthenticated(reason: str, message: str) -> Refusal:
    return Refusal(grpc.StatusCode.UNAUTHENTICATED, reason, message)


def forbidden(scope: str) -> Refusal:
    return Refusal(
        grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING",
        f"This call needs a token of scope {scope!r}.", {"scope": scope},
    )  # fmt: skip


def internal() -> Refusal:
    return Refusal(
        grpc.StatusCode.INTERNAL, "INTERNAL", "The server failed to answer. Its log says why; please report it."
    )


def _retry(after_ms: int) -> RetryInfo:
    delay = Duration()
    delay.FromMilliseconds(after_ms)
    return RetryInfo(retry_delay=delay)


def _cut(text: str) -> str:
    return text if len(text) <= _REPEATED_CHARS_MAX else text[: _REPEATED_CHARS_MAX - 1] + "…"
