"""For CI: the engine must not have become much slower, by ratios of one run that noise does not reach.

    python -m loadtest.guard

Ends with code 1 where the engine's ratio to the pinned decoder is less than half of the recorded one
(loadtest/recorded.json, which `python -m loadtest.bench --write-docs` writes), or where it is less than four times as
fast as the obvious Bytewax flow, which is a fifth of what was measured. All are medians of rounds in which both take
turns, by processor time. In the same runs final members are compared with DuckDB's.
"""

import json
import sys

from loadtest import ratios
from loadtest.write_docs import RECORDED

LEAST_SHARE, LEAST_TIMES = 0.5, 4.0


def problems(engine_ratio: float, recorded: float, times: float) -> list[str]:
    """What is too slow, in words."""
    found = []
    if engine_ratio < LEAST_SHARE * recorded:
        found.append(
            f"The engine's ratio to the pinned decoder is {engine_ratio:.3f}; recorded is {recorded:.3f}, and less "
            f"than {LEAST_SHARE:g} of it is a loss of speed. `python -m loadtest.where` shows where the time goes."
        )
    if times < LEAST_TIMES:
        least = f"the least is {LEAST_TIMES:g}"
        found.append(f"The engine is {times:.1f} times as fast as the obvious Bytewax flow; {least}.")
    return found


def main() -> int:
    world = ratios.World.of(320_000, 4_000, read=40_000)
    engine = ratios.engine_ratio(world, 100, 3, print)
    naive = ratios.versus_naive(20_000, 3, print)
    print(json.dumps({"engine_ratio_100": engine, "vs_naive_bytewax": naive}, indent=1))
    recorded = json.loads(RECORDED.read_text())["engine_ratio_100"]
    found = problems(engine["figure"], recorded, naive["times"]["median"])
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
