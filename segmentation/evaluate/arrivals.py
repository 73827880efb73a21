"""What happens to events before they count: repeats, lateness, and when they become known.

`known_at` is the greatest of the event's own time, the times of the user's earlier arrivals and
the shard's watermark when it arrives; nothing here depends on how arrivals were cut into polls.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int64
from segmentation.native import ENABLED, code
from segmentation.state.log import Log
from segmentation.state.order import stable_order

Array = NDArray[Any]


def repeats(user: Int64, time: Int64, event_id: Array, log: Log) -> Bool:
    """Where an event is a repeat (same user, id and time) of a logged one or of an earlier row.

    A join on (time, user), so that coarse times with many events each cost no more than fine ones;
    ids are compared only where both agree.
    """
    n = len(time)
    old = log.same(user, time)
    width = 1 + max(int(user.max()), int(old["user"].max(initial=0)))
    rank, old_rank = _ranks(time, old["time"], 62 - width.bit_length())
    key = rank * width + user
    old_key = old_rank * width + old["user"]
    every = np.concatenate((old_key, key))
    order = stable_order(every)  # logged rows first, then rows as they arrived
    same = every[order][1:] == every[order][:-1]
    if not same.any():
        return np.zeros(n, np.bool_)
    shared = np.concatenate((same, [False])) | np.concatenate(([False], same))
    out = np.zeros(n, np.bool_)
    seen: set[tuple[int, str]] = set()
    for place in order[shared].tolist():
        if place < len(old_key):
            seen.add((int(every[place]), old["event_id"][place]))
            continue
        entry = (int(every[place]), event_id[place - len(old_key)])
        if entry in seen:
            out[place - len(old_key)] = True
        seen.add(entry)
    return out


def _ranks(time: Int64, old: Int64, bits: int) -> tuple[Int64, Int64]:
    """Numbers from 0, equal where the times are, for both; old: of times that are all among `time`. Where the times
    are not too far apart for so many bits, what they are later than the first."""
    low = int(time.min())
    if (int(time.max()) - low).bit_length() <= bits:
        return time - low, old - low
    times, rank = np.unique(time, return_inverse=True)
    return rank, np.searchsorted(times, old)


def known_at(user: Int64, time: Int64, watermark: Int64, newest: Int64) -> Int64:
    """When each event becomes known, µs. user, time, watermark int64[n] in order of arrival (the
    watermark never decreasing); newest int64[users]: each user's newest time so far, raised here."""
    if ENABLED:
        who, when, least = (np.ascontiguousarray(values, np.int64) for values in (user, time, watermark))
        return code.known_at(who, when, least, newest)
    return known_by_numpy(user, time, watermark, newest)


def known_by_numpy(user: Int64, time: Int64, watermark: Int64, newest: Int64) -> Int64:
    """The slow twin."""
    order = stable_order(user)
    who, when = user[order], time[order]
    head = np.flatnonzero(np.concatenate(([True], who[1:] != who[:-1])))
    size = np.diff(np.concatenate((head, [len(who)])))
    # A running maximum per user: ranks of times, each user's lifted above the one before.
    distinct, rank = np.unique(np.concatenate((when, newest[who[head]])), return_inverse=True)
    lift = np.arange(len(head)) * (len(distinct) + 1)
    running = rank[: len(who)] + np.repeat(lift, size)
    running[head] = np.maximum(running[head], rank[len(who) :] + lift)
    best = distinct[np.maximum.accumulate(running) - np.repeat(lift, size)]
    newest[who[head]] = best[head + size - 1]
    out = np.empty(len(who), np.int64)
    out[order] = best
    return np.maximum(out, watermark)
