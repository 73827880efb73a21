"""The steps of a batch: the instants at which users are settled, in order.

Each event is a step of its own, at its `known_at`. What the user's windows lose or gain at an
earlier instant is a step before it; what they do at that very instant joins the first event there.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmentation.events.rows import Bool, Int64
from segmentation.native import ENABLED, code
from segmentation.state.order import stable_order

Array = NDArray[Any]


@dataclass(slots=True)
class Steps:
    """S steps ordered by user, then time, then arrival: user, instant (µs), by_event, all [S].

    of_change int64[m], of_event int64[n]: the step of each input row.
    """

    user: Int64
    instant: Int64
    by_event: Bool
    of_change: Int64
    of_event: Int64

    def __len__(self) -> int:
        return len(self.user)


def steps_of(change_user: Array, change_at: Array, event_user: Array, event_at: Array) -> Steps:
    """change_*: [m] what time does, in any order; event_*: [n] events in order of arrival, their
    instants never decreasing per user."""
    if ENABLED:
        given = (change_user, change_at, event_user, event_at)
        found = code.steps_of(*(np.ascontiguousarray(values, np.int64) for values in given))
        if found is not None:
            return Steps(*found)
    return steps_by_numpy(change_user, change_at, event_user, event_at)


def steps_by_numpy(change_user: Array, change_at: Array, event_user: Array, event_at: Array) -> Steps:
    """The slow twin, and for instants that are too far apart for the other."""
    m, n = len(change_user), len(event_user)
    user = np.concatenate((change_user, event_user)).astype(np.int64)
    instant = np.concatenate((change_at, event_at)).astype(np.int64)
    if not m + n:
        none = np.zeros(0, np.int64)
        return Steps(none, none, np.zeros(0, np.bool_), none, none)
    # Stable order: at one (user, instant) changes come first, then events as they arrived.
    low = int(instant.min())
    span = int(instant.max()) - low
    bits = span.bit_length()
    if bits + int(user.max()).bit_length() <= 62:
        order = stable_order((user << bits) | (instant - low))
    else:
        order = np.lexsort((instant, user))
    user, instant = user[order], instant[order]
    is_event = order >= m
    joins = ~is_event[:-1] & (user[1:] == user[:-1]) & (instant[1:] == instant[:-1])
    new = np.concatenate(([True], ~joins))
    number = np.cumsum(new) - 1
    of_row = np.empty(m + n, np.int64)
    of_row[order] = number
    first = np.flatnonzero(new)
    by_event = np.zeros(len(first), np.bool_)
    by_event[number[is_event]] = True
    return Steps(user[first], instant[first], by_event, of_row[:m], of_row[m:])
