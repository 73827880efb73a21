"""Callers for the measurement: raw bytes, so that the client beside the server costs as little as it can.

Runs in a process of its own (`python -m loadtest.serving_client PORT SERVER USERS SEGMENTS WHAT SECONDS`, SERVER being
the server's process) and prints one JSON object. WHAT is `unary` (empty calls and checks by turns) or `batch`. The same
closed loop drives all: so many callers, each of which asks again as soon as it is answered.
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
import psutil

from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from loadtest.serving_server import EMPTY
from loadtest.serving_world import segment_name

CHECK = "/tidegate.v1.MembershipService/CheckMembership"
BATCH = "/tidegate.v1.MembershipService/BatchCheckMembership"
UNARY_AT_ONCE, BATCH_AT_ONCE, PAIRS = 64, 4, 1_000
#: Seconds of a slice: from, to.
SLICE_S = (0.08, 0.22)

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


class Costs:
    """What slices of one kind of calls took: seconds of each call, of the slices, and of the server's processor."""

    def __init__(self, server: psutil.Process) -> None:
        self._server = server
        self.took: list[float] = []
        self.busy = self.cpu = 0.0

    async def slice(self, call: Call, requests: Sequence[bytes], seconds: float, at_once: int) -> None:
        cpu, begun = self._cpu(), time.perf_counter()
        self.took += await hammer(call, requests, seconds, at_once)
        self.busy += time.perf_counter() - begun
        self.cpu += self._cpu() - cpu

    def _cpu(self) -> float:
        times = self._server.cpu_times()
        return float(times.user + times.system)

    @property
    def found(self) -> dict[str, Any]:
        calls = len(self.took)
        return {"per_s": calls / self.busy, "cpu_us": self.cpu / calls * 1e6, **histogram(self.took)}


class Lag:
    """How far `as_of` is behind the clock, at most, looked at ten times a second while this is entered."""

    def __init__(self, channel: grpc.aio.Channel, request: bytes) -> None:
        self._call: Call = channel.unary_unary(CHECK)
        self._request, self.most = request, 0.0

    async def __aenter__(self) -> "Lag":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            asked = time.time()
            answer = pb.CheckMembershipResponse.FromString(await self._call(self._request, timeout=20))
            self.most = max(self.most, asked - answer.as_of.ToMicroseconds() / 1e6)
            await asyncio.sleep(0.1)


async def unary(
    channel: grpc.aio.Channel, server: psutil.Process, users: int, segments: int, seconds: float
) -> dict[str, Any]:
    """Slices of random length, in random order: nothing that happens at intervals meets one kind only."""
    chance = random.Random(1)
    requests = [
        pb.CheckMembershipRequest(user_id=user, segment=segment).SerializeToString()
        for user, segment in pairs(200_000, users, segments, chance)
    ]
    calls: dict[str, Call] = {"empty": channel.unary_unary(EMPTY), "check": channel.unary_unary(CHECK)}
    for call in calls.values():
        await hammer(call, requests, 0.5, UNARY_AT_ONCE)
    costs = {name: Costs(server) for name in calls}
    end = time.monotonic() + seconds
    async with Lag(channel, requests[0]) as lag:
        while time.monotonic() < end:
            length = chance.uniform(*SLICE_S)
            for name in chance.sample(list(calls), len(calls)):
                at = chance.randrange(len(requests))
                await costs[name].slice(calls[name], requests[at:] + requests[:at], length, UNARY_AT_ONCE)
    return {"as_of_lag_s": lag.most, **{name: cost.found for name, cost in costs.items()}}


async def batch(
    channel: grpc.aio.Channel, server: psutil.Process, users: int, segments: int, seconds: float
) -> dict[str, Any]:
    chance = random.Random(2)

    def request() -> bytes:
        asked = [pb.MembershipPair(user_id=u, segment=name) for u, name in pairs(PAIRS, users, segments, chance)]
        return pb.BatchCheckMembershipRequest(pairs=asked).SerializeToString()

    requests = [request() for _ in range(1_000)]
    one = pb.CheckMembershipRequest(user_id="u0", segment=segment_name(0)).SerializeToString()
    call: Call = channel.unary_unary(BATCH)
    await hammer(call, requests, 0.5, BATCH_AT_ONCE)
    cost = Costs(server)
    async with Lag(channel, one) as lag:
        await cost.slice(call, requests, seconds, BATCH_AT_ONCE)
    return {**cost.found, "as_of_lag_s": lag.most, "checks_per_s": cost.found["per_s"] * PAIRS}


def histogram(seconds: Sequence[float]) -> dict[str, Any]:
    """calls, percentiles in ms, and the number of calls per bucket, whose bounds (ms) double."""
    values = np.array(seconds) * 1e3
    bounds = [0.125 * 2**n for n in range(14)]
    counts, _ = np.histogram(values, [0.0, *bounds, float("inf")])
    percentiles = {f"p{p:g}_ms": float(np.percentile(values, p)) for p in (50, 90, 99, 99.9)}
    return {"calls": len(values), **percentiles, "bounds_ms": bounds, "counts": counts.tolist()}


async def main(port: int, server: int, users: int, segments: int, what: str, seconds: float) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        work = {"unary": unary, "batch": batch}[what]
        print(json.dumps(await work(channel, psutil.Process(server), users, segments, seconds)))


if __name__ == "__main__":
    port_, server_, users_, segments_, what_, seconds_ = sys.argv[1:]
    asyncio.run(main(int(port_), int(server_), int(users_), int(segments_), what_, float(seconds_)))
