"""A builder of a version (flows.builder) that waits, or dies once, at a place; or an engine that starts such builders.

    python -m tests.flows.held_builder hold FOLDER MODULE:FUNCTION      the builder: waits after the first call of it
                                                                        until FOLDER/go is there
    python -m tests.flows.held_builder kill FOLDER MODULE:FUNCTION      the first builder: dies after the first call
    python -m tests.flows.held_builder engine hold FOLDER ...           an engine with such builders

FOLDER/held-1, held-2, ... are made by builders that have come to the place; each holds the process id.
"""

import importlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from flows import beside


def command(*given: str) -> list[str]:
    return [sys.executable, "-m", "tests.flows.held_builder", *given]


def at_first_call(place: str, act: Any) -> None:
    module, _, path = place.partition(":")
    *outer, name = path.split(".")
    owner: Any = importlib.import_module(module)
    for part in outer:
        owner = getattr(owner, part)
    original: Any = getattr(owner, name)
    seen: list[str] = []

    def replaced(*arguments: Any, **more: Any) -> Any:
        result = original(*arguments, **more)
        if not seen:
            seen.append(place)
            act()
        return result

    setattr(owner, name, replaced)


def _mark(folder: Path) -> int:
    number = len(list(folder.glob("held-*"))) + 1
    draft = folder / f"draft-{os.getpid()}"
    draft.write_text(str(os.getpid()))
    draft.rename(folder / f"held-{number}")
    return number


def hold(folder: Path) -> None:
    _mark(folder)
    pause = threading.Event()
    while not (folder / "go").exists():
        pause.wait(0.02)


def kill(folder: Path) -> None:
    if _mark(folder) == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def main(what: str, *given: str) -> None:
    if what == "engine":
        from flows.run import run
        from storage.settings import load

        beside.command = lambda: command(*given)
        run(load())
        return
    folder, place = given
    at_first_call(place, lambda: {"hold": hold, "kill": kill}[what](Path(folder)))
    from flows.builder import main as build

    build()


if __name__ == "__main__":
    main(*sys.argv[1:])
