"""How many calls a second a token may make: a bucket each, which holds those of one second."""

import time
from collections.abc import Callable

from grpc_server.errors import Refusal, exhausted


class Rates:
    """per_second: calls of one token (or of all callers, where there are no tokens); 0: no limit."""

    def __init__(self, per_second: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._most = max(1.0, per_second)
        self._buckets: dict[str, tuple[float, float]] = {}  # calls left, as of when

    @property
    def limited(self) -> bool:
        return self._per_second > 0

    def refuse(self, caller: str) -> Refusal | None:
        """Takes one call of `caller`, or says when there will be one again. Callers must be few: tokens, no users."""
        if not self.limited:
            return None
        now = self._clock()
        left, since = self._buckets.get(caller, (self._most, now))
        left = min(self._most, left + (now - since) * self._per_second)
        if left >= 1:
            self._buckets[caller] = (left - 1, now)
            return None
        self._buckets[caller] = (left, now)
        return exhausted(
            "RATE_LIMITED", f"More than {self._per_second:g} calls a second (grpc_rate). Ask less, or in batches.",
            max(1, round((1 - left) / self._per_second * 1_000)),
        )  # fmt: skip
