"""Errors as callers meet them, and how they are read from a gRPC status.

The server sends google.rpc.Status with ErrorInfo and RetryInfo in the trailing metadata. Four fields of them are
needed, so they are read from the bytes here, rather than by two more packages that every caller would have to install.
"""

from collections.abc import Iterator
from typing import Any

import grpc

_DETAILS = "grpc-status-details-bin"
_INFO, _RETRY = "type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.RetryInfo"


class Error(Exception):
    """code: of gRPC. reason: UPPER_SNAKE_CASE, stays the same over versions; empty where the server said none.

    metadata: what belongs to the reason (segment, did_you_mean, position ...). retry_after: seconds, or None.
    """

    def __init__(
        self, message: str, code: grpc.StatusCode, reason: str, metadata: dict[str, str], retry_after: float | None
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.metadata, self.retry_after = code, reason, metadata, retry_after


class Unavailable(Error):
    """No server, no database, or too many calls. It was tried again already; nothing is known about the answer."""


class DeadlineExceeded(Error):
    """No answer in time."""


class UnknownSegment(Error):
    """There is no such segment."""


class SegmentDisabled(Error):
    """The segment's definition is switched off."""


class InvalidRequest(Error):
    """The text names the field."""


class Unauthenticated(Error):
    """No token, or one that the server does not know."""


class PermissionDenied(Error):
    """A token of another scope is needed."""


class PositionGone(Error):
    """The log cannot be read on from this position: take `position_now()`, read the members anew, then watch from it.

    cause: `pruned` (the server keeps transitions for so long only), `set_back` (its database was restored from a copy)
    or `other_log`. kept_since: for `pruned`, since when transitions are kept, RFC 3339.
    """

    @property
    def cause(self) -> str:
        return self.metadata.get("cause", "")

    @property
    def kept_since(self) -> str | None:
        return self.metadata.get("kept_since")


_OF_REASON: dict[str, type[Error]] = {"UNKNOWN_SEGMENT": UnknownSegment, "SEGMENT_DISABLED": SegmentDisabled}
_OF_CODE: dict[grpc.StatusCode, type[Error]] = {
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.OUT_OF_RANGE: PositionGone,
}
_ADVICE = {
    grpc.StatusCode.UNAVAILABLE: "Is a server running there, and do both sides agree on TLS?",
    grpc.StatusCode.DEADLINE_EXCEEDED: "Allow more time with `timeout`, or look whether the server is overloaded.",
    grpc.StatusCode.UNIMPLEMENTED: "The server does not know this call: it is older than this package.",
}


def out_of_time(target: str) -> Error:
    """What a call ends with that has no time at all: a server that is near might answer nevertheless, now and then."""
    code = grpc.StatusCode.DEADLINE_EXCEEDED
    return DeadlineExceeded(f"{target}: no time was left. {_ADVICE[code]}", code, "", {}, None)


def error_of(error: grpc.RpcError, target: str) -> Error:
    """`target`: HOST:PORT, for failures that the server itself has not explained."""
    call: Any = error
    code, text = call.code(), call.details() or ""
    reason, metadata, retry_after = _read(b"")
    for key, value in call.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            reason, metadata, retry_after = _read(value)
    if not reason:
        text = f"{target}: {text or code.name}. {_ADVICE.get(code, '')}".strip()
    kind = _OF_REASON.get(reason) or _OF_CODE.get(code, Error)
    return kind(text, code, reason, metadata, retry_after)


def _read(status: bytes) -> tuple[str, dict[str, str], float | None]:
    reason, retry_after = "", None
    metadata: dict[str, str] = {}
    for number, detail in _fields(status):
        if number != 3:
            continue
        packed = dict(_fields(detail))
        url, value = packed.get(1, b"").decode(), packed.get(2, b"")
        if url == _INFO:
            for field, content in _fields(value):
                if field == 1:
                    reason = content.decode()
                elif field == 3:
                    pair = dict(_fields(content))
                    metadata[pair.get(1, b"").decode()] = pair.get(2, b"").decode()
        elif url == _RETRY:
            delay = dict(_numbers(dict(_fields(value)).get(1, b"")))
            retry_after = delay.get(1, 0) + delay.get(2, 0) / 1e9
    return reason, metadata, retry_after


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Fields that hold bytes, of a message in protobuf's wire format."""
    for number, value in _walk(data):
        if isinstance(value, bytes):
            yield number, value


def _numbers(data: bytes) -> Iterator[tuple[int, int]]:
    for number, value in _walk(data):
        if isinstance(value, int):
            yield number, value


def _walk(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, after = _varint(data, at)
        if tag & 7 == 0:
            at = after
            yield tag >> 3, value
        elif tag & 7 == 2:
            at = after + value
            yield tag >> 3, data[after:at]
        else:
            return  # none of these messages has other kinds


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            break
    return value, at
