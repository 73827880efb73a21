"""The edge of the server: every call comes in and goes out here, and nowhere else.

Checks the token and its rate, turns calls away that are more than the database answers in time (OVERLOADED), holds
a call to its deadline, turns whatever went wrong into one gRPC status with details, and counts the call.
Services behind it return answers or raise `Refusal`.

| raised below                             | what the caller gets                               |
|------------------------------------------|----------------------------------------------------|
| Refusal                                  | as it says                                         |
| the deadline passed (TimeoutError)       | DEADLINE_EXCEEDED; the query is cancelled          |
| DatabaseLost: no connection, or it broke | UNAVAILABLE, with RetryInfo                        |
| DatabaseError: tables or rights missing  | the same: an operator's matter, the log says       |
| anything else                            | INTERNAL; the traceback is in the log              |

Texts of the database never reach a caller: they may hold names, addresses and values.
"""

from __future__ import annotations  # the stubs know generic handlers, the classes at run time do not

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

import grpc
import psycopg
from google.protobuf.message import DecodeError
from psycopg import errors as pg

from grpc_server.auth import OPEN, SCOPES, Tokens, needs_admin
from grpc_server.errors import Refusal, internal, late, unavailable, unreadable
from grpc_server.metrics import Metrics
from grpc_server.rates import Rates
from grpc_server.watch import Stalled
from storage.postgres import DatabaseError

log = logging.getLogger(__name__)
audit = logging.getLogger("grpc_server.audit")

#: For callers that set no deadline.
LONGEST_CALL_S = 30.0

#: A watcher that takes no response for so long does not read.
LONGEST_WRITE_S = 30.0

#: Stands for a request whose bytes are none.
_UNREADABLE = object()

_RETRY_MS = 1_000
_OVERLOADED_RETRY_MS = 100
_AWAY = "The membership database cannot be reached. No answer is given rather than a wrong one; try again."
_OVERLOADED = "More calls than the database answers in time. Try again, or start another server."

Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]


@dataclass(slots=True)
class Calls:
    """With `with`: one more call in flight, of at most so many. Raises Refusal OVERLOADED."""

    most: int
    now: int = 0

    def __enter__(self) -> None:
        if self.now >= self.most:
            raise unavailable("OVERLOADED", _OVERLOADED, _OVERLOADED_RETRY_MS)
        self.now += 1

    def __exit__(self, *_: object) -> None:
        self.now -= 1


class Edge(grpc.aio.ServerInterceptor):
    """calls: those in flight, of all our methods together but the ones in `themselves`, which take from it what they
    ask the database."""

    def __init__(
        self, tokens: Tokens, metrics: Metrics, calls: Calls, rates: Rates, themselves: Collection[str] = ()
    ) -> None:
        self._tokens, self._metrics, self._rates = tokens, metrics, rates
        self._calls, self._unlimited, self._themselves = calls, Calls(sys.maxsize), themselves
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        metadata = handler_call_details.invocation_metadata
        refusal = self._tokens.refuse(method, metadata)
        if refusal is None and self._rates.limited and not method.startswith(OPEN):
            refusal = self._rates.refuse(self._tokens.name(metadata))
        if refusal is not None:
            if refusal.code is grpc.StatusCode.PERMISSION_DENIED:
                audit.info("%.200r by %s: %s", method, self._tokens.name(metadata), refusal.code.name)
            # A stranger must not make up labels.
            return _refusing(refusal, self._metrics.ended(method if method in SCOPES else "/unknown"))
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is not None and handler.unary_stream is not None and method in SCOPES:
                stream = _guarded_stream(cast(Stream, handler.unary_stream), self._metrics.ended(method), method)
                self._wrapped[method] = wrapped = grpc.unary_stream_rpc_method_handler(
                    stream, _reading(handler.request_deserializer), handler.response_serializer
                )
                return wrapped
            if handler is None or handler.unary_unary is None:
                return handler  # unknown methods, and the streams of health and reflection
            # Health asks no database; a probe that is turned away would have a busy server killed.
            calls = self._calls if method in SCOPES and method not in self._themselves else self._unlimited
            wrapped = grpc.unary_unary_rpc_method_handler(
                _guarded(self._audited(cast(Handler, handler.unary_unary), method), self._metrics.ended(method), calls,
                         method),
                _reading(handler.request_deserializer),
                handler.response_serializer,
            )  # fmt: skip
            self._wrapped[method] = wrapped
        return wrapped

    def _audited(self, handler: Handler, method: str) -> Handler:
        """Calls that need scope `admin` are written down with who made them, once begun and once ended."""
        if not needs_admin(method):
            return handler

        async def call(request: Any, context: Context) -> Any:
            who = self._tokens.name(context.invocation_metadata() or ())
            audit.info("%s by %s from %s", method, who, context.peer())
            outcome = "failed"
            try:
                answer = await handler(request, context)
                outcome = "done"
                return answer
            finally:
                audit.info("%s by %s: %s", method, who, outcome)

        return call


def _reading(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """One that does not raise, for then gRPC would answer UNKNOWN by itself: what cannot be read is refused later."""
    if deserializer is None:
        return None
    read = deserializer

    def reading(data: bytes) -> Any:
        try:
            return read(data)
        except DecodeError:
            return _UNREADABLE

    return reading


def _guarded(handler: Handler, ended: Callable[[str, float], None], calls: Calls, method: str) -> Handler:
    async def call(request: Any, context: Context) -> Any:
        start = time.perf_counter()
        code = "CANCELLED"  # stays so if the caller goes away
        try:
            try:
                if request is _UNREADABLE:
                    raise unreadable()
                with calls:
                    remaining = context.time_remaining()
                    # gRPC itself cancels the call at the caller's deadline. A second timer here would cancel it
                    # again, in the middle of psycopg's telling the database to drop the query.
                    own_limit = None if remaining is not None and remaining <= LONGEST_CALL_S else LONGEST_CALL_S
                    async with asyncio.timeout(own_limit):
                        answer = await handler(request, context)
            except asyncio.CancelledError:
                if (left := context.time_remaining()) is not None and left <= 0:
                    code = "DEADLINE_EXCEEDED"
                raise
            except Exception as error:
                refusal = refusal_of(error, method)
                code = refusal.code.name
                await context.abort(refusal.code, refusal.message, refusal.trailing_metadata())
            code = "OK"
            return answer
        finally:
            ended(code, time.perf_counter() - start)

    return call


def _guarded_stream(handler: Stream, ended: Callable[[str, float], None], method: str) -> Handler:
    """Streams last: they have no deadline but the caller's, and their number is the service's to limit."""

    async def call(request: Any, context: Context) -> None:
        start = time.perf_counter()
        code = "CANCELLED"
        try:
            if request is _UNREADABLE:
                raise unreadable()
            async with aclosing(handler(request, context)) as messages:
                await _send_all(messages, context)
            code = "OK"
        except asyncio.CancelledError:
            if (left := context.time_remaining()) is not None and left <= 0:
                code = "DEADLINE_EXCEEDED"
            raise
        except Exception as error:
            refusal = refusal_of(error, method)
            code = refusal.code.name
            await context.abort(refusal.code, refusal.message, refusal.trailing_metadata())
        finally:
            ended(code, time.perf_counter() - start)

    return call


async def _send_all(messages: AsyncGenerator[Any, None], context: Context) -> None:
    async for message in messages:
        try:
            async with asyncio.timeout(LONGEST_WRITE_S):
                await context.write(message)
        except TimeoutError:
            await messages.athrow(Stalled())


def refusal_of(error: Exception, method: str) -> Refusal:
    """What the caller of `method` is told about `error`; logs what the caller must not see."""
    match error:
        case Refusal():
            return error
        case TimeoutError():
            return late()
        case DecodeError():  # of handlers that read the bytes themselves
            return unreadable()
        case DatabaseError() if isinstance(error.__cause__, pg.QueryCanceled):
            return late()
        case DatabaseError() if not _is_bug(error.__cause__):
            # No line in the log per call: the watch over the database says it once.
            return unavailable("DATABASE_UNAVAILABLE", _AWAY, _RETRY_MS)
        case _:
            log.error("%s failed", method, exc_info=error)
            return internal()


def _is_bug(cause: BaseException | None) -> bool:
    """True where the database understood and refused the statement, though tables and rights are there."""
    if isinstance(cause, pg.UndefinedTable | pg.UndefinedColumn | pg.InvalidSchemaName | pg.InsufficientPrivilege):
        return False
    return isinstance(cause, psycopg.DataError | psycopg.ProgrammingError | psycopg.IntegrityError)


def _refusing(refusal: Refusal, ended: Callable[[str, float], None]) -> grpc.RpcMethodHandler[Any, Any]:
    async def refuse(request: Any, context: Context) -> Any:
        ended(refusal.code.name, 0.0)
        await context.abort(refusal.code, refusal.message, refusal.trailing_metadata())

    return grpc.unary_unary_rpc_method_handler(refuse)
