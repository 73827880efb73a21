"""`python -m tests.change`: the whole of it, by CHANGE_* variables (tests.change.run.Options)."""

import sys

from tests.change.run import main

sys.exit(main())
