"""The interpreter for processes of our own."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects, net, until the youngest are searched for garbage; and searches of one age until the next age is.
GARBAGE = (20_000, 20, 50)


def python() -> list[str]:
    """-P: a folder of the operators' must not hide a module, unless it is there that ours are."""
    return [sys.executable, *([] if {"", os.getcwd()} & set(sys.path) else ["-P"])]


@contextmanager
def undisturbed() -> Iterator[None]:
    """Meanwhile what is there already is not searched for garbage, and what comes more rarely: a search through
    everything keeps all threads waiting, for 0.1 to 0.3 s on a busy machine."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
