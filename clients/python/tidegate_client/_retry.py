"""When a call is tried again: a budget shared by all calls of a client, pauses with jitter, within the deadline."""

import random
import threading
import time
from dataclasses import dataclass, field

import grpc

from tidegate_client._errors import Error

#: What may pass, and what is safe to ask again (all calls only read).
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

#: What ends a stream that the server or a proxy between was stopped under.
BROKEN = (*PASSING, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0


@dataclass
class Budget:
    """Failures that may be answered with another try. A success gives a tenth of one back."""

    most: float = 10.0
    _left: float = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        self._left = self.most

    def succeeded(self) -> None:
        if self._left < self.most:
            with self._lock:
                self._left = min(self.most, self._left + 0.1)

    def take(self) -> bool:
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


@dataclass
class Tries:
    """One call: when it must be over, and how often it has failed. `deadline`: of time.monotonic()."""

    budget: Budget
    deadline: float
    failures: int = 0

    def remaining(self) -> float:
        return max(0.0, self.deadline - time.monotonic())

    def pause_after(self, error: Error) -> float | None:
        """Seconds to wait before the next try; None: raise `error`."""
        if error.code not in PASSING:
            return None
        pause = pause_of(self.failures, error.retry_after)
        self.failures += 1
        if pause >= self.deadline - time.monotonic() or not self.budget.take():
            return None
        return pause


def pause_of(failures: int, retry_after: float | None) -> float:
    """At random up to a bound that doubles with each failure, and never before the server wants it."""
    bound = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 20))
    return float(retry_after or 0.0) + random.uniform(bound / 2, bound)
