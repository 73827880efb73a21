"""A process of a cluster that does nothing but what a test tells it: `python -m tests.flows.member PLAN ...`.

PLAN is a JSON file: per start of the cluster (the last one for all later starts), per process, a word of `DEEDS`.
The file gets a line appended for every process that starts, in PLAN.log: number of the start and the arguments.
"""

import argparse
import json
import os
import signal
import threading
from pathlib import Path

from flows.supervised import Link

FOR_EVER = threading.Event()


def work(link: Link) -> None:
    link.when_told(lambda: os._exit(0))
    link.started.set()
    FOR_EVER.wait()


def deaf(link: Link) -> None:
    link.when_told(lambda: None)
    link.started.set()
    FOR_EVER.wait()


def freeze(link: Link) -> None:
    link.started.set()
    os.kill(os.getpid(), signal.SIGSTOP)


def die(link: Link) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(link: Link) -> None:
    link.failed("shards was 4, now 8.")
    raise SystemExit(2)


def fail(link: Link) -> None:
    link.failed("the flow broke off.")
    raise SystemExit(75)


def finish(link: Link) -> None:
    link.done()


DEEDS = {deed.__name__: deed for deed in (work, deaf, freeze, die, refuse, fail, finish)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("--line", type=int)
    parser.add_argument("-i", type=int, default=0)
    parser.add_argument("-a")
    parser.add_argument("--rebuild-only", action="store_true")
    given = parser.parse_args()
    log = given.plan.with_suffix(".log")
    with log.open("a") as file:
        file.write(json.dumps({"process": given.i, "addresses": given.a, "rebuild": given.rebuild_only,
                               "pid": os.getpid()}) + "\n")  # fmt: skip
    plan = json.loads(given.plan.read_text())
    start = sum(json.loads(line)["process"] == given.i for line in log.read_text().splitlines()) - 1
    print("a line of its log", flush=True)
    DEEDS[plan[min(start, len(plan) - 1)][given.i]](Link(given.line))


if __name__ == "__main__":
    main()
