"""`python -m tests.torture`: the whole of it, by TORTURE_* variables (tests.torture.plan.Options)."""

import sys

from tests.torture.run import main

sys.exit(main())
