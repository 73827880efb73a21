"""RFC 3339 text to microseconds since 1970 UTC: one value exactly (`instant`), or a column fast (`instants`).

`instant` says what the meaning is; `instants` agrees with it value by value and hands what it does not
know at once to it.

- `YYYY-MM-DD`, then `T`, `t` or a space, `hh:mm:ss`, an optional fraction, and the zone: `Z`, `z`, `+hh:mm`;
  also `+hhmm` and `+hh`, as `strftime` and PostgreSQL write them. Nothing else, and no spaces around.
- Digits of the fraction past the sixth are cut, never rounded.
- Years are 0001 to 9999, in UTC as well as on the text's own clock; the calendar is Gregorian throughout.
- A leap second, which is 23:59:60 UTC, is the midnight that follows, as in PostgreSQL; any other :60 and
  24:00:00 are bad times.
- A text without a zone is `ZoneMissing`, unless a zone is given. Its own zone always wins over the given one.
  Where a clock is set back, a local time that happens twice means the first; where it is set forward, one that
  never happens is read with the offset from before the change (`fold=0` of PEP 495).
"""

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int64

EARLIEST = -62_135_596_800 * 1_000_000  # 0001-01-01T00:00:00Z
LATEST = 253_402_300_800 * 1_000_000 - 1  # 9999-12-31T23:59:59.999999Z

_SHAPE = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:([Zz])|([+-])(\d\d)(?::?(\d\d))?)?", re.ASCII
)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST = datetime(1, 1, 1)
_QUARTER = 900  # seconds; see _local_offset


class BadTime(ValueError):
    """The text is no time; the message says why."""


class ZoneMissing(ValueError):
    """The text is a time, but which instant it is depends on a zone that nobody stated."""


def instant(text: str, zone: ZoneInfo | None) -> int:
    """Microseconds since 1970 UTC. Raises BadTime or ZoneMissing."""
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise BadTime("it is not of the form 2026-01-31T23:59:59.123456Z")
    year, month, day, hour, minute, second = map(int, found.group(1, 2, 3, 4, 5, 6))
    leap = second == 60
    try:
        local = datetime(year, month, day, hour, minute, second - leap)
    except ValueError as error:
        raise BadTime(f"there is no such date or time: {error}") from None
    utc, sign, hours, minutes = found.group(8, 9, 10, 11)
    if utc:
        offset = 0
    elif sign:
        if int(hours) > 23 or int(minutes or 0) > 59:
            raise BadTime("its offset is not between -23:59 and +23:59")
        offset = (int(hours) * 3600 + int(minutes or 0) * 60) * (-1 if sign == "-" else 1)
    elif zone is None:
        raise ZoneMissing("it has no zone")
    else:
        offset = _offset(local, zone)
    seconds = (local.toordinal() - _EPOCH_DAY) * 86_400 + local.hour * 3600 + local.minute * 60 + local.second - offset
    if leap:
        seconds += 1
        if seconds % 86_400:
            raise BadTime("second 60 exists only at 23:59:60 UTC")
    micros = seconds * 1_000_000 + int((found.group(7) or "")[:6].ljust(6, "0"))
    if not EARLIEST <= micros <= LATEST:
        raise BadTime("it is outside the years 0001 to 9999 (UTC)")
    return micros


def text_of(micros: int) -> str:
    """RFC 3339, UTC, microseconds; for EARLIEST to LATEST."""
    return (_FIRST + timedelta(microseconds=micros - EARLIEST)).isoformat(timespec="microseconds") + "Z"


def _offset(local: datetime, zone: ZoneInfo) -> int:
    offset = zone.utcoffset(local)
    assert offset is not None  # a ZoneInfo always knows
    return offset.days * 86_400 + offset.seconds


def instants(texts: Sequence[str], zone: ZoneInfo | None) -> tuple[Int64, list[int]]:
    """(int64[n], rows whose text `instant` refuses, ascending; their value is 0)."""
    count = len(texts)
    if not count:
        return np.zeros(0, np.int64), []
    lengths = set(map(len, texts))
    if len(lengths) == 1:
        micros, odd = _same_length(texts, zone)
    else:
        micros, odd = np.zeros(count, np.int64), np.ones(count, np.bool_)
        length = np.fromiter(map(len, texts), np.int64, count)
        for each in lengths:
            rows = np.flatnonzero(length == each)
            micros[rows], odd[rows] = _same_length([texts[row] for row in rows.tolist()], zone)
    refused = []
    known: dict[str, int | None] = {}
    for row in np.flatnonzero(odd).tolist():
        text = texts[row]
        if text not in known:
            try:
                known[text] = instant(text, zone)
            except (BadTime, ZoneMissing):
                known[text] = None
        value = known[text]
        if value is None:
            refused.append(row)
        micros[row] = value or 0
    return micros, refused


def _same_length(texts: Sequence[str], zone: ZoneInfo | None) -> tuple[Int64, Bool]:
    """(micros, odd) of texts of one length; where odd, micros means nothing, and `instant` must look."""
    count, length = len(texts), len(texts[0])
    micros, odd = np.zeros(count, np.int64), np.ones(count, np.bool_)
    if not 19 <= length <= 64:
        return micros, odd
    # "?" stands for anything that is not ASCII and fits nowhere, so the texts stay of one length.
    flat = np.frombuffer("".join(texts).encode("ascii", "replace"), np.uint8)
    chars = np.ascontiguousarray(flat.reshape(count, length).T)
    utc = (chars[-1] | 0x20) == ord("z")
    shifted = (chars[-6] == ord("+")) | (chars[-6] == ord("-")) if length >= 25 else np.zeros(count, np.bool_)
    if length == 25 or length >= 27:  # a dash of the date is never at -6 here
        shifted &= chars[-3] == ord(":")
    else:
        shifted[:] = False
    for kind, tail in ((utc, 1), (shifted, 6), (~(utc | shifted), 0)):
        if tail == 0 and zone is None:
            continue
        if kind.all():
            return _parse(chars, tail, zone)
        if kind.any():
            rows = np.flatnonzero(kind)
            micros[rows], odd[rows] = _parse(np.ascontiguousarray(chars[:, rows]), tail, zone)
    return micros, odd


def _parse(chars: NDArray[np.uint8], tail: int, zone: ZoneInfo | None) -> tuple[Int64, Bool]:
    """uint8[length, n] of one shape; tail is the width of the zone: 1 is Z, 6 is +hh:mm, 0 is none."""
    length, count = chars.shape
    fraction = length - 19 - tail
    if fraction == 1 or fraction < 0:
        return np.zeros(count, np.int64), np.ones(count, np.bool_)
    digit = chars - np.uint8(48)  # what is no digit wraps round to more than 9
    places = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, *range(20, 19 + fraction)]
    if tail == 6:
        places += [length - 5, length - 4, length - 2, length - 1]
    good: Bool = digit[places].max(axis=0) <= 9
    good &= (chars[4] == ord("-")) & (chars[7] == ord("-")) & (chars[13] == ord(":")) & (chars[16] == ord(":"))
    good &= ((chars[10] | 0x20) == ord("t")) | (chars[10] == ord(" "))
    if fraction:
        good &= chars[19] == ord(".")
    if not good.all():
        digit[:, ~good] = 0  # the year 0, which is refused; and nothing below can be out of range

    def pair(first: int) -> NDArray[np.uint8]:
        value: NDArray[np.uint8] = digit[first] * np.uint8(10)
        value += digit[first + 1]
        return value

    first_day, month_days = _months()
    month = pair(0).astype(np.int32) * 1400 + pair(2).astype(np.int32) * 14 + np.minimum(pair(5), np.uint8(13))
    day, hour, minute, second = pair(8), pair(11), pair(14), pair(17)
    good &= (day - np.uint8(1)) < month_days[month]  # 0 wraps round
    good &= (hour <= 23) & (minute <= 59) & (second <= 59)
    clock = hour.astype(np.int32) * 3600 + minute * np.int32(60) + second
    seconds = (first_day[month] + day).astype(np.int64) * 86_400 + clock
    if tail == 6:
        hours, minutes = pair(length - 5), pair(length - 2)
        good &= (hours <= 23) & (minutes <= 59)
        shift = hours.astype(np.int32) * 3600 + minutes * np.int32(60)
        seconds -= np.where(chars[length - 6] == ord("-"), -shift, shift)
    elif tail == 0 and zone is not None:
        seconds -= _local_offsets(np.where(good, seconds, 0), zone)
    micros = seconds * 1_000_000
    for place, scale in ((20, 10_000), (22, 100), (24, 1)):
        if place < 18 + fraction:
            micros += pair(place) * np.int32(scale)
        elif place == 18 + fraction:
            micros += digit[place] * np.int32(scale * 10)
    if tail != 1:
        good &= (micros >= EARLIEST) & (micros <= LATEST)
    return micros, ~good


@lru_cache(maxsize=1)
def _months() -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """By year * 14 + month: (days from 1970 to the day before its first, its days). None in year 0, month 0 or 13."""
    year = np.repeat(np.arange(10_000), 14)
    month = np.tile(np.arange(14), 10_000)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    lengths = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0])[month] + (leap & (month == 2))
    lengths[year == 0] = 0
    before = np.cumsum(lengths) - lengths + date(1, 1, 1).toordinal() - 1 - _EPOCH_DAY
    return before.astype(np.int32), lengths.astype(np.uint8)


def _local_offsets(seconds: Int64, zone: ZoneInfo) -> Int64:
    """Offsets from UTC, in seconds, of local clock readings (seconds since 1970 on that clock)."""
    if zone.key in ("UTC", "Etc/UTC"):
        return np.zeros(len(seconds), np.int64)
    quarters, inverse = np.unique(seconds // _QUARTER, return_inverse=True)
    offsets = [_local_offset(zone, quarter) for quarter in quarters.tolist()]
    result = np.array([offset or 0 for offset in offsets], np.int64)[inverse]
    changing = {index for index, offset in enumerate(offsets) if offset is None}
    if changing:
        for row in np.flatnonzero(np.isin(inverse, list(changing))).tolist():
            result[row] = _offset(_clock(int(seconds[row])), zone)
    return result


def moved(micros: Int64, zone: ZoneInfo) -> tuple[Int64, Bool]:
    """(instants of readings of a clock in `zone`, as if they were UTC; bool[n]: within the years 0001 to 9999)."""
    instants = micros - _local_offsets(micros // 1_000_000, zone) * 1_000_000
    return instants, (instants >= EARLIEST) & (instants <= LATEST)


@lru_cache(maxsize=1 << 16)
def _local_offset(zone: ZoneInfo, quarter: int) -> int | None:
    """The offset throughout a quarter of an hour of the local clock; None where it changes within."""
    first = _offset(_clock(quarter * _QUARTER), zone)
    last = _offset(_clock(quarter * _QUARTER + _QUARTER - 1), zone)
    return first if first == last else None


def _clock(seconds: int) -> datetime:
    return _FIRST + timedelta(seconds=seconds - EARLIEST // 1_000_000)
