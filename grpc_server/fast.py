"""CheckMembership and BatchCheckMembership out of memory, from bytes to bytes; the services answer what this cannot.

Half of what such a call costs is taking messages apart and putting them together, so a batch is read where it lies: a
pair of a request and a result begin with the same bytes, the user and the segment. Only the usual spelling of a request
is understood (fields in order, each once, pairs shorter than 128 bytes, which all the generators write); any other is
left to the service, and so is whatever the copy in memory does not know. Both give the same answers, and the batch in C
(`segmentation.native`) the same bytes as the one in Python, which is for where the C part is not built; tests compare.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc

from grpc_server.cache import Copy
from grpc_server.edge import Calls
from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.keeping import Cache
from grpc_server.membership import MembershipService
from grpc_server.records import STAMP_BYTES
from grpc_server.requests import PAIRS_MAX
from segmentation import native

Context = grpc.aio.ServicerContext[Any, Any]

_SERVICE = "tidegate.v1.MembershipService"
METHODS = tuple(f"/{_SERVICE}/{name}" for name in ("CheckMembership", "BatchCheckMembership"))
_PAIR = 0x0A
_LENGTHS = [bytes((n,)) if n < 128 else bytes((n & 127 | 128, n >> 7)) for n in range(512)]

# Tags of the responses: number << 3 | kind, then the length of a timestamp.
_CHECK_AS_OF, _CHECK_SINCE, _CHECK_DEFINITION = b"\x1a\x0c", b"\x2a\x0c", b"\x22"
_RESULT_KNOWN, _RESULT_MEMBER = b"\x20\x01", b"\x18\x01\x20\x01"
_RESULT_AS_OF, _RESULT_SINCE = b"\x2a\x0c", b"\x32\x0c"
_CHECK_KNOWN, _CHECK_MEMBER = b"\x10\x01", b"\x08\x01\x10\x01"


def check(copy: Copy, request: pb.CheckMembershipRequest) -> bytes | None:
    """CheckMembershipResponse, or None."""
    user = request.user_id.encode()
    record, column = copy.users.get(user), copy.columns.get(request.segment)
    if record is None or column is None or not column.status:
        return None
    ahead, as_of = copy.ahead.get(user), copy.as_of.get(record[:2])
    if as_of is None:
        return None
    if ahead:
        as_of = ahead
    definition = _CHECK_DEFINITION + _LENGTHS[len(column.status)] + column.status
    stated = _CHECK_AS_OF + as_of if as_of else b""
    if not record[column.byte] & column.bit:
        return _CHECK_KNOWN + stated + definition
    return _CHECK_MEMBER + stated + definition + _CHECK_SINCE + _since(copy, record, column.below)


def batch(copy: Copy, data: bytes) -> bytes | None:
    """BatchCheckMembershipResponse, or None. data: BatchCheckMembershipRequest."""
    if native.ENABLED:
        wired = copy.wired
        users, ahead = cast(Any, copy.users), cast(Any, copy.ahead)
        return native.code.batch_answer(
            data, PAIRS_MAX, users, ahead, copy.as_of, wired.spelled, wired.places, wired.definitions,
            copy.bitmap_bytes,
        )  # fmt: skip
    return batch_by_python(copy, data)


def batch_by_python(copy: Copy, data: bytes) -> bytes | None:
    users, spelled, ahead, wired = copy.users, copy.wired.spelled, copy.ahead, copy.wired
    places = [(2 + place // 8, 1 << place % 8, (1 << place) - 1) for place in wired.places.tolist()]
    first_stamp, bitmap_end = 2 + copy.bitmap_bytes, 2 + copy.bitmap_bytes
    parts: list[bytes] = []
    asked = set()
    at, end, count = 0, len(data), 0
    try:
        while at < end:
            length = data[at + 1]
            body, after = at + 2, at + 2 + length
            name = at + 4 + data[at + 3]
            user = data[at + 4 : name]
            record, number = users.get(user), spelled.get(data[name:after])
            if record is None or number is None or length > 127 or data[at] != _PAIR or data[body] != _PAIR:
                return None
            asked.add(number)
            byte, bit, below = places[number]
            as_of = copy.as_of[record[:2]]
            if ahead and (late := ahead.get(user)) is not None:
                as_of = late
            said = _RESULT_AS_OF + as_of if as_of else b""
            if record[byte] & bit:
                since = first_stamp + STAMP_BYTES * (int.from_bytes(record[2:bitmap_end], "little") & below).bit_count()
                said = _RESULT_MEMBER + said + _RESULT_SINCE + record[since : since + STAMP_BYTES]
            else:
                said = _RESULT_KNOWN + said
            parts += (b"\x0a", _LENGTHS[length + len(said)], data[body:after], said)
            at, count = after, count + 1
    except (IndexError, KeyError):
        return None  # cut off, so that the service says what is wrong with it; or a shard without a short as_of
    if count > PAIRS_MAX or at != end:
        return None
    parts += [wired.definitions[number] for number in sorted(asked)]
    return b"".join(parts)


def _since(copy: Copy, record: bytes, below: int) -> bytes:
    bits = int.from_bytes(record[2 : 2 + copy.bitmap_bytes], "little")
    at = 2 + copy.bitmap_bytes + STAMP_BYTES * (bits & below).bit_count()
    return record[at : at + STAMP_BYTES]


def add(server: grpc.aio.Server, cache: Cache, service: MembershipService, slots: Calls) -> None:
    """After the service's own methods: takes the place of two of them. slots: for what the service is asked, so that
    a database that is slow does not keep callers from what is in memory."""

    async def check_bytes(data: bytes, context: Context) -> bytes:
        request = pb.CheckMembershipRequest.FromString(data)
        copy = cache.copy()
        if copy is not None and (answer := check(copy, request)) is not None:
            return answer
        with slots:
            return (await service.CheckMembership(request, context)).SerializeToString()

    async def batch_bytes(data: bytes, context: Context) -> bytes:
        copy = cache.copy()
        if copy is not None and (answer := batch(copy, data)) is not None:
            return answer
        request = pb.BatchCheckMembershipRequest.FromString(data)
        with slots:
            return (await service.BatchCheckMembership(request, context)).SerializeToString()

    methods: dict[str, Callable[[bytes, Context], Awaitable[bytes]]] = {
        "CheckMembership": check_bytes, "BatchCheckMembership": batch_bytes,
    }  # fmt: skip
    wrap: Any = grpc.unary_unary_rpc_method_handler
    handlers = {name: wrap(call) for name, call in methods.items()}
    cast(Any, server).add_registered_method_handlers(_SERVICE, handlers)
