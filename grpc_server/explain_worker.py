"""The process that explains, for `grpc_server.explainer`: questions on stdin, answers on stdout, one at a time.

The program that is started is `console.explaining_process`, for only that may know both this and the way to Kafka.

A question is a line of JSON. An answer is a line of JSON, {"bytes": N} or {"reason": ..., "message": ...}, and after
the former N bytes of the response. Ends with its stdin. Nothing else may write to stdout.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from grpc_server.explain_answers import message
from segmentation.errors import TidegateError
from storage.one_user import NotSaved, NotWhole, Replay, deployed, explained
from storage.postgres import DatabaseError
from storage.settings import Settings

#: Reasons of answers that are none; those of the API among them.
NO_ARCHIVE, HISTORY_DROPPED, UNKNOWN_SEGMENT, DATABASE, FAILED = (
    "NO_ARCHIVE", "HISTORY_DROPPED", "UNKNOWN_SEGMENT", "DATABASE", "FAILED",
)  # fmt: skip


#: Makes of settings what runs the steps since a saved state.
Replays = Callable[[Settings], Replay]


def answer(question: dict[str, Any], replays: Replays) -> bytes:
    """The response, serialized."""
    settings = Settings(**question["settings"])
    url, segment = settings.database_url.get_secret_value(), question["segment"]
    what = deployed(url)
    definition = what.definition(segment)
    if definition is None:
        raise LookupError
    told = explained(
        url, settings.storage_url, what, definition, question["user_id"], question["at"], question["events"],
        replays(settings),
    )  # fmt: skip
    return message(told).SerializeToString()


def reply(question: dict[str, Any], out: BinaryIO, replays: Replays) -> None:
    head: dict[str, Any]
    body = b""
    try:
        body = answer(question, replays)
        head = {"bytes": len(body)}
    except LookupError:
        head = {"reason": UNKNOWN_SEGMENT, "message": "this segment is not deployed"}
    except NotSaved as error:
        head = {"reason": NO_ARCHIVE, "message": str(error)}
    except NotWhole as error:
        head = {"reason": HISTORY_DROPPED, "message": str(error)}
    except DatabaseError as error:
        head = {"reason": DATABASE, "message": str(error)}
    except (TidegateError, AssertionError) as error:
        head = {"reason": FAILED, "message": f"{type(error).__name__}: {error}"}
    out.write(json.dumps(head).encode() + b"\n" + body)
    out.flush()


def serve(replays: Replays) -> None:
    """Until stdin ends."""
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    for line in sys.stdin.buffer:
        reply(json.loads(line), out, replays)
