"""The yardstick: JSON bytes to all declared columns of the measured workload, and nothing else.

The engine's speed is told as a ratio to this, so it is pinned: it imports nothing of the engine, and nobody makes it
faster or slower. It is the best that was known without native code (msgspec structs, then whole columns in numpy),
one pass a column and with the same columns as the engine needs: user, type, region, device and url as codes of a
dictionary, times as µs, amounts as exact cents, ids as texts. It checks nothing that it need not check to be right on
this workload, and finds no repeats; a message of another shape is an error.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count
from operator import attrgetter

import msgspec
import numpy as np
from numpy.typing import NDArray

#: Messages at a time, so that what is made of them stays in the processor's cache.
_CHUNK = 2048


class _Properties(msgspec.Struct, gc=False):
    amount: float


class _Event(msgspec.Struct, gc=False):
    event_id: str
    user_id: str
    event_type: str
    event_time: str
    region: str
    device_type: str
    url: str
    properties: _Properties


@dataclass(slots=True)
class Codes:
    """codes int32[n] into values."""

    codes: NDArray[np.int32]
    values: list[str]


@dataclass(slots=True)
class Columns:
    """time int64[n] µs since 1970 UTC; cents int64[n]; event_id object[n] of str; texts: the others, by name."""

    event_id: NDArray[np.object_]
    time: NDArray[np.int64]
    cents: NDArray[np.int64]
    texts: dict[str, Codes]


_decode = msgspec.json.Decoder(_Event).decode
_TEXTS = ("user_id", "event_type", "region", "device_type", "url")
_GET = {name: attrgetter(name) for name in (*_TEXTS, "event_id", "event_time")}


def decode(messages: Sequence[bytes]) -> Columns:
    """In the order of the messages. Raises ValueError and msgspec's errors where one is not of the workload's shape."""
    indexes: dict[str, dict[str, int]] = {name: defaultdict(count().__next__) for name in _TEXTS}
    codes: dict[str, list[NDArray[np.int32]]] = {name: [] for name in _TEXTS}
    ids: list[str] = []
    times, cents = [], []
    for first in range(0, len(messages), _CHUNK):
        events = list(map(_decode, messages[first : first + _CHUNK]))
        for name in _TEXTS:
            values = list(map(_GET[name], events))
            if name == "user_id":  # mostly distinct, and then faster so
                index, code = indexes[name], indexes[name].setdefault
                codes[name].append(np.array([code(value, len(index)) for value in values], np.int32))
            else:
                codes[name].append(np.fromiter(map(indexes[name].__getitem__, values), np.int32, len(values)))
        ids += map(_GET["event_id"], events)
        times.append(_instants(list(map(_GET["event_time"], events))))
        amounts = np.array([event.properties.amount for event in events])
        cents.append(np.rint(amounts * 100.0).astype(np.int64))
    event_id = np.empty(len(ids), np.object_)
    event_id[:] = ids
    texts = {name: Codes(np.concatenate(codes[name]), list(indexes[name])) for name in _TEXTS}
    return Columns(event_id, np.concatenate(times), np.concatenate(cents), texts)


_DAYS = np.array(
    [[0, *(date(year, month, 1).toordinal() for month in range(1, 13))] for year in range(2000, 2100)], np.int32
).ravel() - (date(1970, 1, 1).toordinal() + 1)  # fmt: skip


def _instants(texts: list[str]) -> NDArray[np.int64]:
    """µs of texts like 2026-01-31T23:59:59.123456Z."""
    flat = np.frombuffer("".join(texts).encode("ascii"), np.uint8)
    if flat.size != 27 * len(texts):
        raise ValueError("a time has another shape than this workload's")
    digit = np.ascontiguousarray(flat.reshape(-1, 27).T) - np.uint8(48)

    def pair(place: int) -> NDArray[np.uint8]:
        two: NDArray[np.uint8] = digit[place] * np.uint8(10) + digit[place + 1]
        return two

    days = _DAYS[pair(2).astype(np.int16) * 13 + pair(5)] + pair(8)
    seconds = pair(11).astype(np.int32) * 3_600 + pair(14) * np.int32(60) + pair(17)
    micros = pair(20) * np.int32(10_000) + pair(22) * np.int32(100) + pair(24)
    instants: NDArray[np.int64] = (days.astype(np.int64) * 86_400 + seconds) * 1_000_000 + micros
    return instants
