"""The process that explains, for `grpc_server.explainer`: questions on stdin, answers on stdout, one at a time.

A question is a line of JSON. An answer is a line of JSON, {"bytes": N} or {"reason": ..., "message": ...}, and after
the former N bytes of the response. Ends with its stdin. Nothing else may write to stdout.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, BinaryIO

from grpc_server.explain_answers import message
from segmentation.errors import TidegateError
from storage.one_user import NotSaved, NotWhole, deployed, explained
from storage.postgres import DatabaseError

#: Reasons of answers that are none; those of the API among them.
NO_ARCHIVE, HISTORY_DROPPED, UNKNOWN_SEGMENT, DATABASE, FAILED = (
    "NO_ARCHIVE", "HISTORY_DROPPED", "UNKNOWN_SEGMENT", "DATABASE", "FAILED",
)  # fmt: skip


def answer(question: dict[str, Any]) -> bytes:
    """The response, serialized."""
    url, segment = question["url"], question["segment"]
    what = deployed(url)
    definition = what.definition(segment)
    if definition is None:
        raise LookupError
    told = explained(
        url, Path(question["storage_url"]), what, definition, question["user_id"], question["at"], question["events"]
    )
    return message(told).SerializeToString()


def reply(question: dict[str, Any], out: BinaryIO) -> None:
    head: dict[str, Any]
    body = b""
    try:
        body = answer(question)
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


def main() -> None:
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    for line in sys.stdin.buffer:
        reply(json.loads(line), out)


if __name__ == "__main__":
    main()
