"""Callers of the soak: `python -m loadtest.serving_callers PORT USERS SEGMENTS SECONDS FILE`.

Eight of them ask one after the other, every tenth time a batch, users drawn as the engine's events are. Every answer is
a line of FILE (user, segment, member 1 or 0; since, as_of and when it came, in µs); what failed, when, and how long
calls took is printed as one JSON object.
"""

import asyncio
import csv
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from grpc_server.generated.tidegate.v1 import membership_pb2 as pb
from grpc_server.generated.tidegate.v1 import membership_pb2_grpc as rpc
from loadtest.serving_client import histogram
from loadtest.serving_engine import drawn
from loadtest.serving_world import segment_name

AT_ONCE, PAUSE_S, BATCH, DEADLINE_S = 8, 0.003, 10, 20.0
_TELL_EVERY_S = 30.0


async def main(port: str, users: int, segments: int, seconds: float, path: Path) -> dict[str, Any]:
    chance, begun = random.Random(3), time.monotonic()
    end = begun + seconds
    failures: list[tuple[str, float]] = []
    took: list[float] = []
    lags: list[float] = []
    answered = 0

    with path.open("w", newline="") as file:
        out = csv.writer(file)

        def note(user: str, segment: str, answer: Any) -> None:
            nonlocal answered
            as_of = answer.as_of.ToMicroseconds()
            since = answer.since.ToMicroseconds() if answer.member else 0
            out.writerow((user, segment, int(answer.member), since, as_of, time.time_ns() // 1_000))
            answered += 1
            if answered % 50 == 0:
                lags.append(time.time() - as_of / 1e6)

        async def ask(stub: Any) -> None:
            asked = [(drawn(users, chance), segment_name(chance.randrange(segments))) for _ in range(BATCH)]
            if chance.random() < 0.1:
                pairs = [pb.MembershipPair(user_id=user, segment=segment) for user, segment in asked]
                found = await stub.BatchCheckMembership(pb.BatchCheckMembershipRequest(pairs=pairs), timeout=DEADLINE_S)
                for (user, segment), one in zip(asked, found.results, strict=True):
                    note(user, segment, one)
            else:
                user, segment = asked[0]
                request = pb.CheckMembershipRequest(user_id=user, segment=segment)
                note(user, segment, await stub.CheckMembership(request, timeout=DEADLINE_S))

        async def one(stub: Any) -> None:
            while (called := time.monotonic()) < end:
                try:
                    await ask(stub)
                    took.append(time.monotonic() - called)
                except grpc.aio.AioRpcError as error:
                    failures.append((error.code().name, time.time()))
                    await asyncio.sleep(0.05)
                await asyncio.sleep(PAUSE_S)

        async def tell() -> None:
            while True:
                await asyncio.sleep(_TELL_EVERY_S)
                passed = time.monotonic() - begun
                print(f"soak: {passed:.0f} of {seconds:.0f} s, {answered:,} answers, {len(failures):,} failed calls",
                      file=sys.stderr, flush=True)  # fmt: skip

        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            telling = asyncio.create_task(tell())
            stub: Any = rpc.MembershipServiceStub(channel)
            await asyncio.gather(*(one(stub) for _ in range(AT_ONCE)))
            telling.cancel()
    lags.sort()
    return {
        "failures": failures, "latency": histogram(took), "lag_p50_s": lags[len(lags) // 2], "lag_most_s": lags[-1],
    }  # fmt: skip


if __name__ == "__main__":
    port_, users_, segments_, seconds_, path_ = sys.argv[1:]
    print(json.dumps(asyncio.run(main(port_, int(users_), int(segments_), float(seconds_), Path(path_)))))
