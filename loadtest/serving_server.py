"""The server of the measurement: `grpc_server` as it is, and beside its methods one that does nothing.

`python -m loadtest.serving_server`, with settings from TIDEGATE_* variables. /loadtest.Empty/Call passes the same edge
(tokens, limits, deadlines, metrics) and returns an empty message, so it shows what a call costs without an answer.
Prints `ready PORT` once it answers from memory.
"""

import asyncio
import logging
import signal
from typing import Any

import grpc

from grpc_server.auth import SCOPES
from grpc_server.serve import start
from storage.settings import load

EMPTY = "/loadtest.Empty/Call"


async def _empty(request: bytes, context: Any) -> bytes:
    return b""


async def main() -> None:
    SCOPES[EMPTY] = "read"  # as the checks have it: calls that need more are written to the log
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    wrap: Any = grpc.unary_unary_rpc_method_handler
    empty = grpc.method_handlers_generic_handler("loadtest.Empty", {"Call": wrap(_empty)})
    running = await start(load(), [empty])
    while not running.answers_from_memory:
        await asyncio.sleep(0.1)
    print(f"ready {running.port}", flush=True)
    await ended.wait()
    await running.stop()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s server: %(message)s")
    asyncio.run(main())
