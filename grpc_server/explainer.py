"""Explanations by a process of their own, so that checks do not wait for them: one at a time, few that wait.

The process starts with the first question. A caller who goes away, or whose deadline passes, takes the work with him:
if it had begun, the process is killed, and the next question starts another one.
"""

import asyncio
import contextlib
import json
import logging
from typing import Any

import grpc

from grpc_server import explain_worker as worker
from grpc_server.errors import Refusal, internal, unavailable
from grpc_server.generated.tidegate.v1 import explanation_pb2 as pb
from storage.interpreter import python
from storage.settings import Settings

log = logging.getLogger(__name__)

#: Questions that wait; more are told OVERLOADED.
WAITING_MAX = 16
_RETRY_MS = 1_000
_NO_ARCHIVE = (
    "This server cannot explain: it does not reach what the engine saved (its storage_url), or nothing is saved yet. "
    "Ask a server whose storage_url is the engine's, or use `tidegate explain` there."
)
_DROPPED = (
    "Events of this user have been dropped, so a past instant cannot be explained for certain. Leave `at` out; the "
    "setting `retention` of the engine keeps events for longer."
)


class Explainer:
    def __init__(self, settings: Settings) -> None:
        self._storage_url = settings.storage_url
        self._settings = settings.model_dump(mode="json") | {
            "database_url": settings.database_url.get_secret_value(), "grpc_tokens": {},
            "storage_url": str(settings.storage_url.absolute()),
        }  # fmt: skip
        self._one = asyncio.Lock()
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None

    async def explain(self, user_id: str, segment: str, at: int | None, events: int) -> pb.ExplainMembershipResponse:
        """Without the definition. at: µs. Raises Refusal; LookupError for a segment that is not deployed."""
        if not (self._storage_url / "checkpoints").is_dir():
            raise _no_archive()
        if self._waiting >= WAITING_MAX:
            raise unavailable("OVERLOADED", "More questions than are explained in time. Try again.", _RETRY_MS)
        question = {"settings": self._settings, "user_id": user_id, "segment": segment, "at": at, "events": events}
        self._waiting += 1
        try:
            async with self._one:
                head, body = await self._ask(question)
        finally:
            self._waiting -= 1
        match head.get("reason"):
            case None:
                return pb.ExplainMembershipResponse.FromString(body)
            case worker.UNKNOWN_SEGMENT:
                raise LookupError(segment)
            case worker.NO_ARCHIVE:
                log.warning("an explanation was refused: %s", head["message"])
                raise _no_archive()
            case worker.HISTORY_DROPPED:
                raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, worker.HISTORY_DROPPED, _DROPPED)
            case worker.DATABASE:
                log.warning("an explanation failed: %s", head["message"])
                raise unavailable("DATABASE_UNAVAILABLE", "The membership database cannot be reached.", _RETRY_MS)
        log.error("an explanation of %s failed: %s", segment, head["message"])
        raise internal()

    async def _ask(self, question: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        process = await self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            await process.stdin.drain()
            head: dict[str, Any] = json.loads(await process.stdout.readuntil())
            return head, await process.stdout.readexactly(head.get("bytes", 0))
        except (asyncio.IncompleteReadError, ConnectionError):
            log.error("the process that explains has ended unexpectedly; the next question starts another one")
            await self.close()
            raise internal() from None
        except BaseException:  # cancelled, too: what it would answer next is not the next question's
            await self.close()
            raise

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *python(), "-m", "console.explaining_process", stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
        return self._process

    async def close(self) -> None:
        """Ends the process, whatever it is doing."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())

    async def run(self) -> None:
        """Until cancelled; then the process is gone."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()


def _no_archive() -> Refusal:
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, worker.NO_ARCHIVE, _NO_ARCHIVE)
