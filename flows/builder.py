"""`python -m flows.builder`: builds a version of the definitions beside a running engine, in a process of its own.

The engine's first process starts it (flows.beside) and is at the other end of stdin and stdout:

    stdin    one line of JSON: {settings, version, partitions}; later a line `switch`, when the engine's flow has ended.
             When it is closed, this process ends at once.
    stdout   lines of JSON: {"near": true} when what the engine commits is run here as fast as it comes;
             {"log": [level, name, text]}; {"failed": why} where another attempt may do.

What becomes of the version is in the database: switched to, held, withdrawn, or still to be built.
"""

import json
import logging
import os
import sys
import threading
import time
from typing import Any

from flows import kafka
from flows.switching import Switch, outcome
from segmentation.errors import TidegateError
from storage import deployments
from storage.settings import Settings

log = logging.getLogger("tidegate.builder")

#: Between two rounds of following on, s; a round that takes no longer than that is near enough for the switch.
ROUND_SECONDS, NEAR_SECONDS = 0.5, 1.0
#: A round that takes this many times as long as the one before it catches up no more: the engine is faster.
NO_LESS = 0.9


def say(**words: Any) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


class _Said(logging.Handler):
    """The engine writes it to its log."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        say(log=[record.levelno, record.name, text])


def main() -> None:
    os.nice(10)
    logging.basicConfig(level=logging.INFO, handlers=[_Said()], force=True)
    given = json.loads(sys.stdin.readline())
    go = threading.Event()
    threading.Thread(target=_listen, args=(go,), daemon=True).start()
    try:
        beside(Settings(**given["settings"]), int(given["version"]), given["partitions"], go)
    except TidegateError as error:
        say(failed=str(error))
        raise SystemExit(1) from None
    except kafka.Stopped:
        raise SystemExit(1) from None


def _listen(go: threading.Event) -> None:
    for line in sys.stdin:
        if line == "switch\n":
            go.set()
    os._exit(1)


def beside(settings: Settings, version: int, partitions: list[int], go: threading.Event) -> None:
    """TidegateError, with `passing`, where another attempt may do."""
    stop = threading.Event()
    new = deployments.version(settings.database_url.get_secret_value(), version)
    if new.state != deployments.BUILDING:
        return
    log.info("building version %d of the definitions, applied by %s, beside the present one", version, new.by)
    with outcome(settings, new, stop):
        switch = Switch(settings, new, stop, partitions)
        try:
            switch.prepare()
            switch.build()
            _follow(switch, go)
            switch.commit()
        finally:
            switch.close()


def _follow(switch: Switch, go: threading.Event) -> None:
    """Until the engine's flow has ended."""
    before, near = float("inf"), False
    while not go.is_set():
        began = time.monotonic()
        steps = switch.follow()
        took = time.monotonic() - began
        if not near and (took < NEAR_SECONDS or took > NO_LESS * before):
            near = True
            say(near=True)
            log.info("version %d is built; %d steps of the engine were run on it in %.1f s",
                     switch.new.version, steps, took)  # fmt: skip
        before = took
        go.wait(ROUND_SECONDS)


if __name__ == "__main__":
    main()
