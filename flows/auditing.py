"""The audit beside a running engine: a round now and then, in a process of its own that gives way to everything else.

A round costs a second of processor time and more, for it loads the shards' saved states; so the pause between two is
at least PAUSE times what the last one took, and the audit never takes more than that share of one core.
"""

import json
import logging
import subprocess
import tempfile
import threading
import time
from typing import Any

from flows import metrics
from storage.interpreter import python
from storage.settings import Settings

log = logging.getLogger("tidegate.audit")

#: The pause is at least so many times the processor time of the round before.
PAUSE = 50
#: A round that takes longer hangs, s.
LONGEST_SECONDS = 1_800


def audit_forever(settings: Settings, end: threading.Event) -> None:
    """Until `end`. The first round comes after `audit_every` seconds, so an engine that ends soon has none."""
    pause = settings.audit_every
    while pause and not end.wait(pause):
        try:
            found = one_round(settings, end)
        except (OSError, ValueError) as error:
            log.warning("the audit did not end as it should: %s", error)
            continue
        if found is not None:
            told(found)
            pause = max(settings.audit_every, PAUSE * float(found.get("seconds", 0)))


def one_round(settings: Settings, end: threading.Event) -> dict[str, Any] | None:
    """What the process says; None where `end` came before."""
    given = settings.model_dump(mode="json")
    given["database_url"] = settings.database_url.get_secret_value()
    given["grpc_tokens"] = {}
    with tempfile.TemporaryFile() as said:  # what a pipe holds may be less
        process = subprocess.Popen(
            [*python(), "-m", "storage.audit"], stdin=subprocess.PIPE, stdout=said, start_new_session=True
        )
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(given).encode() + b"\n")
            process.stdin.close()
            deadline = time.monotonic() + LONGEST_SECONDS
            while process.poll() is None:
                if end.wait(0.2):
                    return None
                if time.monotonic() > deadline:
                    raise ValueError(f"it takes longer than {LONGEST_SECONDS} s")
        finally:
            process.kill()
            process.wait()
        if process.returncode != 0:
            raise ValueError(f"exit code {process.returncode}")
        said.seek(0)
        found: dict[str, Any] = json.loads(said.read())
        return found


def told(found: dict[str, Any]) -> None:
    """A round's outcome (storage.audit.round.Outcome) in metrics and log."""
    if "failure" in found:
        log.error("the audit could not be done: %s", found["failure"])
        return
    differ = found["differ"]
    metrics.audit_answers.labels("right").inc(found["answers"] - found["wrong"])
    metrics.audit_answers.labels("wrong").inc(found["wrong"])
    metrics.audit_answers.labels("skipped").inc(found["skipped"])
    metrics.audit_rate.set(found["wrong"] / found["answers"] if found["answers"] else 0.0)
    metrics.audit_open.set(found["wrong"])
    metrics.audit_seconds.inc(found["seconds"])
    metrics.audit_last.set(time.time())
    for one in differ:
        log.error(
            "WRONG ANSWER: user %s is stored as %s %s, and DuckDB says %s, as of %s µs. A test that reproduces it: %s",
            one["user_id"], "in" if one["stored"] else "not in", one["segment"], "in" if one["judged"] else "not in",
            one["as_of"], one["file"],
        )  # fmt: skip
