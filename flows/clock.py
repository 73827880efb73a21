"""The one place where the engine reads wall time. Everything else takes it as a value."""

import time
from datetime import UTC, datetime


def now_us() -> int:
    """µs since 1970 UTC."""
    return time.time_ns() // 1_000


def as_datetime(at_us: int) -> datetime:
    """For Bytewax, which wants to be told when to wake us."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC)
