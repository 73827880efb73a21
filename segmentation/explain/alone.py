"""One user in a shard of his own: when he entered and left a segment, and the next time he does by time alone.

The shard is the engine's, fed with what is known of the user, so what it says is what the engine says.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from segmentation.compile import tree
from segmentation.compile.plan import Clock, Plan, profile_column, walk
from segmentation.evaluate.shard import Shard
from segmentation.evaluate.step import Transitions
from segmentation.events.rows import PROFILES, Poll, Profiles, Rows, TextColumn, ValueColumn
from segmentation.explain.arrivals import Arrival
from segmentation.local_time import PARTS, UNITS
from segmentation.reference_users import Version
from segmentation.types import DAY, NEVER, TEXT, Kind, Type

#: How far the next flip is looked for, µs. Where a condition asks the clock, it may turn again and again for ever,
#: so that is done in steps; the finer what it asks for, the fewer. All else turns a window's length after an event
#: at the latest.
CLOCK_STEPS = (DAY, 8 * DAY, 70 * DAY, 400 * DAY, 3_660 * DAY)
#: The last instant that has a name, 9999-12-31.
LAST = 253_402_300_799_999_999
_FIXED = ("user_id", "event_id", "event_time")
_PREFIX = profile_column("")


class Alone:
    """arrivals: of one user, in order of known_at, all of them known at `at` (µs).

    `flips`: (instant, whether he is in from then on) up to `at`, in order, what cancels at one instant left out.
    """

    def __init__(self, plan: Plan, segment: int, arrivals: Sequence[Arrival], at: int) -> None:
        self._segment = segment
        self.shard = Shard(plan, 1, 0, None, False)
        self.shard.add_partitions(1, 1)
        columns = {**dict.fromkeys(plan.code_columns, TEXT), **plan.columns}
        polls = list(_polls(_counting(arrivals), columns))
        steps = [self.shard.run(polls)] if polls else []
        steps.append(self.shard.finish(at))
        self.flips = netted([step.transitions for step in steps], segment)
        self.at = at

    @property
    def member(self) -> bool:
        return bool(self.flips) and self.flips[-1][1]

    def next_flip(self) -> tuple[int | None, int]:
        """(the first instant after `at` at which membership changes if nothing arrives, or None; up to when that is
        so for certain). Moves the shard on: ask once."""
        return first_flip(self.shard, self._segment, self.at)


def first_flip(shard: Shard, segment: int, at: int) -> tuple[int | None, int]:
    """(the first instant after `at`, where the shard of one user is, at which membership changes if nothing arrives,
    or None; up to when that is so for certain). Moves the shard on."""

    def first(until: int) -> int | None:
        flips = netted([shard.finish(until).transitions], segment)
        return flips[0][0] if flips else None

    units = list(_clock_units(shard.plan))
    if not units:
        return first(LAST), LAST
    steps = CLOCK_STEPS[:3] if min(units) < UNITS["hour"] else CLOCK_STEPS[:4] if min(units) < DAY else CLOCK_STEPS
    for step in steps:
        if (found := first(min(at + step, LAST))) is not None:
            return found, found
    return None, min(at + steps[-1], LAST)


def _clock_units(plan: Plan) -> Iterator[int]:
    """The lengths, µs, of the cells of the calendar that conditions on the clock look at."""
    for signal in plan.signals:
        if isinstance(signal, Clock):
            yield UNITS["year"]
            for node in walk(signal.condition):
                if isinstance(node, tree.Trunc):
                    yield UNITS[node.unit]
                elif isinstance(node, tree.Part) and node.part in PARTS:
                    yield UNITS[PARTS[node.part][0]]


def netted(steps: Sequence[Transitions], segment: int) -> list[tuple[int, bool]]:
    """One user's flips of a segment; those of one instant cancel in pairs."""
    found: list[tuple[int, bool]] = []
    for step in steps:
        message = np.repeat(np.arange(len(step)), np.diff(step.first))
        for flip in np.flatnonzero(step.segment == segment).tolist():
            at = int(step.effective_at[message[flip]])
            if found and found[-1][0] == at:
                found.pop()
            else:
                found.append((at, bool(step.entered[flip])))
    return found


def _counting(arrivals: Sequence[Arrival]) -> Iterator[Arrival]:
    """Without versions that never were the latest one: here they get offsets, which say what comes after what."""
    latest = (NEVER, "")
    for arrival in arrivals:
        if isinstance(arrival.event, Version):
            place = (arrival.event.time, arrival.event.event_id)
            if place < latest:
                continue
            latest = place
        yield arrival


def _polls(arrivals: Iterable[Arrival], columns: Mapping[str, Type]) -> Iterator[Poll]:
    """Such that each arrival becomes known when it did: the watermark is as far then. The partition that has nothing
    to say is let go ahead, so that it does not hold the watermark back."""
    offset = 0
    for versions, group in groupby(arrivals, lambda arrival: isinstance(arrival.event, Version)):
        some = list(group)
        own, other = (PROFILES, 0) if versions else (0, PROFILES)
        known = np.array([arrival.known_at for arrival in some], np.int64)
        last, next_offset = int(known[-1]), offset + len(some)
        offsets = np.arange(offset, next_offset, dtype=np.int64)
        yield Poll(other, offset, NEVER, NEVER, last)
        if versions:
            yield Poll(own, next_offset, NEVER, last, last, None, _profiles(some, known, offsets, columns))
        else:
            yield Poll(own, next_offset, NEVER, last, last, _rows(some, known, offsets, columns))
        offset = next_offset


def _rows(some: Sequence[Arrival], known: Any, offsets: Any, columns: Mapping[str, Type]) -> Rows:
    return Rows(
        offsets, np.zeros(len(some), np.int32), [some[0].event.user_id],
        np.array([arrival.event.time for arrival in some], np.int64), known,
        np.array([arrival.event.event_id for arrival in some], np.object_),
        {name: _column([arrival.event.values.get(name) for arrival in some], type_)
         for name, type_ in columns.items() if not name.startswith(_PREFIX) and name not in _FIXED},
    )  # fmt: skip


def _profiles(some: Sequence[Arrival], known: Any, offsets: Any, columns: Mapping[str, Type]) -> Profiles:
    read = {name.removeprefix(_PREFIX): type_ for name, type_ in columns.items() if name.startswith(_PREFIX)}
    return Profiles(
        offsets, [arrival.event.user_id for arrival in some],
        np.array([arrival.event.time for arrival in some], np.int64), known, np.zeros(len(some), np.bool_),
        {name: _column([arrival.event.values.get(name) for arrival in some], type_) for name, type_ in read.items()},
    )  # fmt: skip


def _column(values: Sequence[Any], type_: Type) -> TextColumn | ValueColumn:
    if type_.kind is Kind.TEXT:
        codes = {value: code for code, value in enumerate(dict.fromkeys(v for v in values if v is not None))}
        return TextColumn(np.array([codes.get(value, -1) for value in values], np.int32), list(codes))
    valid = np.array([value is not None for value in values], np.bool_)
    dtype = {Kind.DOUBLE: np.float64, Kind.BOOLEAN: np.bool_}.get(type_.kind, np.int64)
    scale = 10**type_.scale
    stored = [0 if value is None else int(value * scale) if type_.kind is Kind.NUMERIC else value for value in values]
    return ValueColumn(np.array(stored, dtype), None if valid.all() else valid)
