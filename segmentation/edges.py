"""Edges: the instants at which passing time changes whether an event counts.

An edge is an age (µs: the event's time plus so much), or the crossing of a calendar boundary. A boundary is a
function of now with steps, such as the start of the current month: `event_time >= boundary(now)` holds until
the boundary steps over the event's time. As a rule it steps once and for all; where a clock is set back, it
may step back and over it again, so a condition has a first, second and third crossing.

Everything here is of many events at once, and exact: where a boundary steps is worked out from the zone's rules
in blocks of time, when they are first asked for.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from segmentation.distinct import distinct
from segmentation.events.rows import Int64
from segmentation.local_time import UNITS, starts, truncated, with_months
from segmentation.types import DAY, FOREVER, NEVER
from segmentation.zones import zone

#: The mean length of a month, µs.
_MONTH = 2_629_746_000_000
#: More than local clocks, and months of different length, put two times out of step.
_SLACK = 10 * DAY


@dataclass(frozen=True, slots=True)
class Cell:
    """A function of an instant x: the start of x's cell on a local clock, a local time; moved by `after`,
    which are steps of (months, then µs). Where there is `back`, it is turned into an instant of that zone,
    plus micros. before: µs added to x itself; inner: to its local time before the cell is looked for."""

    unit: str
    zone: str
    before: int = 0
    inner: int = 0
    after: tuple[tuple[int, int], ...] = ()
    back: str = ""
    micros: int = 0

    def values(self, x: Int64) -> Int64:
        local = truncated(self.unit, zone(self.zone).local(x + self.before) + self.inner)
        for months, micros in self.after:
            local = (with_months(local, months) if months else local) + micros
        return zone(self.back).instants(local) + self.micros if self.back else local

    def steps(self, first: int, last: int) -> Int64:
        """`first`, and the instants up to `last` where the value may change; ascending."""
        of, low, high = zone(self.zone), first + self.before, last + self.before + 1
        a, b = (int(np.searchsorted(of.starts, at, "right")) for at in (low, high - 1))
        found = [np.array([low], np.int64)]
        for place in range(a - 1, b):
            begin = max(low, int(of.starts[place]))
            end = min(high, int(of.starts[place + 1])) if place + 1 < len(of.starts) else high
            moved = int(of.offsets[place]) + self.inner
            found += [np.array([begin], np.int64), starts(self.unit, begin + moved, end + moved) - moved]
        return distinct(np.concatenate(found)) - self.before

    @property
    def moved(self) -> int:
        """How far a value is from x, roughly, µs."""
        return self.before + self.inner + self.micros + sum(_MONTH * months + micros for months, micros in self.after)

    @property
    def slack(self) -> int:
        """By how much `moved` is wrong at most, µs."""
        return UNITS[self.unit] + _SLACK

    @property
    def block(self) -> int:
        """The length of a block, µs."""
        return max(1_000 * UNITS[self.unit], 3 * _SLACK)


@dataclass(frozen=True, slots=True)
class _Steps:
    """at int64[n]: where values begin; value int64[n]; highest, lowest: the largest so far and the smallest to
    come, which are `value` itself where it only rises."""

    at: Int64
    value: Int64
    highest: Int64
    lowest: Int64


@lru_cache(maxsize=256)
def _steps(cell: Cell, block: int) -> _Steps:
    """All steps in a block of time, with some on either side."""
    return _steps_between(cell, block * cell.block - cell.slack, (block + 1) * cell.block + 2 * cell.slack)


def _steps_between(cell: Cell, first: int, last: int) -> _Steps:
    at = cell.steps(first, last)
    value = cell.values(at)
    changes = np.concatenate(([True], value[1:] != value[:-1]))
    at, value = at[changes], value[changes]
    if (value[1:] > value[:-1]).all():
        return _Steps(at, value, value, value)
    return _Steps(at, value, np.maximum.accumulate(value), np.minimum.accumulate(value[::-1])[::-1])


@dataclass(frozen=True, slots=True)
class Crossing:
    """Where `boundary(now) <= key` changes for the number-th time (from 0), or `boundary(now) < key` if strict.

    It holds before the first crossing. key: the event's time, or its cell."""

    boundary: Cell
    key: Cell | None
    strict: bool
    number: int = 0

    def at(self, time: Int64) -> Int64:
        """For event times; FOREVER where there are not so many crossings."""
        key = time if self.key is None else self.key.values(time)
        if not key.size:
            return key
        block = (key - self.boundary.moved) // self.boundary.block
        if block[0] == block[-1] and (block == block[0]).all():
            return self._crossed(_steps(self.boundary, int(block[0])), key)
        out = np.empty(len(key), np.int64)
        for number in distinct(block).tolist():
            here = block == number
            out[here] = self._crossed(_steps(self.boundary, number), key[here])
        return out

    def _crossed(self, steps: _Steps, key: Int64) -> Int64:
        side: Literal["left", "right"] = "left" if self.strict else "right"
        first = np.searchsorted(steps.highest, key, side)
        assert first.min() > 0 and first.max() < len(steps.at), "a block is too short"
        if not self.number:
            return np.asarray(steps.at[first], np.int64)
        out = np.full(len(key), FOREVER, np.int64)
        last = np.searchsorted(steps.lowest, key, side)
        for row in np.flatnonzero(first != last).tolist():
            value = steps.value[first[row] : last[row] + 1]
            beyond = value >= key[row] if self.strict else value > key[row]
            changes = np.flatnonzero(beyond[1:] != beyond[:-1]) + 1
            if self.number <= len(changes):
                out[row] = steps.at[first[row] + changes[self.number - 1]]
        return out

    def passing(self, first: int, last: int) -> tuple[int, int]:
        """[from, to): where the times of events lie that cross at first <= instant < last."""
        boundary, key = self.boundary, self.key
        if last - first > _SLACK:
            low, high = first + boundary.moved - boundary.slack, last + boundary.moved + boundary.slack
        else:
            steps = _steps(boundary, first // boundary.block)
            a, b = np.searchsorted(steps.at, (first, last), "left").tolist()
            if a == b:
                return 0, 0
            values = steps.value[a - 1 : b]
            low, high = int(values.min()), int(values.max()) + 1
        return (low, high) if key is None else (low - key.moved - key.slack, high - key.moved + key.slack)

    def since(self, instant: int) -> int:
        """Events before this time have no crossing at the instant or after it."""
        low = instant + self.boundary.moved - self.boundary.slack
        return low if self.key is None else low - self.key.moved - self.key.slack


def crossings(boundary: Cell) -> int:
    """How many crossings there may be: 1, and 2 more wherever clocks make the boundary step back."""
    # Moved as a whole, in now or in value, it steps back just as often.
    return 1 + 2 * _steps_back(replace(boundary, before=0, micros=0))


@lru_cache(maxsize=1024)
def _steps_back(boundary: Cell) -> int:
    """How often at most it does so around one change of clocks."""
    changes = zone(boundary.zone).starts[1:]
    if boundary.back:
        changes = np.concatenate((changes, zone(boundary.back).starts[1:] - boundary.moved))
    if not len(changes):
        return 0
    around = UNITS[boundary.unit] + (_SLACK // 2 if any(months for months, _ in boundary.after) else DAY)
    changes = distinct(changes)
    first, last = changes - around, changes + around
    spans = list(zip(first.tolist(), last.tolist()))
    if UNITS[boundary.unit] >= DAY:  # few steps: also those between the changes are cheaper than each span by itself
        spans = [(spans[0][0], spans[-1][1])]
    falls = []
    for span in spans:
        at = boundary.steps(*span)
        value = boundary.values(at)
        falls.append(at[1:][value[1:] < value[:-1]])
    back = distinct(np.concatenate(falls))
    return int((np.searchsorted(back, last, "right") - np.searchsorted(back, first, "right")).max())


@dataclass(frozen=True, slots=True)
class Latest:
    """The last of several edges."""

    of: "tuple[Edge, ...]"


@dataclass(frozen=True, slots=True)
class Earliest:
    """The first of several edges."""

    of: "tuple[Edge, ...]"


Edge = int | Crossing | Latest | Earliest


def instants(edge: Edge, time: Int64) -> Int64:
    """When events of these times pass the edge, µs; FOREVER for never."""
    match edge:
        case int():
            return time + edge if edge < FOREVER else np.full(len(time), FOREVER, np.int64)
        case Crossing():
            return edge.at(time)
        case Latest(of):
            return np.asarray(np.maximum.reduce([instants(part, time) for part in of]), np.int64)
        case Earliest(of):
            return np.asarray(np.minimum.reduce([instants(part, time) for part in of]), np.int64)


def passing(edge: Edge, first: int, last: int) -> tuple[int, int]:
    """[from, to): between which times all events lie that pass the edge at first <= instant < last."""
    if first >= last:
        return 0, 0
    match edge:
        case int():
            return max(first - edge, NEVER), last - edge
        case Crossing():
            return edge.passing(first, last)
        case Latest(of) | Earliest(of):
            spans = [span for part in of if (span := passing(part, first, last)) and span[0] < span[1]]
            return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else (0, 0)


def since(edge: Edge, instant: int) -> int:
    """Events before this time do not pass the edge at the instant or after it."""
    match edge:
        case int():
            return instant - edge
        case Crossing():
            return edge.since(instant)
        case Latest(of):
            return min(since(part, instant) for part in of)
        case Earliest(of):
            return max(since(part, instant) for part in of)


def latest(edges: list[Edge]) -> Edge:
    """One edge for the last of several; ages are nonnegative, and 0 is the event's own time."""
    return _merged(edges, max, 0, Latest)


def earliest(edges: list[Edge]) -> Edge:
    """One edge for the first of several; FOREVER where there are none."""
    return _merged(edges, min, FOREVER, Earliest)


def _merged(edges: list[Edge], choose: object, nothing: int, join: type[Latest] | type[Earliest]) -> Edge:
    assert callable(choose)
    age = choose([nothing, *(edge for edge in edges if isinstance(edge, int))])
    others = sorted({edge for edge in edges if not isinstance(edge, int)}, key=repr)
    parts = (*([] if age == nothing else [age]), *others)
    if not others:
        return int(age)
    return parts[0] if len(parts) == 1 else join(parts)
