"""Events and profiles of two files as polls, so that each is known at its own time.

What a user's arrival means depends on what came from him before, so his events and profiles must arrive in order of
time. Users among each other need not: an alternation of single records would make polls of one row each.
"""

from collections.abc import Iterator

import numpy as np

from segmentation.events.rows import PROFILES, Int64, Poll, Profiles, Rows
from segmentation.types import NEVER


def polls(rows: Rows, profiles: Profiles, most: int) -> Iterator[list[Poll]]:
    """rows, profiles: each in order of time; most: events of one list. Partition 0 has the events, PROFILES the
    profiles; after each list both are as far as its last time. Of one time, profiles come first."""
    first_event = first_profile = 0
    for event, profile in _cuts(rows, profiles, most):
        part, some = rows.take(np.arange(first_event, event)), profiles.take(np.arange(first_profile, profile))
        part.offset, part.high = np.arange(first_event, event, dtype=np.int64), part.time
        some.offset, some.high = np.arange(first_profile, profile, dtype=np.int64), some.time
        reached = max((int(times[-1]) for times in (part.time, some.time) if len(times)), default=NEVER)
        yield [
            Poll(PROFILES, profile, NEVER, NEVER, None, None, some),
            Poll(0, event, NEVER, reached, reached, part),
            Poll(PROFILES, profile, NEVER, reached, reached),
        ]
        first_event, first_profile = event, profile


def _cuts(rows: Rows, profiles: Profiles, most: int) -> Iterator[tuple[int, int]]:
    """Up to which event and which profile the pieces go: in none a user's profile comes after an event of his."""
    events, count = len(rows), len(profiles)
    place = np.searchsorted(rows.time, profiles.time, "left")  # events before each profile
    blocked = _last_event(rows, profiles, place)
    start = done = 0
    for number in np.flatnonzero(blocked >= 0).tolist():
        if blocked[number] < start:
            continue
        end = int(place[number])
        for event in range(start + most, end, most):
            done = min(number, int(np.searchsorted(place, event, "right")))
            yield event, done
        yield end, number
        start, done = end, number
    for event in range(start + most, events, most):
        yield event, max(done, int(np.searchsorted(place, event, "right")))
    yield events, count


def _last_event(rows: Rows, profiles: Profiles, place: Int64) -> Int64:
    """int64[profiles]: the number of the last event of the same user before each profile, -1 for none."""
    numbers = {user_id: number for number, user_id in enumerate(rows.user_ids)}
    user = np.array([numbers.get(user_id, -1) for user_id in profiles.user_ids], np.int64)
    width = len(rows) + 1
    keys = np.sort(rows.user.astype(np.int64) * width + np.arange(len(rows)))
    if not len(keys):
        return np.full(len(user), -1)
    found = np.searchsorted(keys, user * width + place, "left") - 1
    same = (found >= 0) & (user >= 0) & (keys[found] // width == user)
    return np.where(same, keys[found] % width, -1)
