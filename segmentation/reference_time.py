"""The twin's calendar: local times worked out one by one with the standard library, and where truths turn.

A local time is a naive datetime; what passes between expressions is µs, as everywhere.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from zoneinfo import ZoneInfo

import numpy as np

from segmentation.compile.tree import AtZone, Compare, Expr, In, IsNull, Node, Part, Shift, Trunc
from segmentation.compile.turning import of_clock, turn_of
from segmentation.edges import Crossing, crossings
from segmentation.evaluate.clocks import Turning
from segmentation.types import SECOND, TIMESTAMPTZ, Kind

_EPOCH = datetime(1970, 1, 1)


def worked_out(expr: AtZone | Trunc | Shift | Part, value: int) -> int | float:
    """The expression, of this value of its argument."""
    match expr:
        case AtZone(zone=zone, type=type_):
            return _instant(value, zone) if type_ == TIMESTAMPTZ else _local(value, zone)
        case Trunc(unit=unit):
            return _micros(_truncated(_datetime(value), unit))
        case Shift(months=months, micros=micros):
            return _micros(_months_later(_datetime(value), months)) + micros
        case Part(part="epoch"):
            return value / SECOND
        case Part(part=part):
            return _part(_datetime(value), part)


@cache
def _rules(zone: str) -> ZoneInfo:
    with resources.files("tzdata.zoneinfo").joinpath(*zone.split("/")).open("rb") as data:
        return ZoneInfo.from_file(data)


def _datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def _micros(local: datetime) -> int:
    return (local - _EPOCH) // timedelta(microseconds=1)


def _local(instant: int, zone: str) -> int:
    return _micros(_datetime(instant).replace(tzinfo=UTC).astimezone(_rules(zone)).replace(tzinfo=None))


def _instant(local: int, zone: str) -> int:
    """A time that is skipped has the offset from before; of one that is repeated the second counts: either way
    the smaller one of the two offsets that there might be."""
    offsets = [_datetime(local).replace(tzinfo=_rules(zone), fold=fold).utcoffset() for fold in (0, 1)]
    return local - min(offset for offset in offsets if offset is not None) // timedelta(microseconds=1)


def _truncated(local: datetime, unit: str) -> datetime:
    day = local.replace(hour=0, minute=0, second=0, microsecond=0)
    match unit:
        case "minute":
            return local.replace(second=0, microsecond=0)
        case "hour":
            return local.replace(minute=0, second=0, microsecond=0)
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
    assert unit == "year"
    return day.replace(month=1, day=1)


def _months_later(local: datetime, months: int) -> datetime:
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    first = local.replace(year=year, month=month + 1, day=1)
    length = (first.replace(year=year + month // 11, month=(month + 1) % 12 + 1) - first).days
    return first.replace(day=min(local.day, length))


def _part(local: datetime, part: str) -> int:
    match part:
        case "dow":
            return local.isoweekday() % 7
        case "isodow":
            return local.isoweekday()
        case "doy":
            return local.timetuple().tm_yday
        case "week":
            return local.isocalendar().week
        case "isoyear":
            return local.isocalendar().year
        case "quarter":
            return (local.month + 2) // 3
    value: int = getattr(local, part)
    return value


class Calendar:
    """Where truths of definitions may turn by the calendar: a superset, since looking once more does no harm."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._crossings: set[Crossing] = set()
        self._clocks: dict[Expr, Turning] = {}
        for node in nodes:
            turn = turn_of(node) if isinstance(node, Compare) else None
            if turn is not None:
                self._crossings |= {
                    Crossing(turn.boundary, turn.key, strict, number)
                    for strict in (True, False) for number in range(crossings(turn.boundary))
                }  # fmt: skip
            elif isinstance(node, Compare | In | IsNull) and _no_conditions_in(node) and of_clock(node):
                self._clocks[node] = Turning(node)

    def of_event(self, time: int) -> set[int]:
        return {int(crossing.at(np.array([time], np.int64))[0]) for crossing in self._crossings}

    def of_clock(self, first: int, last: int) -> set[int]:
        """first < instant <= last."""
        return {at for turning in self._clocks.values() for at in turning.turns(first, last)[0].tolist()}

    def __bool__(self) -> bool:
        return bool(self._clocks)


def _no_conditions_in(node: Compare | In | IsNull) -> bool:
    parts = (node.left, node.right) if isinstance(node, Compare) else (node.arg,)
    return all(part.type.kind is not Kind.BOOLEAN for part in parts)
