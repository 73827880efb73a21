"""One user's history as the explanation takes it: events and versions of his profile, with when each became known."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from segmentation.compile.tree import Value
from segmentation.evaluate.versions import version_id
from segmentation.events.rows import PROFILES, Profiles, Rows, TextColumn, ValueColumn
from segmentation.reference_users import Event, Version
from segmentation.types import NEVER, Kind, Type


@dataclass(frozen=True, slots=True)
class Arrival:
    """known_at: µs, from when it counts; never before the event's own time."""

    event: Event
    known_at: int


def in_order_of_time(events: Iterable[Event]) -> list[Arrival]:
    """Each known at its own time, as `tidegate evaluate` takes a file: versions of one time before events of it,
    otherwise of one time in the order given. Repeats are left out: the first of one event_id and time counts."""
    seen: set[tuple[str, int]] = set()
    found = []
    for event in events:
        if not isinstance(event, Version):
            if (event.event_id, event.time) in seen:
                continue
            seen.add((event.event_id, event.time))
        found.append(Arrival(event, event.time))
    return sorted(found, key=lambda arrival: (arrival.known_at, not isinstance(arrival.event, Version)))


def ordered(arrivals: Iterable[Arrival]) -> list[Arrival]:
    """As they became known, which never goes back for one user. Raises ValueError for one known before its time."""
    found = sorted(arrivals, key=lambda arrival: (arrival.known_at, arrival.event.time, arrival.event.event_id))
    newest = NEVER
    for place, arrival in enumerate(found):
        if arrival.known_at < arrival.event.time:
            raise ValueError(f"{arrival.event.event_id} is known before its own time")
        newest = max(newest, arrival.known_at)
        found[place] = replace(arrival, known_at=newest)
    return found


def events_of(rows: Rows, user_id: str, columns: Mapping[str, Type]) -> Iterator[Event]:
    """One user's events among rows, in their order. columns: the declared ones."""
    numbers = np.array([number for number, each in enumerate(rows.user_ids) if each == user_id], np.int64)
    mine = rows.take(np.flatnonzero(np.isin(rows.user, numbers)))
    values = _values(mine.columns, columns)
    for place, (event_id, time) in enumerate(zip(mine.event_id.tolist(), mine.time.tolist())):
        yield Event(user_id, event_id, time, {name: column[place] for name, column in values.items()})


def versions_of(profiles: Profiles, user_id: str, columns: Mapping[str, Type]) -> Iterator[Version | None]:
    """One user's records among profiles, in their order: None where he is erased."""
    mine = profiles.take(np.array([place for place, each in enumerate(profiles.user_ids) if each == user_id], np.int64))
    values = _values(mine.columns, columns)
    for place, (offset, time, erased) in enumerate(
        zip(mine.offset.tolist(), mine.time.tolist(), mine.erased.tolist())
    ):
        row = {name: column[place] for name, column in values.items()}
        yield None if erased else Version(user_id, version_id(PROFILES, offset), time, row)


def _values(found: Mapping[str, TextColumn | ValueColumn], columns: Mapping[str, Type]) -> dict[str, list[Value]]:
    return {name: plain(column, columns[name]) for name, column in found.items() if name in columns}


def plain(column: TextColumn | ValueColumn, type_: Type) -> list[Value]:
    """A column as Python values (`segmentation.types`), None for NULL."""
    if isinstance(column, TextColumn):
        return [column.values[code] if code >= 0 else None for code in column.codes.tolist()]
    held = column.data.tolist()
    if type_.kind is Kind.NUMERIC:
        held = [Decimal(value).scaleb(-type_.scale) for value in held]
    valid = [True] * len(held) if column.valid is None else column.valid.tolist()
    return [value if there else None for value, there in zip(held, valid)]
