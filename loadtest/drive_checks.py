"""What a caller sees: when a probe's entry, and its leaving by time, can be read over gRPC, and when it is watched.

Each probe has its own schedule, which does not wait for answers to others. From its stamp on CheckMembership is
asked until it says member; when the segment's window has run out, every fourth probe is asked until it is none any
more. Both take the instant at which the answer is here, less the instant at which it became true; so polling is part
of what is measured, never left out. The pause between two questions grows with the time that has passed, so that a
slow system is not asked to death; that makes a latency at most an eighth longer than it was, never shorter. Beside it
one WatchTransitions is open for all segments, and every transition that it tells is a sample: its arrival less its
`effective_at`.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import grpc

from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from loadtest.drive_producer import DISORDERED, probe_user

SEGMENT = "loadtest_probe"
#: Seconds for which a probe is a member.
PROBE_S = 10
#: When it is asked first, the least pause between two questions, and when it is given up. A question costs the server
#: and us a millisecond of the processor that the deployment shares, so those that cannot find anything are not asked.
_FIRST_S, _EVERY_S, _PATIENCE_S = 0.006, 0.002, 60.0
_FLIPS_OF = 4
_CHECK, _WATCH = "/tidegate.v1.MembershipService/CheckMembership", "/tidegate.v1.MembershipService/WatchTransitions"


def definition(probe_s: int = PROBE_S) -> str:
    return (
        "SELECT user_id FROM events GROUP BY user_id HAVING count(*) FILTER (WHERE event_type = 'probe' "
        f"AND event_time > now() - INTERVAL '{probe_s} seconds') >= 1"
    )


@dataclass
class Seen:
    """(instant at which it became true, µs; latency, µs) of each; missing: what did not become visible; overdue:
    who was still a member a minute after time was to make him leave."""

    entries: list[tuple[int, int]] = field(default_factory=list)
    flips: list[tuple[int, int]] = field(default_factory=list)
    watched: list[tuple[int, int]] = field(default_factory=list)
    watched_flips: list[tuple[int, int]] = field(default_factory=list)
    calls: int = 0
    missing: list[str] = field(default_factory=list)
    overdue: list[str] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)


def now_us() -> int:
    return time.time_ns() // 1_000


async def observe(
    channel: grpc.aio.Channel, run: str, start_us: int, gap_us: float, probes: int, metadata: Any, watch: bool,
    probe_s: int = PROBE_S, flips: bool = True,
) -> Seen:
    """gap_us: between two probes; flips: wait for their leaving, too. Returns when all are seen, or are overdue."""
    seen = Seen()
    check = channel.unary_unary(
        _CHECK, request_serializer=pb.CheckMembershipRequest.SerializeToString,
        response_deserializer=pb.CheckMembershipResponse.FromString,
    )  # fmt: skip

    async def until(user: str, member: bool, true_at: int, into: list[tuple[int, int]]) -> bool:
        request = pb.CheckMembershipRequest(user_id=user, segment=SEGMENT)
        deadline = true_at + int(_PATIENCE_S * 1e6)
        while now_us() < deadline:
            try:
                answer = await check(request, timeout=20, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                seen.errors[error.code().name] = seen.errors.get(error.code().name, 0) + 1
            else:
                seen.calls += 1
                # A probe that has come and gone before it was seen counts with when that is seen.
                if answer.member is member or (member and answer.known):
                    into.append((true_at, now_us() - true_at))
                    return True
            await asyncio.sleep(max(_EVERY_S, (now_us() - true_at) / 8e6))
        (seen.missing if member else seen.overdue).append(user)
        return False

    async def probe(number: int) -> None:
        stamp = start_us + int(number * gap_us)
        user = probe_user(run, number)
        await asyncio.sleep(max(0.0, (stamp - now_us()) / 1e6 + _FIRST_S))
        if await until(user, True, stamp, seen.entries) and flips and number % _FLIPS_OF == 0:
            leaves = stamp + probe_s * 1_000_000
            await asyncio.sleep(max(0.0, (leaves - now_us()) / 1e6 + _FIRST_S))
            await until(user, False, leaves, seen.flips)

    watching = asyncio.create_task(_watch(channel, seen, start_us, metadata)) if watch else None
    running: list[asyncio.Task[None]] = []
    for number in range(probes):
        # Tasks are made a second ahead, not all at once.
        await asyncio.sleep(max(0.0, (start_us + number * gap_us - now_us()) / 1e6 - 1.0))
        running.append(asyncio.create_task(probe(number)))
    await asyncio.gather(*running)
    if watching is not None:
        watching.cancel()
        await asyncio.wait([watching])
    return seen


async def _watch(channel: grpc.aio.Channel, seen: Seen, start_us: int, metadata: Any) -> None:
    call = channel.unary_stream(
        _WATCH, request_serializer=pb.WatchTransitionsRequest.SerializeToString,
        response_deserializer=pb.WatchTransitionsResponse.FromString,
    )  # fmt: skip
    async for response in call(pb.WatchTransitionsRequest(), metadata=metadata):
        arrived = now_us()
        for event in response.events:
            at = event.transition.effective_at.ToMicroseconds()
            if at < start_us or _disordered(event.transition.user_id):
                continue  # of before; or its stamp is not known here
            into = seen.watched_flips if event.transition.cause == pb.TRANSITION_CAUSE_TIME else seen.watched
            into.append((at, arrived - at))


def _disordered(user: str) -> bool:
    number = user.rpartition("-")[2]
    return not user.startswith("probe-") and number.isdigit() and int(number) % DISORDERED == DISORDERED - 1
