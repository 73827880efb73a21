"""The builder of a version, as the engine starts it (flows.beside), with points at which it dies (see points.py).

It gets the variables of the engine's first process (tests.torture.worker), and so arms the same point.
"""

import os

from tests.torture import points
from tests.torture.worker import make_small_chunks


def main() -> None:
    make_small_chunks()
    mark = os.environ.get("TORTURE_MARK")
    if mark and not os.path.exists(mark) and os.environ["TORTURE_PROCESS"] == "0":
        name, _, count = os.environ["TORTURE_POINT"].partition(":")
        points.arm(name, int(count), mark)
    from flows.builder import main as build

    build()


if __name__ == "__main__":
    main()
