"""Time zones: from instants to local times and back, as DuckDB reads them.

The rules are those of the `tzdata` package, so they are the same on every machine. All times are µs since
1970, instants in UTC. Before FIRST_YEAR and after LAST_YEAR a zone keeps its first or last offset.

- A local time that happens twice, where a clock is set back, means the second one.
- One that never happens, where it is set forward, is read with the offset from before the change.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np
import tzdata  # type: ignore[import-untyped]

from segmentation.events.rows import Int64
from segmentation.local_time import truncated
from segmentation.types import NEVER, SECOND

FIRST_YEAR, LAST_YEAR = 1900, 2299
#: Which rules they are. A saved state that depends on them belongs to one version.
VERSION: str = tzdata.IANA_VERSION
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
#: No clock is set twice within this.
_SAMPLE = timedelta(hours=12)


class Zone:
    """starts int64[n] µs: from when on (the first: ever); offsets int64[n] µs: local time less UTC from then on."""

    def __init__(self, rules: ZoneInfo) -> None:
        self._rules = rules

    @cached_property
    def _changes(self) -> tuple[Int64, Int64]:
        at, end = datetime(FIRST_YEAR, 1, 1, tzinfo=UTC), datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC)
        offset = self._offset(at)
        starts, offsets = [NEVER], [offset]
        while at < end:
            after = at + _SAMPLE
            if (new := self._offset(after)) != offset:
                starts.append(self._change(at, after))
                offsets.append(new)
                offset = new
            at = after
        return np.array(starts, np.int64), np.array(offsets, np.int64)

    def _offset(self, instant: datetime) -> int:
        difference = self._rules.utcoffset(instant.astimezone(self._rules))
        assert difference is not None
        return difference // timedelta(microseconds=1)

    def _change(self, before: datetime, after: datetime) -> int:
        """The first second at which the offset is that of `after`, µs."""
        low, high = int(before.timestamp()), int(after.timestamp())
        new = self._offset(after)
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(datetime.fromtimestamp(middle, UTC)) == new:
                high = middle
            else:
                low = middle
        return high * SECOND

    @property
    def starts(self) -> Int64:
        return self._changes[0]

    @property
    def offsets(self) -> Int64:
        return self._changes[1]

    @cached_property
    def _local_starts(self) -> Int64:
        """From which local time on each offset counts: set forward or back, from what the clock then shows."""
        return np.maximum.accumulate(self.starts + self.offsets)

    def ordered(self, unit: str) -> bool:
        """Whether no later instant is in an earlier cell of this unit of local_time.UNITS."""
        back = np.flatnonzero(self.offsets[1:] < self.offsets[:-1]) + 1
        before, after = self.starts[back] + self.offsets[back - 1] - 1, self.starts[back] + self.offsets[back]
        return not (truncated(unit, before) > truncated(unit, after)).any()

    def local(self, instants: Int64) -> Int64:
        """Local times of instants."""
        return np.asarray(instants + self.offsets[np.searchsorted(self.starts, instants, "right") - 1], np.int64)

    def instants(self, local: Int64) -> Int64:
        """Instants of local times."""
        place = np.maximum(np.searchsorted(self._local_starts, local, "right") - 1, 0)
        return np.asarray(local - self.offsets[place], np.int64)


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """Of all zones."""
    with resources.files("tzdata").joinpath("zones").open("r") as lines:
        return tuple(sorted(line.strip() for line in lines))


@cache
def zone(name: str) -> Zone:
    """Raises KeyError for a name that is none."""
    if _NAME.fullmatch(name):
        file = resources.files("tzdata.zoneinfo").joinpath(*name.split("/"))
        if file.is_file():
            with file.open("rb") as data:
                return Zone(ZoneInfo.from_file(data, key=name))
    raise KeyError(name)
