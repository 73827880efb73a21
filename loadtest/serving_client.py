"""Callers for the measurement: raw bytes, so that the client beside the server costs as little as it can.

Runs in a process of its own (`python -m loadtest.serving_client PORT USERS SEGMENTS WHAT SECONDS`) and prints one JSON
object. WHAT is `unary` (empty calls and checks by turns, a quarter of a second each, so that a busy neighbour slows
both), `batch`, or `soak` (checks that are written down, to be compared with the log afterwards).
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np

from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from loadtest.serving_server import EMPTY
from loadtest.serving_world import segment_name

CHECK = "/tidegate.v1.MembershipService/CheckMembership"
BATCH = "/tidegate.v1.MembershipService/BatchCheckMembership"
UNARY_AT_ONCE, BATCH_AT_ONCE, SOAK_AT_ONCE, PAIRS = 64, 4, 8, 1_000
SLICE_S = 0.25

Call = Callable[..., Any]


def pairs(count: int, users: int, segments: int, chance: random.Random) -> list[tuple[str, str]]:
    return [(f"u{chance.randrange(users)}", segment_name(chance.randrange(segments))) for _ in range(count)]


async def hammer(call: Call, requests: Sequence[bytes], seconds: float, at_once: int) -> list[float]:
    """Seconds that each call took."""
    took: list[float] = []
    end = time.perf_counter() + seconds

    async def one(first: int) -> None:
        at = first
        while (begun := time.perf_counter()) < end:
            await call(requests[at % len(requests)], timeout=20)
            took.append(time.perf_counter() - begun)
            at += at_once

    await asyncio.gather(*(one(number) for number in range(at_once)))
    return took


async def unary(channel: grpc.aio.Channel, users: int, segments: int, seconds: float) -> dict[str, Any]:
    chance = random.Random(1)
    checks = [
        pb.CheckMembershipRequest(user_id=user, segment=segment).SerializeToString()
        for user, segment in pairs(20_000, users, segments, chance)
    ]
    calls: dict[str, tuple[Call, Sequence[bytes]]] = {
        "empty": (channel.unary_unary(EMPTY), checks), "check": (channel.unary_unary(CHECK), checks),
    }  # fmt: skip
    took: dict[str, list[float]] = {name: [] for name in calls}
    for call, requests in calls.values():
        await hammer(call, requests, 0.5, UNARY_AT_ONCE)
    busy = dict.fromkeys(calls, 0.0)
    for _ in range(max(1, round(seconds / 2 / SLICE_S))):
        for name, (call, requests) in calls.items():
            begun = time.perf_counter()
            took[name] += await hammer(call, requests, SLICE_S, UNARY_AT_ONCE)
            busy[name] += time.perf_counter() - begun
    return {name: {"per_s": len(values) / busy[name], **histogram(values)} for name, values in took.items()}


async def batch(channel: grpc.aio.Channel, users: int, segments: int, seconds: float) -> dict[str, Any]:
    chance = random.Random(2)

    def request() -> bytes:
        asked = [pb.MembershipPair(user_id=u, segment=name) for u, name in pairs(PAIRS, users, segments, chance)]
        return pb.BatchCheckMembershipRequest(pairs=asked).SerializeToString()

    requests = [request() for _ in range(200)]
    call: Call = channel.unary_unary(BATCH)
    await hammer(call, requests, 0.5, BATCH_AT_ONCE)
    begun = time.perf_counter()
    took = await hammer(call, requests, seconds, BATCH_AT_ONCE)
    answer = pb.BatchCheckMembershipResponse.FromString(await call(requests[0], timeout=20))
    lag = time.time() - min(one.as_of.ToMicroseconds() for one in answer.results) / 1e6
    return {"checks_per_s": len(took) * PAIRS / (time.perf_counter() - begun), "as_of_lag_s": lag, **histogram(took)}


async def soak(channel: grpc.aio.Channel, users: int, segments: int, seconds: float) -> dict[str, Any]:
    """answers: [user, segment, member, since, as_of], times in µs; failed: codes and how often."""
    call: Call = channel.unary_unary(
        CHECK, request_serializer=pb.CheckMembershipRequest.SerializeToString,
        response_deserializer=pb.CheckMembershipResponse.FromString,
    )  # fmt: skip
    chance, end = random.Random(3), time.monotonic() + seconds
    answers: list[tuple[str, str, bool, int, int]] = []
    failed: dict[str, int] = {}
    lag = 0.0

    async def one() -> None:
        nonlocal lag
        while time.monotonic() < end:
            [(user, segment)] = pairs(1, users, segments, chance)
            try:
                answer = await call(pb.CheckMembershipRequest(user_id=user, segment=segment), timeout=20)
            except grpc.aio.AioRpcError as error:
                code = error.code().name
                failed[code] = failed.get(code, 0) + 1
                await asyncio.sleep(0.05)
                continue
            as_of = answer.as_of.ToMicroseconds()
            lag = max(lag, time.time() - as_of / 1e6)
            since = answer.since.ToMicroseconds() if answer.member else 0
            answers.append((user, segment, answer.member, since, as_of))
            await asyncio.sleep(0.002)

    await asyncio.gather(*(one() for _ in range(SOAK_AT_ONCE)))
    return {"answers": answers, "failed": failed, "worst_lag_s": lag}


def histogram(seconds: Sequence[float]) -> dict[str, Any]:
    """calls, percentiles in ms, and the number of calls per bucket, whose bounds (ms) double."""
    values = np.array(seconds) * 1e3
    bounds = [0.125 * 2**n for n in range(14)]
    counts, _ = np.histogram(values, [0.0, *bounds, float("inf")])
    percentiles = {f"p{p:g}_ms": float(np.percentile(values, p)) for p in (50, 90, 99, 99.9)}
    return {"calls": len(values), **percentiles, "bounds_ms": bounds, "counts": counts.tolist()}


async def main(port: int, users: int, segments: int, what: str, seconds: float) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        work = {"unary": unary, "batch": batch, "soak": soak}[what]
        print(json.dumps(await work(channel, users, segments, seconds)))


if __name__ == "__main__":
    port_, users_, segments_, what_, seconds_ = sys.argv[1:]
    asyncio.run(main(int(port_), int(users_), int(segments_), what_, float(seconds_)))
