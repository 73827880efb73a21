"""The one place where the engine reads wall time. Everything else takes it as a value."""

import time


def now_us() -> int:
    """µs since 1970 UTC."""
    return time.time_ns() // 1_000
