"""An engine that is killed with -9 right after the n-th call of a function: a process of a test.

    python -m tests.flows.killed_apply MODULE:FUNCTION N
"""

import sys

from flows.run import run
from storage.settings import load
from tests.flows.killed_reshard import kill_after

if __name__ == "__main__":
    kill_after(sys.argv[1], int(sys.argv[2]))
    run(load(), until_end=True)
