"""A process of a cluster that does nothing but what a test tells it: `python -m tests.flows.member PLAN ...`.

PLAN is a JSON file: per start of the cluster (the last one for all later starts), per process, a word of `DEEDS`.
PLAN.log gets a line for every process that starts, PLAN.ready one for every process that has begun its deed.
"""

import argparse
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from flows.supervised import Link

Ready = Callable[[], object]


def work(link: Link, ready: Ready) -> None:
    _run(link, ready, lambda: os._exit(0))


def deaf(link: Link, ready: Ready) -> None:
    _run(link, ready, lambda: None)


def freeze(link: Link, ready: Ready) -> None:
    link.started.set()
    ready()
    os.kill(os.getpid(), signal.SIGSTOP)


def die(link: Link, ready: Ready) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(link: Link, ready: Ready) -> None:
    link.failed("shards was 4, now 8.")
    raise SystemExit(2)


def fail(link: Link, ready: Ready) -> None:
    link.failed("the flow broke off.")
    raise SystemExit(75)


def finish(link: Link, ready: Ready) -> None:
    link.done()


def _run(link: Link, ready: Ready, when_told: Callable[[], None]) -> None:
    link.when_told(when_told)
    link.started.set()
    ready()
    threading.Event().wait()


DEEDS = {deed.__name__: deed for deed in (work, deaf, freeze, die, refuse, fail, finish)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("--line", type=int)
    parser.add_argument("-i", type=int, default=0)
    parser.add_argument("-a")
    parser.add_argument("--rebuild-only", action="store_true")
    given = parser.parse_args()
    me = {"process": given.i, "addresses": given.a, "rebuild": given.rebuild_only, "pid": os.getpid()}

    def append(suffix: str) -> Path:
        path: Path = given.plan.with_suffix(suffix)
        with path.open("a") as file:
            file.write(json.dumps(me) + "\n")
        return path

    started = [json.loads(line)["process"] for line in append(".log").read_text().splitlines()]
    plan = json.loads(given.plan.read_text())
    print("a line of its log", flush=True)
    deed = plan[min(started.count(given.i), len(plan)) - 1][given.i]
    DEEDS[deed](Link(given.line), lambda: append(".ready"))


if __name__ == "__main__":
    main()
